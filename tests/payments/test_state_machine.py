"""T14: whatever people do in whatever order, the books say what a plain model in Python says."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from config.database import Beside
from entitlements import audit
from entitlements.by_hand import GAVE, TOOK_BACK
from entitlements.models import Customer, Entitlement, Grant
from entitlements.services import grant, revoke
from payments.checkout import CheckoutRefused, PreCheckout, approve_checkout, quoted_by
from payments.models import Invoice, Plan, Subscription, WhenActive
from payments.money import Money
from payments.ordinary import record_ordinary_payment
from payments.recording import record_payment, record_refund
from payments.subscriptions import PERIOD, note_state
from tests.books import faults_in_the_books
from tests.factories import CustomerFactory, InvoiceFactory, PlanFactory
from tests.payments.reports import payment_of, refund_of

RUNS, STEPS = (200 if os.environ.get("THOROUGH") else 80), 50
PARTS = 5  # for several workers
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
GRACE = 24 * HOUR
NOTHING_BESIDE = Beside("SELECT FROM effect", {})


@dataclass
class Given:
    """The model of a grant. What has a grace lasts to its end at the least, and nothing is laid behind that."""

    at: datetime
    lasts: timedelta | None
    until: datetime | None = None
    grace: datetime | None = None
    revoked: bool = False

    @classmethod
    def for_a_period(cls, at: datetime, ends_at: datetime) -> Given:
        grace = ends_at + GRACE
        return cls(at, min(PERIOD, ends_at - at), grace=grace) if at < ends_at else cls(at, None, until=grace)


@dataclass
class Subscribed:
    """The model of a subscription."""

    payer: str
    end: datetime
    changed: datetime
    state: str = "active"
    renewals: int = 0


@dataclass
class Quote:
    """The model of an invoice, beside the real one."""

    invoice: Invoice
    buyer: str
    paid: bool = False
    subscriptions: list[Subscribed] = field(default_factory=list)

    def of(self, payer: str) -> list[Subscribed]:
        return [each for each in self.subscriptions if each.payer == payer]


@dataclass
class Paid:
    """The model of a charge at Telegram."""

    report: object
    quote: Quote
    payer: str
    given: Given | None
    refunded: bool = False
    subscribed: Subscribed | None = None


@dataclass
class Person:
    customer: Customer
    grants: dict[str, list[Given]] = field(default_factory=dict)
    subscribed: dict[str, list[Subscribed]] = field(default_factory=dict)

    def end(self, code: str) -> datetime | str | None:
        """When access ends by the plain rules: a moment, None for life, or "never had"."""
        grants = self.grants.get(code)
        if not grants:
            return "never had"
        end: datetime | None = min(given.at for given in grants)
        graces = [given.grace for given in grants if given.grace and not given.revoked]
        for given in sorted(grants, key=lambda given: given.at):  # sorted keeps the order of equal dates
            if given.revoked or end is None:
                continue
            if given.until is not None:
                end = max(end, given.until)
            else:
                end = None if given.lasts is None else max(end, given.at) + given.lasts
        return end if end is None else max([end, *graces])

    def has(self, code: str, now: datetime) -> bool:
        """What is no more than the grace of a subscription that nobody has paid on may be bought anew."""
        end = self.end(code)
        if end is None or end == "never had":
            return end is None
        lapsed = [each.end + GRACE for each in self.subscribed.get(code, []) if each.end <= now < each.end + GRACE]
        return now < end and not any(grace >= end for grace in lapsed)


class Shop(RuleBasedStateMachine):
    quotes = Bundle("quotes")
    charges = Bundle("charges")
    subscriptions = Bundle("subscriptions")
    presents = Bundle("presents")

    @initialize()
    def opens(self) -> None:
        self.transaction = transaction.atomic()
        self.transaction._from_testcase = True  # as Django's own tests say it: what must be outermost may be within
        self.transaction.__enter__()
        self.now = datetime.now(UTC).replace(microsecond=0) - 900 * DAY
        self.people = {name: Person(CustomerFactory(display_name=name)) for name in ("Alice", "Bob")}
        self.dana = User.objects.create_user("dana")
        PlanFactory(code="gold_1m")
        PlanFactory(code="gold_more", when_active=WhenActive.EXTEND, duration_days=7)
        PlanFactory(code="silver_life", entitlement="silver", duration_days=None)
        PlanFactory(code="club", entitlement="club", recurring=True, prices=[Money(500, "XTR")])
        self.counter = 0

    def teardown(self) -> None:
        if not hasattr(self, "transaction"):
            return
        faults = faults_in_the_books()
        transaction.set_rollback(True)
        self.transaction.__exit__(None, None, None)
        assert faults == []

    def next(self, word: str) -> str:
        self.counter += 1
        return f"{word}{self.counter}"

    @rule(hours=st.sampled_from([1, 2, 30, 24 * 7, 24 * 20]))
    def time_passes(self, hours: int) -> None:
        self.now += hours * HOUR

    @rule(
        plan=st.sampled_from(["gold_1m", "gold_more", "silver_life"]),
        price=st.integers(1, 900),
        days=st.integers(1, 60),
    )
    def plan_is_edited(self, plan: str, price: int, days: int) -> None:
        edited = Plan.objects.get(code=plan)
        edited.prices.filter(currency="XTR").update(amount=price)
        if edited.duration_days is not None:
            Plan.objects.filter(code=plan).update(duration_days=days)

    @rule(
        target=quotes,
        buyer=st.sampled_from(["Alice", "Bob"]),
        plan=st.sampled_from(["gold_1m", "gold_more", "silver_life", "club"]),
    )
    def asks_for_an_invoice(self, buyer: str, plan: str) -> Quote:
        return self.quote(buyer, plan)

    def quote(self, buyer: str, plan: str) -> Quote:
        plan = Plan.objects.get(code=plan)
        invoice = InvoiceFactory(
            customer=self.people[buyer].customer,
            plan=plan,
            amount=plan.prices.get(currency="XTR").amount,
            expires_at=self.now + HOUR,
        )
        return Quote(invoice, buyer)

    @rule(quote=quotes, payer=st.sampled_from(["Alice", "Bob"]), more=st.sampled_from([0, 0, 0, 1]))
    def is_about_to_pay(self, quote: Quote, payer: str, more: int) -> None:
        invoice = Invoice.objects.get(pk=quote.invoice.pk)
        active = self.people[quote.buyer].has(invoice.entitlement, self.now)
        expected = (
            "foreign_payer" if payer != quote.buyer
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
    def pays(self, quote: Quote, payer: str, more: int, late: int, at_once: bool) -> Paid:
        """The payment is reported, perhaps `late` hours after it was made and so behind younger ones."""
        return self.payment(quote, payer, more=more, late=late, at_once=at_once)

    def payment(self, quote: Quote, payer: str, *, more: int, late: int, at_once: bool) -> Paid:
        report = payment_of(
            quote.invoice,
            charge_id=self.next("stx"),
            payer=self.people[payer].customer.telegram_user_id,
            money=Money(quote.invoice.amount + more, "XTR"),
            occurred_at=self.now - late * HOUR,
            period_ends_at=self.now - late * HOUR + 30 * DAY if quote.invoice.recurring else None,
        )
        charge = Paid(report, quote, payer, given=None)
        self.happens(charge, at_once=at_once)
        return charge

    def happens(self, charge: Paid, *, at_once: bool) -> None:
        """The report reaches us: the model decides what must come of it, then the books do."""
        report, quote = charge.report, charge.quote
        buyer, code = self.people[charge.payer], quote.invoice.entitlement
        twice = (
            quote.invoice.when_active == WhenActive.REJECT
            and not report.renewal
            and buyer.has(code, report.occurred_at)
        )
        if quote.invoice.recurring:
            self.is_subscribed(charge)
        differs = charge.payer != quote.buyer or report.money.amount != quote.invoice.amount
        if not differs:
            quote.paid = True
        if not (differs or twice):
            at, ends_at = report.occurred_at, report.period_ends_at
            charge.given = Given.for_a_period(at, ends_at) if ends_at else Given(at, quote.invoice.duration)
            buyer.grants.setdefault(code, []).append(charge.given)

        recorded = at_once and record_ordinary_payment(report, beside=NOTHING_BESIDE)
        if not recorded:
            outcome = record_payment(report).outcome
            assert outcome == ("processed" if charge.given else "held")
        else:
            assert charge.given

    @rule(
        target=charges,
        buyer=st.sampled_from(["Alice", "Bob"]),
        plan=st.sampled_from(["gold_1m", "gold_more", "gold_more", "silver_life"]),
        late=st.sampled_from([0, 5, 24 * 40]),
        at_once=st.booleans(),
    )
    def buys(self, buyer: str, plan: str, late: int, at_once: bool) -> Paid:
        """The whole purchase, as most are."""
        return self.payment(self.quote(buyer, plan), buyer, more=0, late=late, at_once=at_once)

    def is_subscribed(self, charge: Paid) -> None:
        """The payment begins a subscription, or moves one on; a younger one than what was told of it overrules that."""
        report, quote = charge.report, charge.quote
        if not report.renewal:
            charge.subscribed = Subscribed(charge.payer, report.period_ends_at, report.occurred_at)
            quote.subscriptions.append(charge.subscribed)
            self.people[charge.payer].subscribed.setdefault(quote.invoice.entitlement, []).append(charge.subscribed)
            return
        kept = charge.subscribed
        kept.end, kept.renewals = report.period_ends_at, kept.renewals + 1
        if report.occurred_at >= kept.changed:
            kept.state, kept.changed = "active", report.occurred_at

    @rule(targets=(charges, subscriptions), buyer=st.sampled_from(["Alice", "Bob"]))
    def subscribes(self, buyer: str) -> Paid:
        return self.payment(self.quote(buyer, "club"), buyer, more=0, late=0, at_once=False)

    @rule(target=charges, first=subscriptions)
    def renews(self, first: Paid) -> Paid:
        """It is charged when it is due, or before where nobody waits, and we hear of it now."""
        ends_at = first.subscribed.end + PERIOD
        kept = min(first.quote.of(first.payer), key=lambda each: ((ends_at - each.end) % PERIOD, each.end))
        report = payment_of(
            first.quote.invoice,
            charge_id=self.next("stx"),
            payer=first.report.payer,
            money=first.report.money,
            occurred_at=min(self.now, kept.end),
            period_ends_at=kept.end + PERIOD,
            renewal=True,
        )
        charge = Paid(report, first.quote, first.payer, given=None, subscribed=kept)
        self.happens(charge, at_once=True)
        return charge

    @rule(first=subscriptions, state=st.sampled_from(["canceled", "active", "failed"]))
    def telegram_tells(self, first: Paid, state: str) -> None:
        """The buyer cancelled it, lets it renew again, or did not pay; only the payload says which it is."""
        running = sorted(first.quote.of(first.payer), key=lambda each: each.end)
        news = [
            each
            for each in running
            if each.state != state and self.now >= each.changed and (state != "failed" or each.end <= self.now + DAY)
        ]
        for each in news[:1]:
            each.state, each.changed = state, self.now
        reference = first.quote.invoice.payload
        told = note_state(payer=first.report.payer, reference=reference, state=state, at=self.now)
        assert (told is not None) == bool(news)

    @rule(charge=charges, at_once=st.booleans())
    def telegram_repeats_itself(self, charge: Paid, at_once: bool) -> None:
        if at_once:
            assert record_ordinary_payment(charge.report, beside=NOTHING_BESIDE) is None
        assert record_payment(charge.report).outcome == "duplicate"

    @rule(charge=charges)
    def is_refunded(self, charge: Paid) -> None:
        report = refund_of(
            charge.quote.invoice,
            charge_id=charge.report.charge_id,
            payer=charge.report.payer,
            money=charge.report.money,
            occurred_at=self.now,
        )
        assert record_refund(report).outcome == ("duplicate" if charge.refunded else "processed")
        charge.refunded = True
        if charge.given:
            charge.given.revoked = True

    @rule(target=charges, quote=quotes, at_once=st.booleans())
    def is_refunded_before_we_know_of_the_payment(self, quote: Quote, at_once: bool) -> Paid:
        report = payment_of(
            quote.invoice,
            charge_id=self.next("stx"),
            payer=self.people[quote.buyer].customer.telegram_user_id,
            occurred_at=self.now,
            period_ends_at=self.now + 30 * DAY if quote.invoice.recurring else None,
        )
        early = refund_of(quote.invoice, charge_id=report.charge_id, payer=report.payer, occurred_at=self.now)
        assert record_refund(early).outcome == "held"
        quote.paid = True
        charge = Paid(report, quote, quote.buyer, given=None, refunded=True)
        self.happens(charge, at_once=at_once)
        if charge.given:
            charge.given.revoked = True
        return charge

    @rule(
        target=presents,
        person=st.sampled_from(["Alice", "Bob"]),
        code=st.sampled_from(["gold", "silver"]),
        days=st.integers(1, 40),
        fixed=st.booleans(),
    )
    def staff_gives(self, person: str, code: str, days: int, fixed: bool) -> tuple[Given, str]:
        given = Given(self.now, None if fixed else days * DAY, until=self.now + days * DAY if fixed else None)
        self.people[person].grants.setdefault(code, []).append(given)
        source = self.next("staff:")
        granted = grant(
            customer=self.people[person].customer,
            entitlement=code,
            source=source,
            granted_at=given.at,
            duration=given.lasts,
            ends_at=given.until,
        )
        audit.record(staff=self.dana, what=GAVE, subject=granted, reason="a gift")
        return given, source

    @rule(present=consumes(presents))
    def staff_takes_back(self, present: tuple[Given, str]) -> None:
        given, source = present
        given.revoked = True
        revoked = revoke(grant=Grant.objects.get(source=source), reason="a mistake", now=self.now)
        audit.record(staff=self.dana, what=TOOK_BACK, subject=revoked, reason="a mistake")

    @invariant()
    def every_subscription_is_the_models(self) -> None:
        kept = Subscription.objects.values_list("customer_id", "state", "current_period_end", "renewals")
        expected = [
            (person.customer.pk, each.state, each.end, each.renewals)
            for person in getattr(self, "people", {}).values()
            for subscribed in person.subscribed.values()
            for each in subscribed
        ]
        assert sorted(kept) == sorted(expected)

    @invariant()
    def every_end_is_the_models(self) -> None:
        if not hasattr(self, "people"):
            return
        ends = set(Entitlement.objects.values_list("customer_id", "code", "active_until"))
        expected = {
            (person.customer.pk, code, person.end(code)) for person in self.people.values() for code in person.grants
        }
        assert ends == expected


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.django_db
def test_the_books_follow_the_model_whatever_happens(part):
    run_state_machine_as_test(
        Shop,
        settings=settings(
            max_examples=RUNS // PARTS,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
