"""T14's shop that sells for Stars: what buyers, Telegram, staff and the clock may do in it, each done to the books and
to the model.
"""

from __future__ import annotations

import sys
from collections import Counter
from datetime import UTC, datetime, timedelta

from django.contrib.auth.models import User
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
)

from config.database import Beside
from entitlements.by_hand import grant_by_hand, revoke_by_hand
from entitlements.models import Entitlement, Grant
from payments.checkout import CheckoutRefused, PreCheckout, approve_checkout, quoted_by
from payments.identifiers import uuid7
from payments.models import Invoice, Notice, PaymentEvent, Plan, Refund, Subscription, WhenActive
from payments.models.notices import REMINDERS
from payments.money import Money
from payments.ordinary import record_ordinary_payment
from payments.recording import record_payment, record_refund
from payments.reminding import remind
from payments.subscriptions import end_what_is_over, note_state
from tests.books import faults_in_the_books
from tests.clock import Clock
from tests.conftest import empty_what_was_written
from tests.factories import CustomerFactory, InvoiceFactory, PlanFactory
from tests.payments.model import DAY, GRACE, HOUR, PERIOD, Charge, Given, Person, Quote, Subscribed
from tests.payments.reports import payment_of, refund_of

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = st.sampled_from(["Alice", "Bob"])
ONCE = ["gold_1m", "gold_more", "silver_life"]
WHICH = st.integers(0, 9)  # of what there is just then
NOTHING_BESIDE = Beside("SELECT FROM effect", {})


class Shop(RuleBasedStateMachine):
    quotes = Bundle("quotes")
    charges = Bundle("charges")
    subscriptions = Bundle("subscriptions")
    presents = Bundle("presents")

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.it_becomes(BEGINNING)
        self.people = {name: Person(CustomerFactory(display_name=name)) for name in ("Alice", "Bob")}
        self.dana = User.objects.create_superuser("dana")
        PlanFactory(code="gold_1m")
        PlanFactory(code="gold_more", when_active=WhenActive.EXTEND, duration_days=7)
        PlanFactory(code="silver_life", entitlement="silver", duration_days=None)
        PlanFactory(code="club", entitlement="club", recurring=True, prices=[Money(500, "XTR")])
        self.charged: list[Charge] = []

    def teardown(self) -> None:
        try:
            if sys.exc_info() == (None, None, None):  # else there is a difference to be told already
                self.all_is_settled()
        finally:
            empty_what_was_written()

    def all_is_settled(self) -> None:
        """In the end Telegram has given back what it was asked to, and the books are sound."""
        asked = set(Refund.objects.open().values_list("payment__event_id", flat=True))
        for charge in self.charged:
            if charge.name in asked:
                self.is_refunded(charge)
        self.books_are_the_models()
        assert faults_in_the_books() == []

    # --- The clock ----------------------------------------------------------------------------------------------------

    def it_becomes(self, moment: datetime) -> None:
        self.now = moment
        self.clock.stand_at(moment)

    @rule(hours=st.sampled_from([1, 2, 30, 24 * 7, 24 * 20]))
    def time_passes(self, hours: int) -> None:
        self.it_becomes(self.now + hours * HOUR)

    @rule(which=WHICH, off=st.sampled_from([-2 * DAY, timedelta(), GRACE - HOUR, GRACE]))
    def a_period_is_over(self, which: int, off: timedelta) -> None:
        """Or soon, or its grace is; what is done by the clock is done then."""
        ends = sorted(end for _, _, each in self.subscribed() if (end := each.end + off) > self.now)
        if ends:
            self.it_becomes(ends[which % len(ends)])
            self.what_is_over_is_ended()
            self.reminders_are_owed()

    def subscribed(self) -> list[tuple[Person, str, Subscribed]]:
        return [
            (person, code, each)
            for person in self.people.values()
            for code, subscribed in person.subscribed.items()
            for each in subscribed
        ]

    @rule()
    def what_is_over_is_ended(self) -> None:
        over = [each for _, _, each in self.subscribed() if each.is_over(self.now)]
        for each in over:
            each.enters("ended", self.now)
        assert end_what_is_over() == len(over)

    @rule()
    def reminders_are_owed(self) -> None:
        """Of a payment each kind is owed once."""
        for person, code, each in self.subscribed():
            if kind := self.reminder(person, code, each):
                person.reminded.add((each.last, kind))
        remind()

    def reminder(self, person: Person, code: str, each: Subscribed) -> str:
        gives = each.last.given is not None and not each.last.given.revoked
        others = [other for other in person.subscribed[code] if other is not each and other.state != "ended"]
        soon = self.now < each.end <= self.now + 3 * DAY
        if soon and (each.state == "active" or (each.state == "canceled" and gives)):
            return "subscription_ending"
        if each.state == "failed" and each.end - DAY <= self.now < each.end + GRACE:
            return "subscription_failed"
        if each.state == "ended" and self.now < each.changed + 2 * DAY and gives and not others:
            return "subscription_ended"
        return ""

    # --- Staff --------------------------------------------------------------------------------------------------------

    @rule(plan=st.sampled_from(ONCE), price=st.integers(1, 900), days=st.integers(1, 60))
    def plan_is_edited(self, plan: str, price: int, days: int) -> None:
        edited = Plan.objects.get(code=plan)
        edited.prices.filter(currency="XTR").update(amount=price)
        if edited.duration_days is not None:
            Plan.objects.filter(code=plan).update(duration_days=days)

    @rule(target=presents, name=NAMES, code=st.sampled_from(["gold", "silver", "club"]), days=st.integers(1, 40))
    def staff_gives(self, name: str, code: str, days: int) -> tuple[Given, Grant]:
        person, given = self.people[name], Given(self.now, days * DAY)
        person.grants.setdefault(code, []).append(given)
        return given, grant_by_hand(
            customer=person.customer,
            entitlement=code,
            duration=given.lasts,
            staff=self.dana,
            reason="a gift",
            token=uuid7(),
        )

    @rule(present=consumes(presents))
    def staff_takes_back(self, present: tuple[Given, Grant]) -> None:
        given, grant = present
        given.revoked = True
        revoke_by_hand(grant=grant, staff=self.dana, reason="a mistake")

    # --- Buyers -------------------------------------------------------------------------------------------------------

    @rule(target=quotes, buyer=NAMES, plan=st.sampled_from([*ONCE, "club"]))
    def asks_for_an_invoice(self, buyer: str, plan: str) -> Quote:
        return self.quote(buyer, plan)

    def quote(self, buyer: str, plan: str) -> Quote:
        plan = Plan.objects.get(code=plan)
        invoice = InvoiceFactory(
            customer=self.people[buyer].customer,
            plan=plan,
            amount=plan.prices.get(currency="XTR").amount,
            sent_at=self.now,
            expires_at=self.now + HOUR,
        )
        return Quote(invoice, self.people[buyer])

    @rule(quote=quotes, payer=NAMES, more=st.sampled_from([0, 0, 0, 1]))
    def is_about_to_pay(self, quote: Quote, payer: str, more: int) -> None:
        invoice = Invoice.objects.get(pk=quote.invoice.pk)
        active = quote.buyer.has(invoice.entitlement, self.now)
        expected = (
            "foreign_payer" if self.people[payer] is not quote.buyer
            else "amount_mismatch" if more
            else "already_paid" if quote.paid
            else "expired" if invoice.expires_at <= self.now
            else "already_active" if active and invoice.when_active == WhenActive.REJECT
            else ""
        )  # fmt: skip
        query = PreCheckout(
            query_id="not kept",
            payload=invoice.payload,
            payer_telegram_id=self.people[payer].customer.telegram_user_id,
            amount=invoice.amount + more,
            currency="XTR",
        )
        reason = ""
        try:
            approve_checkout(query=query, quoted=quoted_by(invoice.payload, at=self.now))
        except CheckoutRefused as refusal:
            reason = refusal.reason.value
        assert reason == expected

    @rule(
        target=charges,
        quote=quotes,
        payer=st.sampled_from(["Alice", "Alice", "Bob"]),
        more=st.sampled_from([0, 0, 0, 1]),
        late=st.sampled_from([0, 0, 0, 5, 24 * 40]),
        at_once=st.booleans(),
    )
    def pays(self, quote: Quote, payer: str, more: int, late: int, at_once: bool) -> Charge:
        """The payment is reported, perhaps `late` hours after it was made and so behind younger ones."""
        charge = self.charge(quote, self.people[payer], at=self.now - late * HOUR, more=more)
        return self.is_reported(charge, at_once=at_once)

    @rule(
        target=charges,
        buyer=NAMES,
        plan=st.sampled_from(["gold_1m", "gold_more", "gold_more", "silver_life"]),
        late=st.sampled_from([0, 5, 24 * 40]),
        at_once=st.booleans(),
    )
    def buys(self, buyer: str, plan: str, late: int, at_once: bool) -> Charge:
        """The whole purchase, as most are."""
        charge = self.charge(self.quote(buyer, plan), self.people[buyer], at=self.now - late * HOUR)
        return self.is_reported(charge, at_once=at_once)

    @rule(targets=(charges, subscriptions), buyer=NAMES)
    def subscribes(self, buyer: str) -> Charge:
        return self.is_reported(self.charge(self.quote(buyer, "club"), self.people[buyer], at=self.now))

    @rule(targets=(charges, subscriptions), buyer=NAMES, apart=st.sampled_from([1, 30]))
    def subscribes_twice(self, buyer: str, apart: int) -> MultipleResults[Charge]:
        """By the same invoice, some hours later: each has renewals of its own."""
        first = self.subscribes(buyer)
        self.time_passes(apart)
        return multiple(first, self.is_reported(self.charge(first.quote, first.payer, at=self.now)))

    @rule(target=charges, first=subscriptions)
    def renews(self, first: Charge) -> Charge:
        """It is charged when it is due, or before where nobody waits, and we hear of it now."""
        ends_at = first.subscription.end + PERIOD
        # By the payload alone Telegram does not say which of several it was: that whose periods it continues.
        kept = min(first.quote.of(first.payer), key=lambda each: ((ends_at - each.end) % PERIOD, each.end))
        at = min(self.now, kept.end)
        return self.is_reported(self.charge(first.quote, first.payer, at=at, continues=kept), at_once=True)

    def charge(
        self, quote: Quote, payer: Person, *, at: datetime, more: int = 0, continues: Subscribed | None = None
    ) -> Charge:
        invoice, recurring = quote.invoice, quote.invoice.recurring
        charge = Charge(
            f"stx{len(self.charged)}",
            quote,
            payer,
            invoice.amount + more,
            at,
            period_ends_at=(continues.end if continues else at) + PERIOD if recurring else None,
            renewal=continues is not None,
            subscription=continues,
        )
        charge.report = payment_of(
            invoice,
            charge_id=charge.name,
            payer=payer.customer.telegram_user_id,
            money=Money(charge.amount, "XTR"),
            occurred_at=at,
            period_ends_at=charge.period_ends_at,
            renewal=charge.renewal,
        )
        self.charged.append(charge)
        return charge

    def is_reported(self, charge: Charge, *, at_once: bool = False) -> Charge:
        """The report reaches us: the model decides what must come of it, then the books do."""
        charge.is_recorded(self.now)
        if at_once and record_ordinary_payment(charge.report, beside=NOTHING_BESIDE):
            assert charge.given
        else:
            assert record_payment(charge.report).outcome == ("processed" if charge.given else "held")
        return charge

    # --- Telegram -----------------------------------------------------------------------------------------------------

    @rule(
        first=subscriptions,
        state=st.sampled_from(["canceled", "active", "failed"]),
        late=st.sampled_from([0, 0, 5, 24 * 40]),
    )
    def telegram_tells(self, first: Charge, state: str, late: int) -> None:
        """The buyer cancelled it, lets it renew again, or did not pay; only the payload says which it is."""
        at = self.now - late * HOUR
        running = [each for each in first.quote.of(first.payer) if each.state != "ended"]
        is_news = any(each.is_told(state, at) for each in sorted(running, key=lambda each: each.end))
        told = note_state(payer=first.report.payer, reference=first.quote.invoice.payload, state=state, at=at)
        assert (told is not None) == is_news

    @rule(charge=charges, at_once=st.booleans())
    def telegram_repeats_itself(self, charge: Charge, at_once: bool) -> None:
        if at_once:
            assert record_ordinary_payment(charge.report, beside=NOTHING_BESIDE) is None
        assert record_payment(charge.report).outcome == "duplicate"

    @rule(charge=charges)
    def is_refunded(self, charge: Charge) -> None:
        expected = "duplicate" if charge.returned else "processed"
        if charge.left:
            charge.is_given_back(charge.name, charge.amount)
        assert record_refund(self.refund(charge)).outcome == expected

    @rule(target=charges, quote=quotes, at_once=st.booleans())
    def is_refunded_before_we_know_of_the_payment(self, quote: Quote, at_once: bool) -> Charge:
        charge = self.charge(quote, quote.buyer, at=self.now)
        assert record_refund(self.refund(charge)).outcome == "held"
        quote.paid = True
        self.is_reported(charge, at_once=at_once)
        charge.is_given_back(charge.name, charge.amount)
        return charge

    def refund(self, charge: Charge) -> object:
        return refund_of(
            charge.quote.invoice,
            charge_id=charge.name,
            payer=charge.report.payer,
            money=charge.report.money,
            occurred_at=self.now,
        )

    # --- What must be so ----------------------------------------------------------------------------------------------

    @invariant()
    def books_are_the_models(self) -> None:
        people = self.people.values()
        assert ends() == {(each.customer.pk, code, each.end(code)) for each in people for code in each.grants}
        assert subscriptions() == Counter(
            (person.customer.pk, each.state, each.end, len(each.payments) - 1) for person, _, each in self.subscribed()
        )
        assert lines() == Counter(
            {(each.customer.pk, *line): times for each in people for line, times in each.ledger.items()}
        )
        assert reminders() == Counter((each.customer.pk, kind) for each in people for _, kind in each.reminded)


def ends() -> set[tuple[int, str, datetime | None]]:
    """What the books have of it, here as in the next."""
    return set(Entitlement.objects.values_list("customer_id", "code", "active_until"))


def subscriptions() -> Counter[tuple[int, str, datetime, int]]:
    return Counter(Subscription.objects.values_list("customer_id", "state", "current_period_end", "renewals"))


def lines() -> Counter[tuple[int, str, str, int]]:
    return Counter(PaymentEvent.objects.values_list("customer_id", "event_type", "status", "amount"))


def reminders() -> Counter[tuple[int, str]]:
    return Counter(Notice.objects.filter(kind__in=REMINDERS).values_list("event__customer_id", "kind"))
