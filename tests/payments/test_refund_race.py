"""T31: two members of staff, fifty threads each, ask for the same refunds."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth.models import User
from django.db import connection

from config.database import database_now
from entitlements.models import Customer
from payments import refunding
from payments.models import PaymentEvent, Refund
from payments.refunding import AlreadyRefunded, RefundPending, request_refund
from payments.staff_refunds import refund_by_staff
from tests.books import faults_in_the_books
from tests.connections import a_connection_for_everybody
from tests.factories import CustomerFactory, InvoiceFactory, PlanFactory

# With everything else that opens a hundred connections: the server has two hundred.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("crowd")]

STAFF, THREADS = ("dana", "rosa"), 50


def at_once(payments: list[PaymentEvent]) -> list[tuple[User, object]]:
    """Each payment is asked for by a thread of either; what each was told, the intent's id or the error."""
    staff = [User.objects.create_superuser(name) for name in STAFF]
    everybody = threading.Barrier(THREADS * len(STAFF))

    def ask(work):
        who, share = work
        everybody.wait()
        try:
            return [(who, told(who, payment)) for payment in share]
        finally:
            connection.close()

    shares = [(who, payments[number::THREADS]) for who in staff for number in range(THREADS)]
    with a_connection_for_everybody(), ThreadPoolExecutor(len(shares)) as threads:
        return [answer for answers in threads.map(ask, shares) for answer in answers]


def told(who: User, payment: PaymentEvent) -> object:
    try:
        return refund_by_staff(payment=payment, staff=who, reason="so").pk
    except (RefundPending, AlreadyRefunded) as loss:
        return loss


def test_one_intent_is_written_and_one_call_made_for_each_payment_and_losers_are_told_who_and_when(telegram):
    payments = [telegram.sells(InvoiceFactory(plan=PlanFactory())) for _ in range(100)]

    answers = at_once(payments)

    intents = {refund.pk: refund for refund in Refund.objects.all()}
    assert len(intents) == len({refund.payment_id for refund in intents.values()}) == 100
    losses = [answer for _, answer in answers if isinstance(answer, RefundPending)]
    assert len(losses) == 100
    for loss in losses:
        won = intents[loss.refund_id]
        assert (loss.asked.by, loss.asked.at) == (won.requested_by, won.created_at)

    pursued_at_once([*intents, *intents])

    sent = Counter(
        call.arguments["telegram_payment_charge_id"] for call in telegram.truth.calls_of("refundStarPayment")
    )
    assert sent == {payment.event_id: 1 for payment in payments}
    assert {refund.status for refund in Refund.objects.all()} == {"confirmed"}
    assert faults_in_the_books() == []


def pursued_at_once(refund_ids) -> None:
    def pursue(refund_id):
        try:
            refunding.pursue(refund_id=refund_id)
        finally:
            connection.close()

    with a_connection_for_everybody(), ThreadPoolExecutor(16) as threads:
        list(threads.map(pursue, refund_ids))


def test_several_intents_would_be_written_without_the_lock_and_the_constraint(telegram, monkeypatch):
    """The twin: the customer is read, not locked, and the database would take a second open intent."""
    monkeypatch.setattr(Customer.objects.all().__class__, "locked", lambda customers: customers)
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexdef FROM pg_indexes WHERE indexname = 'refund_open_once'")
        (constraint,) = cursor.fetchone()
        cursor.execute("DROP INDEX refund_open_once")
    try:
        payment = telegram.sells(InvoiceFactory(customer=CustomerFactory(), plan=PlanFactory()))

        at_once([payment] * 100)

        assert Refund.objects.count() > 1
    finally:
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE payments_refund")
            cursor.execute(constraint)


def test_several_calls_would_be_made_if_the_lease_were_not_taken(telegram, monkeypatch):
    """The twin: whoever comes takes the refund, whether or not another has it."""
    payment = telegram.sells(InvoiceFactory(plan=PlanFactory()))
    refund = request_refund(payment_id=payment.pk, reason="so", requested_by="api:shop")
    monkeypatch.setattr(refunding, "_take", lambda refund_id: (Refund.objects.get(pk=refund_id), database_now()))
    monkeypatch.setattr(refunding, "_change", lambda refund, **changes: True)

    pursued_at_once([refund.pk] * 16)

    assert telegram.calls("refundStarPayment") > 1
