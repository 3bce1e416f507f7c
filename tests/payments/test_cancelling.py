"""The subscription of a payment that staff give back is cancelled with it, if they want that, and whatever fails."""

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, IntegrityError, transaction
from procrastinate.contrib.django.models import ProcrastinateJob

from config.database import database_now
from entitlements.models import AuditEntry
from payments import cancelling, refunding, timeline
from payments.models import Invoice, PaymentEvent, PaymentMethod, Refund, RefundStatus
from payments.money import Money
from payments.recording import record_payment, record_refund
from payments.refunding import NotRefundable
from payments.staff_refunds import approve_refund, decline_refund, refund_by_staff, refund_each_by_staff
from payments.subscriptions import is_of_subscription
from payments.tasks import cancel_subscription
from telegram_bot.gateway import CallInsideTransaction
from tests.factories import InvoiceFactory, PlanFactory
from tests.payments.reports import payment_of, refund_of
from tests.payments.test_staff_refunds import member

pytestmark = pytest.mark.django_db(transaction=True)

METHOD = "editUserStarSubscription"
MONTH = timedelta(days=30)


@pytest.fixture
def dana(transactional_db) -> User:
    return member("dana")


@pytest.fixture
def finn(transactional_db) -> User:
    return member("finn")


@pytest.fixture
def monthly(alice) -> Invoice:
    """Gold month by month, quoted to Alice for 500 Stars."""
    plan = PlanFactory(code="gold_monthly", recurring=True, prices=[Money(500, "XTR")])
    return InvoiceFactory(customer=alice, plan=plan)


@pytest.fixture
def payment(telegram, monthly) -> PaymentEvent:
    """Alice's first payment of her subscription, known to Telegram and to us."""
    return record(telegram, telegram.charges(monthly))


def record(telegram, charge_id, *, renewal=False) -> PaymentEvent:
    """Tell us of a charge for a period, as the webhook would."""
    charge = next(one for one in telegram.truth.charges if one.id == charge_id)
    report = payment_of(
        Invoice.objects.get(payload=charge.payload),
        charge_id=charge.id,
        period_ends_at=datetime.fromtimestamp(charge.subscription_expiration_date, UTC),
        renewal=renewal,
    )
    return record_payment(report).event


def subscription(telegram):
    (found,) = telegram.truth.subscriptions
    return found


def ask(payment, staff, *, cancel=True) -> Refund:
    return refund_by_staff(payment=payment, staff=staff, reason="Bought by mistake.", cancel_subscription=cancel)


def pursue(refund) -> Refund:
    """Let the time of the next try come, and try."""
    Refund.objects.filter(pk=refund.pk, cancel_next_attempt_at__isnull=False).update(
        cancel_next_attempt_at=database_now()
    )
    cancelling.pursue(refund_id=refund.pk)
    refund.refresh_from_db()
    return refund


def jobs(refund, **which) -> int:
    task = "payments.tasks.cancel_subscription"
    return ProcrastinateJob.objects.filter(task_name=task, args={"refund_id": str(refund.pk)}, **which).count()


def waits(refund) -> float:
    """Seconds until Telegram is asked again, for which a job stands ready."""
    assert jobs(refund, scheduled_at=refund.cancel_next_attempt_at) == 1
    return round((refund.cancel_next_attempt_at - database_now()).total_seconds())


class TestTheWish:
    def test_is_kept_with_the_intent_and_its_job_and_told_in_the_audit(self, dana, payment):
        refund = ask(payment, dana)

        assert (refund.cancel_subscription, jobs(refund, scheduled_at=None)) == (True, 1)
        assert AuditEntry.objects.get().after["cancel_subscription"] is True

    def test_that_was_not_uttered_calls_nothing(self, telegram, dana, payment):
        refund = ask(payment, dana, cancel=False)

        refunding.pursue(refund_id=refund.pk)
        pursue(refund)

        assert (cancelling.sweep(), jobs(refund), telegram.calls(METHOD)) == (0, 0, 0)
        assert refund.status == RefundStatus.CONFIRMED
        assert subscription(telegram).renews
        assert AuditEntry.objects.get().after["cancel_subscription"] is False

    def test_is_refused_where_there_is_no_subscription(self, telegram, dana, invoice):
        once = telegram.sells(invoice)

        with pytest.raises(NotRefundable, match="no subscription"):
            ask(once, dana)

        assert not Refund.objects.exists()

    def test_for_several_is_of_those_that_have_one(self, telegram, dana, bob, payment):
        once = telegram.sells(InvoiceFactory(customer=bob))

        answers = refund_each_by_staff(payments=[payment, once], staff=dana, reason="so", cancel_subscriptions=True)

        assert [answer.refund.cancel_subscription for answer in answers] == [True, False]

    def test_never_changes(self, dana, payment):
        refund = ask(payment, dana)

        with pytest.raises(DatabaseError, match="refund_facts_stay"):
            Refund.objects.filter(pk=refund.pk).update(cancel_subscription=False, cancel_next_attempt_at=None)

    def test_is_told_on_the_payments_timeline(self, dana, payment):
        ask(payment, dana)

        told = {entry.what: entry.detail for entry in timeline.tell(payment)}
        assert told["Refund asked for"].endswith("The subscription is to be cancelled too.")


class TestWhatBelongsToASubscription:
    def test_is_what_was_paid_by_a_recurring_invoice_or_for_a_period(self, monthly, invoice):
        by_invoice = record_payment(payment_of(monthly)).event
        end = database_now() + MONTH
        lost = record_payment(payment_of(invoice, payload="lost", charge_id="stx2", period_ends_at=end)).event

        assert lost.invoice is None
        assert is_of_subscription(by_invoice)
        assert is_of_subscription(lost)

    def test_is_no_other_payment_and_no_refund(self, monthly, invoice, bob):
        record_payment(payment_of(monthly))
        refund = record_refund(refund_of(monthly)).event
        once = record_payment(payment_of(InvoiceFactory(customer=bob), charge_id="stx2")).event
        card = InvoiceFactory(
            customer=bob, plan__code="silver", payment_method=PaymentMethod.TELEGRAM_PROVIDER, currency="GBP"
        )
        by_card = record_payment(payment_of(card, charge_id="c1", period_ends_at=database_now() + MONTH)).event

        assert not any(is_of_subscription(event) for event in (refund, once, by_card))


class TestASubscriptionBoughtTwice:
    def test_is_given_back_and_cancelled_by_itself(self, monthly):
        record_payment(payment_of(monthly))
        end = database_now() + MONTH
        twice = record_payment(payment_of(monthly, charge_id="stxAgain", period_ends_at=end)).event

        refund = Refund.objects.get(payment=twice)
        assert (refund.requested_by, refund.cancel_subscription) == ("system", True)


class TestTheJob:
    def test_has_the_subscription_cancelled_and_leaves_the_refund_to_its_own(self, telegram, dana, payment):
        refund = ask(payment, dana)

        cancel_subscription(str(refund.pk))

        refund.refresh_from_db()
        assert not subscription(telegram).renews
        assert (refund.subscription_cancelled_at is None, refund.cancel_next_attempt_at) == (False, None)
        assert refund.status == RefundStatus.REQUESTED
        assert "Subscription cancelled" in [entry.what for entry in timeline.tell(payment)]

    def test_names_the_first_charge_where_a_renewal_is_given_back(self, telegram, dana, payment):
        live = subscription(telegram)
        telegram.local.renews(live)
        second = record(telegram, telegram.truth.charges[-1].id, renewal=True)
        assert second.event_id != live.first_charge_id

        pursue(ask(second, dana))

        assert not subscription(telegram).renews

    def test_calls_once_however_often_it_runs(self, telegram, dana, payment):
        refund = pursue(ask(payment, dana))

        pursue(refund)

        assert (cancelling.sweep(), telegram.calls(METHOD)) == (0, 1)

    def test_is_content_with_what_renews_no_more(self, telegram, dana, payment):
        telegram.faults.order(METHOD, "refuse", description="SUBSCRIPTION_NOT_ACTIVE")

        refund = pursue(ask(payment, dana))

        assert refund.subscription_cancelled_at is not None

    def test_calls_again_after_the_buyer_cancelled_himself(self, telegram, dana, payment):
        telegram.buyer_cancels(subscription(telegram))

        refund = pursue(ask(payment, dana))

        assert refund.subscription_cancelled_at is not None

    @pytest.mark.parametrize("fault", ["500", "502", "cut_before", "500_after_effect", "cut_after_effect", "half_json"])
    def test_without_a_clear_answer_is_done_again(self, telegram, dana, payment, fault):
        telegram.faults.order(METHOD, fault)
        refund = pursue(ask(payment, dana))
        assert (refund.subscription_cancelled_at, refund.cancel_attempts, waits(refund)) == (None, 1, 15)
        assert refund.cancel_detail.startswith("Sent, not confirmed yet: ")

        pursue(refund)

        assert (refund.subscription_cancelled_at is None, refund.cancel_detail) == (False, "")
        assert telegram.calls(METHOD) == 2
        assert not subscription(telegram).renews

    def test_waits_longer_from_try_to_try_up_to_an_hour(self, telegram, dana, payment):
        telegram.faults.order(METHOD, "500", times=6)
        refund = ask(payment, dana)

        assert [waits(pursue(refund)) for _ in range(6)] == [15, 60, 300, 900, 3600, 3600]

    def test_waits_as_long_as_telegram_asks_for(self, telegram, dana, payment):
        telegram.faults.order(METHOD, "429", retry_after=77)

        refund = pursue(ask(payment, dana))

        assert (refund.subscription_cancelled_at, waits(refund)) == (None, 77)
        assert refund.cancel_detail == "Not cancelled yet: Telegram is not available, try again in 77 s."

    def test_ends_where_telegram_refuses_and_keeps_its_words(self, telegram, dana, payment):
        telegram.faults.order(METHOD, "refuse", description="CHARGE_ID_INVALID")

        refund = pursue(ask(payment, dana))
        pursue(refund)

        assert (refund.cancel_refusal, refund.subscription_cancelled_at) == ("Charge_id_invalid", None)
        assert (cancelling.sweep(), telegram.calls(METHOD)) == (0, 1)
        told = {entry.what: entry.detail for entry in timeline.tell(payment)}
        assert told["Subscription not cancelled"] == "Telegram refused it: Charge_id_invalid"

    def test_does_not_wait_for_a_refund_that_telegram_refuses(self, telegram, dana, payment):
        telegram.faults.order("refundStarPayment", "refuse", description="USER_BOT_INVALID", times=9)
        refund = ask(payment, dana)
        refunding.pursue(refund_id=refund.pk)
        Refund.objects.update(next_attempt_at=database_now())
        refunding.pursue(refund_id=refund.pk)
        refund.refresh_from_db()
        assert refund.status == RefundStatus.REFUSED

        pursue(refund)

        assert not subscription(telegram).renews

    def test_is_not_done_inside_a_transaction(self, dana, payment):
        refund = ask(payment, dana)

        with pytest.raises(CallInsideTransaction), transaction.atomic():
            cancelling.pursue(refund_id=refund.pk)


class TestAWorkerThatDied:
    def test_during_the_call_is_followed_by_another_after_its_lease(self, telegram, dana, payment, monkeypatch):
        refund = ask(payment, dana)
        with monkeypatch.context() as broken:
            broken.setattr("payments.cancelling._mark_cancelled", die)
            with pytest.raises(Died):
                cancelling.pursue(refund_id=refund.pk)
        assert not subscription(telegram).renews

        cancelling.pursue(refund_id=refund.pk)
        assert (cancelling.sweep(), telegram.calls(METHOD)) == (0, 1)

        let_pass(cancelling.LEASE + cancelling.PATIENCE + timedelta(seconds=1))
        assert (cancelling.sweep(), jobs(refund)) == (1, 2)
        cancelling.pursue(refund_id=refund.pk)

        refund.refresh_from_db()
        assert refund.subscription_cancelled_at is not None
        assert telegram.calls(METHOD) == 2

    def test_after_its_lease_no_longer_has_a_say(self, telegram, dana, payment):
        slow = ask(payment, dana)
        stale = cancelling._take(slow.pk)
        let_pass(cancelling.LEASE)
        pursue(slow)

        cancelling._mark_refused(stale, "too late")

        slow.refresh_from_db()
        assert (slow.cancel_refusal, slow.subscription_cancelled_at is None) == ("", False)

    def test_before_the_call_leaves_it_to_the_sweep(self, dana, payment):
        refund = ask(payment, dana)
        assert cancelling.sweep() == 0  # its own job may still come

        let_pass(cancelling.PATIENCE + timedelta(seconds=1))

        assert (cancelling.sweep(), jobs(refund)) == (1, 2)


class Died(BaseException):
    """As if the process had ended here."""


def die(*args: object) -> None:
    raise Died


def let_pass(pause: timedelta) -> None:
    refund = Refund.objects.get()
    Refund.objects.update(cancel_next_attempt_at=refund.cancel_next_attempt_at - pause)


class TestAboveTheLimit:
    @pytest.fixture
    def proposed(self, settings, dana, payment) -> Refund:
        settings.REFUND_APPROVAL_ABOVE = {"XTR": 499}
        return ask(payment, dana)

    def test_nothing_is_called_before_a_second_person_approves(self, telegram, finn, proposed):
        let_pass(timedelta(minutes=1))
        assert (jobs(proposed), cancelling.sweep()) == (0, 0)
        pursue(proposed)
        assert telegram.calls(METHOD) == 0

        approve_refund(refund=proposed, staff=finn, reason="He is right.")
        assert jobs(proposed, scheduled_at=None) == 1
        pursue(proposed)

        assert not subscription(telegram).renews

    def test_nothing_is_called_when_it_was_declined(self, telegram, finn, proposed):
        decline_refund(refund=proposed, staff=finn, reason="Talked to him.")

        let_pass(timedelta(minutes=1))
        pursue(proposed)

        assert (jobs(proposed), cancelling.sweep(), telegram.calls(METHOD)) == (0, 0, 0)
        assert subscription(telegram).renews

    def test_it_is_found_by_the_sweep_when_the_money_went_back_without_us(self, telegram, monthly, payment, proposed):
        record_refund(refund_of(monthly, charge_id=payment.event_id))

        let_pass(timedelta(minutes=1))

        assert cancelling.sweep() == 1
        pursue(proposed)
        assert not subscription(telegram).renews


class TestTheDatabase:
    @pytest.mark.parametrize(
        ("constraint", "changes"),
        [
            ("refund_cancels_on_demand", {"cancel_next_attempt_at": None}),
            ("refund_cancels_on_demand", {"cancel_attempts": 1, "subscription_cancelled_at": database_now}),
            (
                "refund_cancellation_was_tried",
                {"cancel_next_attempt_at": None, "subscription_cancelled_at": database_now},
            ),
            ("refund_cancellation_refused_in_words", {"cancel_refusal": "no"}),
            (
                "refund_cancellation_refused_in_words",
                {"cancel_attempts": 1, "cancel_next_attempt_at": None, "cancel_refused_at": database_now},
            ),
        ],
    )
    def test_holds_what_became_of_it_together(self, dana, payment, constraint, changes):
        ask(payment, dana)

        with pytest.raises(IntegrityError, match=constraint):
            Refund.objects.update(**{name: value() if callable(value) else value for name, value in changes.items()})

    def test_lets_nothing_become_of_what_nobody_wanted(self, dana, payment):
        ask(payment, dana, cancel=False)

        with pytest.raises(IntegrityError, match="refund_cancels_on_demand"):
            Refund.objects.update(cancel_next_attempt_at=database_now())

    def test_lets_nobody_try_before_it_is_approved(self, settings, dana, payment):
        settings.REFUND_APPROVAL_ABOVE = {"XTR": 499}
        ask(payment, dana)

        with pytest.raises(IntegrityError, match="refund_cancels_when_under_way"):
            Refund.objects.update(cancel_attempts=1)

    def test_lets_nobody_change_what_became_of_it(self, dana, payment):
        pursue(ask(payment, dana))

        with pytest.raises(DatabaseError, match="Cannot update"):
            Refund.objects.update(subscription_cancelled_at=database_now())
