"""T14: whatever people do in whatever order, the books say what a plain model in Python says."""

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
    multiple,
    rule,
    run_state_machine_as_test,
)

from config.database import Beside
from entitlements import audit
from entitlements.by_hand import GAVE, TOOK_BACK
from entitlements.models import Customer, Entitlement, Grant
from entitlements.services import grant, revoke
from payments.checkout import CheckoutRefused, PreCheckout, approve_checkout, quoted_by
from payments.models import Invoice, Plan, WhenActive
from payments.money import Money
from payments.ordinary import record_ordinary_payment
from payments.recording import record_payment, record_refund
from tests.books import faults_in_the_books
from tests.factories import CustomerFactory, InvoiceFactory, PlanFactory
from tests.payments.reports import payment_of, refund_of

RUNS, STEPS = (200 if os.environ.get("THOROUGH") else 80), 50
PARTS = 5  # for several workers
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NOTHING_BESIDE = Beside("SELECT FROM effect", {})


@dataclass
class Given:
    """The model of a grant."""

    at: datetime
    lasts: timedelta | None
    until: datetime | None = None
    revoked: bool = False


@dataclass
class Quote:
    """The model of an invoice, beside the real one."""

    invoice: Invoice
    buyer: str
    paid: bool = False


@dataclass
class Paid:
    """The model of a charge at Telegram."""

    report: object
    quote: Quote
    payer: str
    given: Given | None
    known: bool = True
    refunded: bool = False


@dataclass
class Person:
    customer: Customer
    grants: dict[str, list[Given]] = field(default_factory=dict)

    def end(self, code: str) -> datetime | str | None:
        """When access ends by the plain rules: a moment, None for life, or "never had"."""
        grants = self.grants.get(code)
        if not grants:
            return "never had"
        end: datetime | None = min(given.at for given in grants)
        for given in sorted(grants, key=lambda given: given.at):  # sorted keeps the order of equal dates
            if given.revoked or end is None:
                continue
            if given.until is not None:
                end = max(end, given.until)
            else:
                end = None if given.lasts is None else max(end, given.at) + given.lasts
        return end

    def has(self, code: str, now: datetime) -> bool:
        end = self.end(code)
        return end is None or (end != "never had" and now < end)


class Shop(RuleBasedStateMachine):
    quotes = Bundle("quotes")
    charges = Bundle("charges")
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
        differs = charge.payer != quote.buyer or report.money.amount != quote.invoice.amount
        if not differs:
            quote.paid = True
        if not (differs or twice):
            charge.given = Given(report.occurred_at, quote.invoice.duration, until=report.period_ends_at)
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

    @rule(target=charges, first=charges)
    def renews(self, first: Paid) -> Paid:
        quote = first.quote
        if not quote.invoice.recurring:
            return multiple()
        report = payment_of(
            quote.invoice,
            charge_id=self.next("stx"),
            payer=self.people[quote.buyer].customer.telegram_user_id,
            occurred_at=self.now,
            period_ends_at=self.now + 30 * DAY,
            renewal=True,
        )
        charge = Paid(report, quote, quote.buyer, given=None)
        self.happens(charge, at_once=True)
        return charge

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
