"""T30: the process dies at every boundary of a refund, whatever Telegram answers, and it is made once and recorded.

Dying right before or after a call is dying before it is sent or after it was answered. Dying while it is on its way is
the outcome whose answer is cut.
"""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User

from config.database import database_now
from payments import refunding
from payments.models import Notice, NoticeKind, PaymentEvent, Refund, RefundStatus
from payments.recording import record_refund
from payments.staff_refunds import refund_by_staff
from tests.books import faults_in_the_books
from tests.factories import InvoiceFactory, PlanFactory
from tests.faults.crashing import boundaries, die_at
from tests.payments.reports import refund_of

pytestmark = pytest.mark.django_db(transaction=True)

MOST_TRIES = 12


def goes_well(telegram, payment):
    telegram.faults.clear()


def answer_is_cut(telegram, payment):
    telegram.faults.order("refundStarPayment", "cut_after_effect")


def hangs_then_is_done(telegram, payment):
    telegram.faults.order("refundStarPayment", "hang_after_effect", seconds=2)


def fails_before(telegram, payment):
    telegram.faults.order("refundStarPayment", "500")


def fails_after(telegram, payment):
    telegram.faults.order("refundStarPayment", "500_after_effect")


def is_put_off(telegram, payment):
    telegram.faults.order("refundStarPayment", "429", retry_after=1)


def was_refunded_earlier(telegram, payment):
    telegram.refunds_by_itself(payment)


def is_refunded_by_the_call_that_says_so(telegram, payment):
    telegram.faults.order("refundStarPayment", "refuse_after_effect", description="CHARGE_ALREADY_REFUNDED")


def is_refused(telegram, payment):
    telegram.faults.order("refundStarPayment", "refuse", description="USER_BOT_INVALID", times=50)


def answer_is_half(telegram, payment):
    telegram.faults.order("refundStarPayment", "half_json")


def message_comes_first(telegram, payment):
    """The refund was made by other means, and its message is recorded before the worker looks."""
    telegram.refunds_by_itself(payment)
    record_refund(refund_of(payment.invoice, charge_id=payment.event_id))


OUTCOMES = [
    goes_well,
    answer_is_cut,
    hangs_then_is_done,
    fails_before,
    fails_after,
    is_put_off,
    was_refunded_earlier,
    is_refunded_by_the_call_that_says_so,
    is_refused,
    answer_is_half,
    message_comes_first,
]


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """A hanging call and the rows of the tries before cost little; nothing else is replaced."""
    monkeypatch.setattr("telegram_bot.gateway.READ_LIMIT", 0.2)
    monkeypatch.setattr("payments.mirror.OVERLAP", 2)


def ask(payment) -> None:
    refund_by_staff(payment=payment, staff=User.objects.get(username="dana"), reason="so")


def pursue_to_the_end(payment) -> None:
    """Let the time of each next try come until there is none, as the workers of several days would."""
    for _ in range(MOST_TRIES):
        refund = Refund.objects.open().filter(payment=payment).first()
        if refund is None:
            return
        now = database_now()
        missed_at = refund.missed_at and now - timedelta(days=1)
        Refund.objects.filter(pk=refund.pk).update(next_attempt_at=now, missed_at=missed_at)
        refunding.pursue(refund_id=refund.pk)
    raise AssertionError("it came to no end")


def faults_of(telegram, payment, outcome) -> list[str]:
    """What is wrong with a refund that has come to its end."""
    refund = Refund.objects.get(payment=payment)
    calls = [
        call.answer or {}
        for call in telegram.truth.calls_of("refundStarPayment")
        if call.arguments["telegram_payment_charge_id"] == payment.event_id
    ]
    given_back = sum(charge.id == payment.event_id for charge in telegram.truth.refunds)
    told = Notice.objects.filter(event__refund_of=payment, kind=NoticeKind.REFUNDED).count()
    expected = 0 if outcome is is_refused else 1
    wrong = []
    if refund.status != (RefundStatus.REFUSED if outcome is is_refused else RefundStatus.CONFIRMED):
        wrong.append(f"it is {refund.status}")
    if (given_back, PaymentEvent.objects.filter(refund_of=payment).count(), told) != (expected,) * 3:
        wrong.append(f"{given_back} at Telegram, {payment.refunds.count()} in the ledger, {told} messages")
    # Telegram never pays twice, but to ask it to is to have trusted in that.
    again = [answer for answer in calls if "ALREADY_REFUNDED" in str(answer)]
    if again and outcome not in {was_refunded_earlier, is_refunded_by_the_call_that_says_so}:
        wrong.append("it was sent although it had been done")
    return wrong


@pytest.fixture
def new_payment(telegram):
    User.objects.create_superuser("dana")
    return lambda: telegram.sells(InvoiceFactory(plan=PlanFactory()))


# The local Telegram lives in a thread of this process, and no lock of Python's is held by it for long.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
class TestDyingAtAnyBoundary:
    def test_of_asking_leaves_one_intent_or_none(self, telegram, new_payment):
        first = new_payment()
        for boundary in range(boundaries(lambda: ask(first))):
            payment = new_payment()
            die_at(boundary, lambda payment=payment: ask(payment))

            if not Refund.objects.filter(payment=payment).exists():
                ask(payment)
            pursue_to_the_end(payment)

            assert faults_of(telegram, payment, goes_well) == [], boundary
        assert faults_in_the_books() == []

    @pytest.mark.parametrize("outcome", OUTCOMES)
    def test_of_pursuing_makes_and_records_it_once(self, telegram, new_payment, outcome):
        def prepared() -> PaymentEvent:
            telegram.faults.clear()
            payment = new_payment()
            ask(payment)
            outcome(telegram, payment)
            return payment

        payment = prepared()
        total = boundaries(lambda: pursue_to_the_end(payment))
        assert faults_of(telegram, payment, outcome) == []

        for boundary in range(total):
            payment = prepared()
            die_at(boundary, lambda payment=payment: pursue_to_the_end(payment))

            pursue_to_the_end(payment)

            assert faults_of(telegram, payment, outcome) == [], boundary
        assert faults_in_the_books() == []
