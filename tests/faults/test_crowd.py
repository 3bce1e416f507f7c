"""T05: hundreds of payments of one customer at the same time, refunds and a reconciliation beside them: right to the
day, no deadlock.
"""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from django.db import connection, transaction

from entitlements.models import Customer, Entitlement
from payments.models import Invoice, PaymentEvent, ReconciliationRun, RunOutcome, WhenActive
from payments.reconciling import reconcile
from telegram_bot.models import IncomingUpdate, UpdateStatus
from telegram_bot.receiving import receive
from tests import updates
from tests.books import faults_in_the_books
from tests.connections import a_connection_for_everybody
from tests.factories import CustomerFactory, InvoiceFactory, PlanFactory
from tests.faults.interleaving import stage
from tests.payments.test_reconciling import given_back, listed

# With everything else that opens a hundred connections: the server has two hundred.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("crowd")]

PAYMENTS, AT_ONCE = (500 if os.environ.get("THOROUGH") else 150), 100
EACH_REFUNDED = 5  # that is, every fifth
UNTOLD = 10
MONTH = timedelta(days=30)


# The server adds up what a connection has met when that ends.
MET = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
OTHERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


def asked(question: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(question)
        return cursor.fetchone()[0]


@pytest.fixture
def deadlocks() -> Callable[[], int]:
    """How many the server has seen since."""
    met, others = asked(MET), asked(OTHERS)

    def since() -> int:
        deadline = time.monotonic() + 60
        while asked(OTHERS) > others:
            assert time.monotonic() < deadline, "not everybody has left"
            time.sleep(0.01)
        return asked(MET) - met

    return since


def quotes(customer: Customer, count: int) -> list[Invoice]:
    plan = PlanFactory(code="gold_more", when_active=WhenActive.EXTEND)
    return [InvoiceFactory(customer=customer, plan=plan) for _ in range(count)]


def charge_of(invoice: Invoice) -> str:
    return f"stx-{invoice.pk}"


def buys(invoices: Sequence[Invoice], *, paid_at: datetime) -> tuple[list[bytes], list[bytes]]:
    """The updates of their payments, and those of the refunds of some."""
    date = int(paid_at.timestamp())
    return (
        [updates.body(updates.payment(each, charge_id=charge_of(each), date=date)) for each in invoices],
        [updates.body(updates.refund(each, charge_id=charge_of(each))) for each in invoices[::EACH_REFUNDED]],
    )


def is_listed(telegram, invoices: Sequence[Invoice], refunded: Sequence[Invoice], *, paid_at: datetime) -> None:
    """Have Telegram's list tell the same: the payments, and after them those that were given back."""
    for invoice in invoices:
        sale = listed(charge_of(invoice), invoice.customer.telegram_user_id, payload=invoice.payload)
        telegram.local.adds_transaction(sale | {"date": int(paid_at.timestamp())})
    for invoice in refunded:
        sale = listed(charge_of(invoice), invoice.customer.telegram_user_id, payload=invoice.payload)
        telegram.local.adds_transaction(given_back(sale))


def received_at_once(bodies: Sequence[bytes], at_once: int, *, beside: Callable[[], object] = lambda: None) -> None:
    """By so many threads, of which each brings its share of them; one more does what is done beside them."""

    def bring(share: Sequence[bytes]) -> None:
        for body in share:
            receive(body)

    def do(work: Callable[[], object]) -> None:
        try:
            work()
        finally:
            connection.close()

    shares = [partial(bring, bodies[number::at_once]) for number in range(at_once)]
    with a_connection_for_everybody(), ThreadPoolExecutor(at_once + 1) as crowd:
        list(crowd.map(do, [beside, *shares]))


def test_hundreds_of_payments_of_one_customer_give_exactly_their_days_without_a_deadlock(alice, deadlocks, telegram):
    """Of some, nobody tells but Telegram's list."""
    paid_at = datetime.now(UTC).replace(microsecond=0)
    invoices = quotes(alice, PAYMENTS + UNTOLD)
    payments, refunds = buys(invoices[:PAYMENTS], paid_at=paid_at)
    is_listed(telegram, invoices, invoices[:PAYMENTS:EACH_REFUNDED], paid_at=paid_at)
    # Each refund comes at about the time of its payment, now before and now after it.
    for place, refund in enumerate(refunds):
        payments.insert(place * (EACH_REFUNDED + 1) + place % 3, refund)

    received_at_once(payments, AT_ONCE, beside=lambda: reconcile(asked_by="schedule"))

    run = ReconciliationRun.objects.get()
    assert (run.outcome, run.held, run.other, run.found) == (RunOutcome.CLEAN, 0, 0, 0)
    assert run.matched + run.recorded + run.refunded == len(invoices) + len(refunds)
    assert run.recorded >= UNTOLD
    assert Entitlement.objects.get().active_until == paid_at + (len(invoices) - len(refunds)) * MONTH
    assert PaymentEvent.objects.payments().count() == len(invoices)
    assert PaymentEvent.objects.refunds().count() == len(refunds)
    assert not IncomingUpdate.objects.exclude(status=UpdateStatus.DONE).exists()
    assert faults_in_the_books() == []
    assert deadlocks() == 0


def test_days_would_be_lost_without_the_lock_of_the_customer(alice, monkeypatch):
    """The twin: the end is read, and written back when others have moved it."""
    monkeypatch.setattr(Customer.objects.all().__class__, "locked", lambda customers: customers)

    def loses_days() -> bool:
        payments, _ = buys(quotes(alice, 40), paid_at=datetime.now(UTC))
        received_at_once(payments, 40)
        return faults_in_the_books() != []

    assert any(loses_days() for _ in range(20))


def test_a_deadlock_would_be_counted(deadlocks):
    """The control: two who lock two customers in opposite orders."""

    def lock(*customers: Customer) -> None:
        with transaction.atomic():
            for customer in customers:
                Customer.objects.locked().get(pk=customer.pk)

    first, second = CustomerFactory(), CustomerFactory()
    with stage() as actors:
        by_turns = (lambda: lock(first, second), lambda: lock(second, first))
        actors.play(by_turns, lambda past, ready: ready[len(past) % len(ready)])

    assert deadlocks() == 1
