"""T06: two operations on the same money, in every order of their statements, leave the same books.

First come the orders in which one is interrupted by the other once, then those with two interruptions, as many as there
is time for (make thorough takes more); some with more are drawn by lot.
"""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain

import pytest
from django.conf import settings

from config.database import database_now
from entitlements.models import Customer, Entitlement
from payments import ordinary, reconciling, runs
from payments.models import (
    Direction,
    Discrepancy,
    EarlyRefund,
    Invoice,
    Notice,
    Origin,
    PaymentEvent,
    ReconciliationRun,
    Refund,
    StarTransaction,
    Subscription,
    WhenActive,
)
from payments.reconciling import Reconciliation
from payments.recording import record_payment, record_refund
from payments.refunding import RefundingError, request_refund
from payments.subscriptions import end_what_is_over, note_state
from telegram_bot.models import IncomingUpdate, UpdateStatus
from telegram_bot.receiving import receive
from tests import updates
from tests.books import faults_in_the_books
from tests.factories import CustomerFactory, InvoiceFactory, PlanFactory
from tests.faults.interleaving import Choice, Operation, Turn, every_order, some_orders, stage
from tests.payments.reports import payment_of, refund_of

pytestmark = pytest.mark.django_db(transaction=True)

INTERRUPTIONS = 2
ORDERS, BY_LOT = (200, 40) if os.environ.get("THOROUGH") else (20, 5)
SEED = 6
MONTH = timedelta(days=30)
PAID_AT = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1)  # every payment here


@dataclass(frozen=True, slots=True)
class Meeting:
    """Two operations on the money of one customer, and what must have come of both whatever their order."""

    customer: Customer
    first: Operation
    second: Operation
    ledger: int  # rows
    months: int  # of access
    refunds_open: int = 0

    def faults(self) -> list[str]:
        wrong = []
        rows = PaymentEvent.objects.filter(customer=self.customer).count()
        if rows != self.ledger:
            wrong.append(f"{rows} rows in the ledger instead of {self.ledger}")
        if (given := access_of(self.customer)) != self.months * MONTH:
            wrong.append(f"access for {given} instead of {self.months} months")
        if (still_open := Refund.objects.open().filter(payment__customer=self.customer).count()) != self.refunds_open:
            wrong.append(f"{still_open} refunds are open")
        if (told := Notice.objects.filter(event__customer=self.customer).count()) != self.ledger:
            wrong.append(f"the buyer is told {told} things")
        if Discrepancy.objects.exists():
            wrong.append("Telegram's list is said to disagree")
        if EarlyRefund.objects.waiting().exists():
            wrong.append("a refund waits for its payment, which is there")
        if IncomingUpdate.objects.exclude(status=UpdateStatus.DONE).exists():
            wrong.append("an update is not done")
        return wrong


@dataclass(frozen=True, slots=True)
class Renewal(Meeting):
    """The same of a subscription, which is one and is paid to the end of the second month; access has a grace."""

    state: str = "canceled"

    def faults(self) -> list[str]:
        kept = Subscription.objects.get(customer=self.customer)
        wrong = []
        if (kept.state, kept.renewals, kept.current_period_end) != (self.state, 1, PAID_AT + MONTH):
            wrong.append(f"it is {kept.state} to {kept.current_period_end} after {kept.renewals} renewals")
        return wrong + Meeting.faults(self)


def access_of(customer: Customer) -> timedelta:
    grace = settings.SUBSCRIPTION_GRACE if Subscription.objects.filter(customer=customer).exists() else timedelta()
    return Entitlement.objects.get(customer=customer).active_until - grace - PAID_AT


def charge_of(invoice: Invoice) -> str:
    return f"stx-{invoice.pk}"


def quoted(customer: Customer | None = None) -> Invoice:
    """Gold for a month, which may be bought again and again."""
    plan = PlanFactory(code="gold_more", when_active=WhenActive.EXTEND)
    return InvoiceFactory(customer=customer or CustomerFactory(), plan=plan)


def quoted_once() -> tuple[Invoice, Invoice]:
    """Two invoices for what nobody may have twice."""
    first = InvoiceFactory(plan=PlanFactory())
    return first, InvoiceFactory(customer=first.customer, plan=first.plan)


def paid(invoice: Invoice) -> PaymentEvent:
    update_of(invoice)()
    return PaymentEvent.objects.get(event_id=charge_of(invoice))


def update_of(invoice: Invoice, make=updates.payment) -> Operation:
    """Telegram brings it, and each time in another update."""
    body = updates.body(make(invoice, charge_id=charge_of(invoice), date=int(PAID_AT.timestamp())))
    return lambda: receive(body)


def subscribed() -> Invoice:
    """A month that renews, begun a month ago."""
    plan = PlanFactory(code="gold_monthly", recurring=True, prices=[])
    invoice = InvoiceFactory(customer=CustomerFactory(), plan=plan)
    record_payment(
        payment_of(invoice, charge_id=f"{charge_of(invoice)}-1", occurred_at=PAID_AT - MONTH, period_ends_at=PAID_AT)
    )
    return invoice


def renewal_of(invoice: Invoice) -> Operation:
    """The webhook brings it."""
    ends_at = int((PAID_AT + MONTH).timestamp())
    body = updates.body(
        updates.payment(
            invoice,
            charge_id=charge_of(invoice),
            date=int(PAID_AT.timestamp()),
            subscription_expiration_date=ends_at,
            is_recurring=True,
        )
    )
    return lambda: receive(body)


def told_of(invoice: Invoice, state: str) -> Operation:
    """A worker has it that Telegram says so."""
    payer, at = invoice.customer.telegram_user_id, database_now()
    return lambda: note_state(payer=payer, reference=invoice.payload, state=state, at=at)


def report_of(invoice: Invoice) -> Operation:
    """Another program brings the payment, which goes the general way."""
    report = payment_of(invoice, charge_id=charge_of(invoice), occurred_at=PAID_AT)
    return lambda: record_payment(report)


def comparison_with(invoice: Invoice, *directions: Direction) -> Operation:
    """A reconciliation at the page of Telegram's list on which these rows of the charge stand: from looking for them in
    the ledger to having noted that they were compared. What comes before only reads the list, into tables that nobody
    else writes; what comes after compares the whole of them again.
    """
    ReconciliationRun.objects.update(lease_until=database_now())  # that of the order before has ended
    StarTransaction.objects.bulk_create(
        StarTransaction(
            transaction_id=charge_of(invoice),
            direction=direction,
            amount=invoice.amount,
            date=PAID_AT,
            telegram_user_id=invoice.customer.telegram_user_id,
            payload=invoice.payload,
            raw=b"{}",
        )
        for direction in directions
    )
    return Reconciliation(runs.begin(asked_by="command", full=False), 0, lambda words: None).compare_list


def one_update_twice() -> Meeting:
    invoice = quoted()
    update = update_of(invoice)
    return Meeting(invoice.customer, update, update, ledger=1, months=1)


def one_charge_in_two_updates() -> Meeting:
    invoice = quoted()
    return Meeting(invoice.customer, update_of(invoice), update_of(invoice), ledger=1, months=1)


def one_charge_by_the_webhook_and_by_a_program() -> Meeting:
    invoice = quoted()
    return Meeting(invoice.customer, update_of(invoice), report_of(invoice), ledger=1, months=1)


def two_payments() -> Meeting:
    invoice = quoted()
    return Meeting(invoice.customer, update_of(invoice), update_of(quoted(invoice.customer)), ledger=2, months=2)


def two_payments_the_general_way() -> Meeting:
    invoice = quoted()
    return Meeting(invoice.customer, report_of(invoice), report_of(quoted(invoice.customer)), ledger=2, months=2)


def two_payments_for_what_is_sold_once() -> Meeting:
    first, second = quoted_once()
    return Meeting(first.customer, update_of(first), update_of(second), ledger=2, months=1, refunds_open=1)


def a_payment_and_its_refund() -> Meeting:
    invoice = quoted()
    refund = update_of(invoice, updates.refund)
    return Meeting(invoice.customer, update_of(invoice), refund, ledger=2, months=0)


def a_payment_the_general_way_and_its_refund() -> Meeting:
    invoice = quoted()
    refund = update_of(invoice, updates.refund)
    return Meeting(invoice.customer, report_of(invoice), refund, ledger=2, months=0)


def a_payment_and_the_refund_of_another() -> Meeting:
    before = quoted()
    paid(before)
    refund = update_of(before, updates.refund)
    return Meeting(before.customer, update_of(quoted(before.customer)), refund, ledger=3, months=1)


def a_refund_by_our_call_and_its_message() -> Meeting:
    payment = paid(quoted())
    asked_for(payment)()
    answered = refund_of(payment.invoice, charge_id=payment.event_id, origin=Origin.API)
    message = update_of(payment.invoice, updates.refund)
    return Meeting(payment.customer, lambda: record_refund(answered), message, ledger=2, months=0)


def asked_for(payment: PaymentEvent) -> Operation:
    def ask() -> None:
        with suppress(RefundingError):  # the other was first
            request_refund(payment_id=payment.pk, reason="so", requested_by="api:shop")

    return ask


def a_refund_asked_for_twice() -> Meeting:
    payment = paid(quoted())
    return Meeting(payment.customer, asked_for(payment), asked_for(payment), ledger=1, months=1, refunds_open=1)


def a_refund_asked_for_and_one_that_was_made() -> Meeting:
    payment = paid(quoted())
    message = update_of(payment.invoice, updates.refund)
    return Meeting(payment.customer, asked_for(payment), message, ledger=2, months=0)


def a_payment_by_the_webhook_and_from_the_list() -> Meeting:
    invoice = quoted()
    return Meeting(invoice.customer, update_of(invoice), comparison_with(invoice, Direction.IN), ledger=1, months=1)


def a_refund_by_its_message_and_from_the_list() -> Meeting:
    invoice = paid(quoted()).invoice
    message, comparison = update_of(invoice, updates.refund), comparison_with(invoice, Direction.IN, Direction.OUT)
    return Meeting(invoice.customer, message, comparison, ledger=2, months=0)


def a_refund_by_its_message_and_its_payment_from_the_list() -> Meeting:
    invoice = quoted()
    message, comparison = update_of(invoice, updates.refund), comparison_with(invoice, Direction.IN)
    return Meeting(invoice.customer, message, comparison, ledger=2, months=0)


def a_renewal_and_a_cancellation() -> Meeting:
    invoice = subscribed()
    return Renewal(invoice.customer, renewal_of(invoice), told_of(invoice, "canceled"), ledger=2, months=1)


def a_renewal_and_its_refund() -> Meeting:
    invoice = subscribed()
    refund = update_of(invoice, updates.refund)
    return Renewal(invoice.customer, renewal_of(invoice), refund, ledger=3, months=0, state="active")


def a_renewal_and_the_end() -> Meeting:
    """Nobody had heard of the renewal, and the grace is over."""
    invoice = subscribed()
    Subscription.objects.filter(customer=invoice.customer).update(grace_ends_at=database_now())
    return Renewal(invoice.customer, renewal_of(invoice), end_what_is_over, ledger=2, months=1, state="active")


MEETINGS = [
    a_renewal_and_a_cancellation,
    a_renewal_and_its_refund,
    a_renewal_and_the_end,
    one_update_twice,
    one_charge_in_two_updates,
    one_charge_by_the_webhook_and_by_a_program,
    two_payments,
    two_payments_the_general_way,
    two_payments_for_what_is_sold_once,
    a_payment_and_its_refund,
    a_payment_the_general_way_and_its_refund,
    a_payment_and_the_refund_of_another,
    a_refund_by_our_call_and_its_message,
    a_refund_asked_for_twice,
    a_refund_asked_for_and_one_that_was_made,
    a_payment_by_the_webhook_and_from_the_list,
    a_refund_by_its_message_and_from_the_list,
    a_refund_by_its_message_and_its_payment_from_the_list,
]


@pytest.fixture
def faults():
    """What is wrong after each order of a meeting in which anything is, one after the other."""
    with stage() as actors:

        def of(meet: Callable[[], Meeting]) -> Iterator[list[str]]:
            wrong: list[str] = []
            met = False

            def once(choose: Choice) -> list[Turn]:
                meeting = meet()
                turns = actors.play((meeting.first, meeting.second), choose)
                wrong[:] = actors.errors() + meeting.faults()
                return turns

            orders = every_order(once, interruptions=INTERRUPTIONS, at_most=ORDERS, seed=SEED)
            for turns in chain(orders, some_orders(once, count=BY_LOT, seed=SEED)):
                met |= len({turn.taken for turn in turns}) == 2
                if wrong:
                    yield list(wrong)
            assert met, "they never met"
            # Nobody has touched the rows of an order since it was played: what was wrong then still is.
            if after_all := faults_in_the_books():
                yield after_all

        yield of


@pytest.fixture(autouse=True)
def apart(monkeypatch):
    """As if each were received by a process of its own: payments of one process share a statement."""
    monkeypatch.setattr(ordinary, "_together", ordinary._together.__wrapped__)
    monkeypatch.setattr(reconciling, "RENEWED_EVERY", math.inf)  # or an order played slowly had more statements


@pytest.mark.parametrize("meet", MEETINGS)
def test_in_every_order_the_books_are_right(faults, meet):
    assert list(faults(meet)) == []


@pytest.mark.parametrize(
    "meet",
    [
        two_payments_the_general_way,
        a_payment_the_general_way_and_its_refund,
        a_renewal_and_a_cancellation,
        a_refund_by_its_message_and_its_payment_from_the_list,
    ],
)
def test_in_some_order_they_would_not_be_without_the_lock_of_the_customer(faults, meet, monkeypatch):
    """The twin: the customer is read, not locked."""
    monkeypatch.setattr(Customer.objects.all().__class__, "locked", lambda customers: customers)

    assert next(faults(meet), None) is not None
