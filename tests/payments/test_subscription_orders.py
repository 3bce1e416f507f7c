"""Staff have a subscription cancelled and allowed again, whatever fails on the way, and Telegram obeys."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction
from procrastinate.contrib.django.models import ProcrastinateJob

from config.database import database_now
from entitlements.audit import ReasonMissing
from entitlements.models import AuditEntry, Entitlement
from payments import cancelling, subscription_orders
from payments.models import Invoice, Order, PaymentMethod, Subscription, SubscriptionOrder, SubscriptionState
from payments.money import Money
from payments.recording import record_payment
from payments.staff_refunds import refund_by_staff
from payments.subscription_orders import OrderError, order_by_staff, pursue, sweep
from payments.subscriptions import PERIOD, note_state, note_stopped
from payments.tasks import tell_of_subscription
from telegram_bot.gateway import CallInsideTransaction
from tests.books import faults_in_the_books
from tests.factories import InvoiceFactory, PlanFactory
from tests.payments.reports import payment_of
from tests.payments.test_cancelling import METHOD, Died, die, record
from tests.payments.test_staff_refunds import member

in_books_of_its_own = pytest.mark.django_db(transaction=True)


@pytest.fixture
def finn(db) -> User:
    finn = member("finn")
    finn.user_permissions.add(Permission.objects.get(codename="edit_subscription"))
    return finn


@pytest.fixture
def monthly(alice) -> Invoice:
    plan = PlanFactory(code="gold_monthly", recurring=True, prices=[Money(500, "XTR")])
    return InvoiceFactory(customer=alice, plan=plan)


@pytest.fixture
def kept(monthly) -> Subscription:
    """Alice's, as we know it."""
    ends_at = database_now() + PERIOD
    return record_payment(payment_of(monthly, period_ends_at=ends_at)).event.subscription_payment.subscription


@pytest.fixture
def running(transactional_db, telegram, monthly) -> Subscription:
    """Alice's, known to Telegram and to us."""
    return record(telegram, telegram.charges(monthly)).subscription_payment.subscription


def live(telegram):
    (found,) = telegram.truth.subscriptions
    return found


def ordered(running, staff, what=Order.CANCEL) -> SubscriptionOrder:
    return order_by_staff(subscription=running, what=what, staff=staff, reason="He asked us to.")


def carried_out(order) -> SubscriptionOrder:
    """Let the time of the next try come, and try."""
    SubscriptionOrder.objects.filter(pk=order.pk, next_attempt_at__isnull=False).update(next_attempt_at=database_now())
    pursue(order_id=order.pk)
    order.refresh_from_db()
    order.subscription.refresh_from_db()
    return order


def jobs(order, **which) -> int:
    task = "payments.tasks.tell_of_subscription"
    return ProcrastinateJob.objects.filter(task_name=task, args={"order_id": str(order.pk)}, **which).count()


@pytest.mark.django_db
class TestAnOrder:
    def test_is_kept_with_its_job_and_one_audit_entry(self, kept, finn, alice):
        order = ordered(kept, finn)

        entry = AuditEntry.objects.get()
        assert (entry.what, entry.subject_id, entry.customer) == ("cancelled a subscription", str(order.pk), alice)
        assert jobs(order, scheduled_at=None) == 1
        assert faults_in_the_books() == []

    def test_needs_the_permission_and_a_reason(self, kept, finn):
        with pytest.raises(PermissionDenied):
            ordered(kept, User.objects.create_user("nobody"))
        with pytest.raises(ReasonMissing):
            order_by_staff(subscription=kept, what=Order.CANCEL, staff=finn, reason=" ")

        assert not SubscriptionOrder.objects.exists()

    def test_is_given_once_at_a_time(self, kept, finn):
        ordered(kept, finn)

        with pytest.raises(OrderError, match="finn asked Telegram on"):
            ordered(kept, finn)

    def test_is_refused_where_it_would_change_nothing(self, kept, finn):
        with pytest.raises(OrderError, match="may renew it by himself"):
            ordered(kept, finn, Order.ALLOW)
        note_stopped(kept, why="so")

        with pytest.raises(OrderError, match="was stopped on"):
            ordered(kept, finn)

    def test_is_refused_for_what_has_ended(self, kept, finn):
        Subscription.objects.update(state=SubscriptionState.ENDED)

        with pytest.raises(OrderError, match="has ended"):
            ordered(kept, finn)

    def test_is_not_for_what_stripe_renews_without_its_key(self, alice, finn):
        plan = PlanFactory(code="gold_monthly", recurring=True, prices=[])
        invoice = InvoiceFactory(customer=alice, plan=plan)
        elsewhere = Subscription.objects.create(
            customer=invoice.customer, plan=plan, payment_method=PaymentMethod.STRIPE, reference="sub_1",
            first_charge_id="ch_1", amount=900, currency="GBP", state_changed_at=database_now(),
            started_at=database_now(), current_period_end=database_now(), grace_ends_at=database_now(),
        )  # fmt: skip

        with pytest.raises(OrderError, match="Without STRIPE_SECRET_KEY"):
            ordered(elsewhere, finn)


@in_books_of_its_own
class TestTelegram:
    def test_renews_no_more_what_was_cancelled(self, telegram, running, finn, alice):
        before = Entitlement.objects.get().active_until

        tell_of_subscription(str(ordered(running, finn).pk))

        running.refresh_from_db()
        assert not live(telegram).renews
        assert (running.state, running.stopped_at is None) == (SubscriptionState.CANCELED, False)
        assert running.changes.last().why == "finn of the staff cancelled it: He asked us to."
        assert Entitlement.objects.get().active_until == before  # what is paid for stays

    def test_lets_the_customer_renew_what_was_allowed_again(self, telegram, running, finn):
        carried_out(ordered(running, finn))

        carried_out(ordered(running, finn, Order.ALLOW))

        running.refresh_from_db()
        assert (running.stopped_at, running.state) == (None, SubscriptionState.CANCELED)
        assert not live(telegram).canceled_by_bot
        assert running.changes.last().why == "finn of the staff allowed it again: He asked us to."
        note_state(
            payer=running.customer.telegram_user_id, reference=running.reference, state="active", at=database_now()
        )
        running.refresh_from_db()
        assert running.state == SubscriptionState.ACTIVE

    def test_is_asked_once_however_often_the_job_runs(self, telegram, running, finn):
        order = carried_out(ordered(running, finn))

        pursue(order_id=order.pk)

        assert (sweep(), telegram.calls(METHOD)) == (0, 1)

    def test_may_have_ended_it_before(self, telegram, running, finn):
        telegram.faults.order(METHOD, "refuse", description="SUBSCRIPTION_NOT_ACTIVE")

        order = carried_out(ordered(running, finn))

        assert (order.done_at is None, order.subscription.state) == (False, SubscriptionState.CANCELED)

    def test_cannot_allow_what_has_ended(self, telegram, running, finn):
        carried_out(ordered(running, finn))
        telegram.faults.order(METHOD, "refuse", description="SUBSCRIPTION_NOT_ACTIVE")

        order = carried_out(ordered(running, finn, Order.ALLOW))

        assert order.detail == "Telegram refused it: Subscription_not_active."
        assert (order.refused_at is None, order.subscription.stopped_at is None) == (False, False)

    def test_that_refuses_leaves_it_as_it_is(self, telegram, running, finn):
        telegram.faults.order(METHOD, "refuse", description="CHARGE_ID_INVALID")

        order = carried_out(ordered(running, finn))

        assert (order.detail, order.subscription.state) == (
            "Telegram refused it: Charge_id_invalid.",
            SubscriptionState.ACTIVE,
        )

    @pytest.mark.parametrize("fault", ["500", "cut_after_effect", "429"])
    def test_without_a_clear_answer_is_asked_again(self, telegram, running, finn, fault):
        telegram.faults.order(METHOD, fault, **({"retry_after": 77} if fault == "429" else {}))
        order = carried_out(ordered(running, finn))
        assert order.done_at is None
        assert jobs(order, scheduled_at=order.next_attempt_at) == 1
        pause = round((order.next_attempt_at - database_now()).total_seconds())
        assert pause == (77 if fault == "429" else 15)

        carried_out(order)

        assert (order.done_at is None, live(telegram).renews) == (False, False)

    def test_is_not_asked_inside_a_transaction(self, running, finn):
        order = ordered(running, finn)

        with pytest.raises(CallInsideTransaction), transaction.atomic():
            pursue(order_id=order.pk)


@in_books_of_its_own
class TestAWorkerThatDied:
    def test_during_the_call_is_followed_by_another_after_its_lease(self, telegram, running, finn, monkeypatch):
        order = ordered(running, finn)
        with monkeypatch.context() as broken:
            broken.setattr(subscription_orders, "_settle", die)
            with pytest.raises(Died):
                pursue(order_id=order.pk)

        pursue(order_id=order.pk)
        assert (sweep(), telegram.calls(METHOD)) == (0, 1)

        past = subscription_orders.LEASE + subscription_orders.PATIENCE + timedelta(seconds=1)
        SubscriptionOrder.objects.update(next_attempt_at=database_now() + subscription_orders.LEASE - past)
        assert (sweep(), jobs(order)) == (1, 2)
        pursue(order_id=order.pk)

        order.refresh_from_db()
        assert (order.done_at is None, telegram.calls(METHOD)) == (False, 2)


@in_books_of_its_own
class TestARefundWithACancellation:
    def test_is_told_in_the_history(self, telegram, running, finn):
        refund = refund_by_staff(
            payment=running.payments.get().event, staff=finn, reason="By mistake.", cancel_subscription=True
        )

        cancelling.pursue(refund_id=refund.pk)

        running.refresh_from_db()
        assert (running.state, running.stopped_at is None) == (SubscriptionState.CANCELED, False)
        assert running.changes.last().why == "Cancelled with a refund: By mistake."


@pytest.mark.django_db
class TestTheDatabase:
    @pytest.mark.parametrize(
        ("constraint", "changes"),
        [
            ("subscription_order_open_or_settled", {"next_attempt_at": None}),
            ("subscription_order_open_or_settled", {"done_at": database_now}),
            ("subscription_order_by_somebody", {"reason": ""}),
            ("subscription_order_by_somebody", {"ordered_by": "a friend"}),
            ("subscription_order_by_somebody", {"what": "pause"}),
        ],
    )
    def test_keeps_what_is_whole(self, kept, constraint, changes):
        facts = {
            "subscription": kept, "what": Order.CANCEL, "reason": "so", "ordered_by": "staff:1",
            "next_attempt_at": database_now(), **changes,
        }  # fmt: skip

        with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
            SubscriptionOrder.objects.create(
                **{name: value() if callable(value) else value for name, value in facts.items()}
            )
