"""A subscription begins with a payment, is renewed by others, is cancelled, fails, ends; access follows its dates."""

from datetime import timedelta

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from config.database import Beside, database_now
from entitlements.models import Entitlement, Grant
from entitlements.selectors import holdings
from payments import subscriptions, timeline
from payments.checkout import CheckoutRefused, PreCheckout, validate_checkout
from payments.invoicing import AlreadyActive, _draft
from payments.models import (
    EventStatus,
    Hold,
    HoldReason,
    Invoice,
    Origin,
    PaymentEvent,
    Subscription,
    SubscriptionChange,
    SubscriptionState,
    WhenActive,
)
from payments.money import Money
from payments.ordinary import record_ordinary_payment
from payments.recording import record_payment, record_refund
from payments.subscriptions import PERIOD, end_what_is_over, note_state, note_stopped
from tests.books import faults_in_the_books
from tests.factories import InvoiceFactory, PlanFactory
from tests.payments.reports import payment_of, refund_of

pytestmark = pytest.mark.django_db

GRACE = timedelta(hours=24)
DAY, MONTH = timedelta(days=1), timedelta(days=30)


@pytest.fixture
def monthly(alice) -> Invoice:
    """Gold month by month, quoted to Alice for 500 Stars."""
    return InvoiceFactory(customer=alice, plan=PlanFactory(code="gold_monthly", recurring=True, prices=[STARS]))


STARS = Money(500, "XTR")


def ago(pause: timedelta):
    return database_now().replace(microsecond=0) - pause


def paid(invoice, at, *, charge_id="stx1", ends_at=None, **changes) -> PaymentEvent:
    """A charge at that time, as the webhook tells of it."""
    report = payment_of(invoice, charge_id=charge_id, occurred_at=at, period_ends_at=ends_at or at + PERIOD, **changes)
    return record_payment(report).event


def of(payment: PaymentEvent) -> Subscription:
    return Subscription.objects.get(payments__event=payment)


def access_ends(customer) -> object:
    return Entitlement.objects.get(customer=customer).active_until


def history(subscription) -> list[str]:
    return list(subscription.changes.order_by("pk").values_list("state", flat=True))


def told(subscription, state, *, at=None) -> Subscription | None:
    return note_state(
        payer=subscription.customer.telegram_user_id,
        reference=subscription.reference,
        state=state,
        at=at or database_now(),
    )


class TestTheFirstPayment:
    def test_begins_a_subscription_in_its_own_transaction(self, monthly, alice):
        at = ago(DAY)

        first = paid(monthly, at)

        begun = of(first)
        assert (begun.customer, begun.plan, begun.entitlement, begun.money) == (alice, monthly.plan, "gold", STARS)
        assert (begun.payment_method, begun.reference, begun.first_charge_id) == (
            "telegram_stars",
            monthly.payload,
            "stx1",
        )
        assert (begun.state, begun.started_at, begun.renewals) == (SubscriptionState.ACTIVE, at, 0)
        assert (begun.current_period_end, begun.grace_ends_at) == (at + PERIOD, at + PERIOD + GRACE)

    def test_gives_access_to_its_end_and_the_grace(self, monthly, alice):
        at = ago(DAY)

        paid(monthly, at)

        assert access_ends(alice) == at + PERIOD + GRACE

    def test_told_again_changes_nothing(self, monthly):
        at = ago(DAY)
        paid(monthly, at)

        paid(monthly, at)

        assert (Subscription.objects.count(), SubscriptionChange.objects.count()) == (1, 1)
        assert faults_in_the_books() == []

    def test_that_is_held_begins_one_too_because_it_is_charged_on(self, monthly):
        held = paid(monthly, ago(DAY), money=Money(499, "XTR"))

        assert held.status == EventStatus.HELD
        assert of(held).state == SubscriptionState.ACTIVE
        assert faults_in_the_books() == []

    def test_by_an_unknown_payload_begins_one_of_no_plan(self, invoice):
        held = paid(invoice, ago(DAY), payload="lost")

        assert held.hold.reason == HoldReason.UNKNOWN_PAYLOAD
        assert (of(held).plan, of(held).entitlement, of(held).reference) == (None, "", "lost")
        assert faults_in_the_books() == []

    def test_of_what_does_not_renew_begins_none(self, invoice):
        record_payment(payment_of(invoice))

        assert not Subscription.objects.exists()

    def test_says_that_the_access_is_renewed(self, monthly, alice):
        paid(monthly, ago(DAY))

        [held] = holdings(alice.user_id).entitlements
        assert held.will_renew


class TestARenewal:
    def test_moves_the_subscription_and_the_access_on(self, monthly, alice):
        at = ago(31 * DAY)
        first = paid(monthly, at)

        second = paid(monthly, at + PERIOD, charge_id="stx2", renewal=True)

        assert of(second) == of(first)
        assert (of(first).renewals, of(first).current_period_end) == (1, at + 2 * PERIOD)
        assert access_ends(alice) == at + 2 * PERIOD + GRACE

    def test_charged_early_or_late_ends_when_its_period_does(self, settings, monthly, alice):
        settings.SUBSCRIPTION_GRACE = timedelta()  # which would hide what is too much
        at = ago(70 * DAY)
        paid(monthly, at)
        early = paid(monthly, at + PERIOD - timedelta(hours=2), charge_id="stx2", ends_at=at + 2 * PERIOD, renewal=True)
        assert access_ends(alice) == at + 2 * PERIOD

        late = paid(monthly, at + 2 * PERIOD + 20 * HOUR, charge_id="stx3", ends_at=at + 3 * PERIOD, renewal=True)

        assert of(early) == of(late)
        assert access_ends(alice) == at + 3 * PERIOD

    def test_that_becomes_known_after_the_next_moves_nothing_back(self, monthly, alice):
        at = ago(65 * DAY)
        paid(monthly, at)
        paid(monthly, at + 2 * PERIOD, charge_id="stx3", renewal=True)

        second = paid(monthly, at + PERIOD, charge_id="stx2", renewal=True)

        assert (of(second).current_period_end, of(second).renewals) == (at + 3 * PERIOD, 2)
        assert access_ends(alice) == at + 3 * PERIOD + GRACE
        assert faults_in_the_books() == []

    def test_given_back_takes_its_period_and_no_more(self, monthly, alice):
        at = ago(35 * DAY)
        paid(monthly, at)
        paid(monthly, at + PERIOD, charge_id="stx2", renewal=True)

        record_refund(refund_of(monthly, charge_id="stx2"))

        assert access_ends(alice) == at + PERIOD + GRACE
        assert Subscription.objects.get().current_period_end == at + 2 * PERIOD  # Telegram charges again then

    def test_after_one_that_was_given_back_gives_its_own_period(self, monthly, alice):
        at = ago(65 * DAY)
        paid(monthly, at)
        paid(monthly, at + PERIOD, charge_id="stx2", renewal=True)
        record_refund(refund_of(monthly, charge_id="stx2"))

        paid(monthly, at + 2 * PERIOD, charge_id="stx3", renewal=True)

        assert access_ends(alice) == at + 3 * PERIOD + GRACE
        assert faults_in_the_books() == []

    def test_whose_first_payment_is_not_known_is_given_access(self, monthly, alice):
        at = ago(DAY)

        second = paid(monthly, at, charge_id="stx2", renewal=True)

        assert second.status == EventStatus.PROCESSED
        assert (of(second).first_charge_id, of(second).first_charge_known) == ("stx2", False)

    def test_is_joined_by_the_first_payment_when_that_becomes_known(self, monthly, alice):
        at = ago(DAY)
        second = paid(monthly, at, charge_id="stx2", renewal=True)

        first = record_payment(payment_of(monthly, charge_id="stx1", occurred_at=at - PERIOD)).event

        assert first.status == EventStatus.PROCESSED
        assert of(first) == of(second)
        assert (of(first).first_charge_id, of(first).first_charge_known) == ("stx1", True)
        assert (of(first).started_at, of(first).current_period_end) == (at - PERIOD, at + PERIOD)
        assert faults_in_the_books() == []

    def test_told_without_its_period_follows_what_was_over(self, monthly, alice):
        at = ago(45 * DAY)
        record_payment(payment_of(monthly, charge_id="stx1", occurred_at=at))

        second = record_payment(payment_of(monthly, charge_id="stx2", occurred_at=at + PERIOD - HOUR)).event

        assert (second.status, second.period_ends_at) == (EventStatus.PROCESSED, at + 2 * PERIOD)
        assert of(second).renewals == 1

    def test_told_by_a_program_follows_the_same_reference_of_its_own(self, monthly, alice):
        at = ago(45 * DAY)
        sold = {"payer": alice, "payload": "shop-7", "plan_code": "gold_monthly", "origin": Origin.API}
        record_payment(payment_of(monthly, charge_id="stx1", occurred_at=at, **sold))

        second = record_payment(payment_of(monthly, charge_id="stx2", occurred_at=at + PERIOD, **sold)).event

        assert (second.invoice, second.status, of(second).first_charge_id) == (None, EventStatus.PROCESSED, "stx1")


HOUR = timedelta(hours=1)


class TestOfSeveral:
    """The first charge names the subscription to Telegram: each must have its own."""

    @staticmethod
    def begin(invoice, *, apart=timedelta(seconds=2)):
        at = ago(70 * DAY)
        paid(invoice, at, charge_id="stxA1")
        paid(invoice, at + apart, charge_id="stxB1")
        return at

    def test_begun_by_one_invoice_each_renewal_finds_its_own(self, monthly):
        at = self.begin(monthly)

        for n in (2, 3):
            for name, off in (("A", 0), ("B", 2)):
                begins = at + (n - 1) * PERIOD + timedelta(seconds=off)
                renewal = paid(monthly, begins, charge_id=f"stx{name}{n}", renewal=True)
                assert of(renewal).first_charge_id == f"stx{name}1"

    def test_each_finds_its_own_where_no_period_is_told(self, monthly):
        at = self.begin(monthly)

        for name, off in (("A", 0), ("B", 2)):
            begins = at + PERIOD + timedelta(seconds=off)
            renewal = record_payment(payment_of(monthly, charge_id=f"stx{name}2", occurred_at=begins)).event
            assert (of(renewal).first_charge_id, renewal.period_ends_at) == (f"stx{name}1", begins + PERIOD)

    def test_the_second_is_held_where_nobody_may_have_two(self, monthly):
        self.begin(monthly)

        assert Hold.objects.get().reason == HoldReason.BOUGHT_TWICE
        assert Subscription.objects.count() == 2

    def test_both_give_access_where_it_may_be_extended(self, alice):
        plan = PlanFactory(code="more", recurring=True, when_active=WhenActive.EXTEND, prices=[STARS])
        at = self.begin(InvoiceFactory(customer=alice, plan=plan), apart=DAY)

        assert access_ends(alice) == at + 2 * PERIOD

    def test_of_other_invoices_and_payers_none_is_touched(self, monthly, alice, bob):
        at = ago(31 * DAY)
        paid(InvoiceFactory(customer=alice, plan=monthly.plan), at, charge_id="stx-other")
        paid(monthly, at, charge_id="stx-bob", payer=bob.telegram_user_id)

        renewal = paid(monthly, at + PERIOD, charge_id="stx2", renewal=True)

        assert of(renewal).first_charge_id == "stx2"

    def test_begun_in_the_same_second_each_gets_one_renewal(self, monthly):
        at = self.begin(monthly, apart=timedelta())

        for name in ("X", "Y"):
            paid(monthly, at + PERIOD, charge_id=f"stx{name}2", renewal=True)

        assert list(Subscription.objects.values_list("renewals", flat=True)) == [1, 1]
        assert faults_in_the_books() == []


class TestWhatOneHadBefore:
    def test_is_kept_beside_the_subscription(self, monthly, invoice, alice):
        bought = ago(20 * DAY)
        record_payment(payment_of(invoice, charge_id="stx-once", occurred_at=bought))  # for 30 days
        plan = PlanFactory(code="gold_plus", recurring=True, when_active=WhenActive.EXTEND, prices=[STARS])
        changed = InvoiceFactory(customer=alice, plan=plan)

        paid(changed, bought + 15 * DAY)

        assert access_ends(alice) == bought + 30 * DAY + PERIOD
        paid(changed, bought + 15 * DAY + PERIOD, charge_id="stx2", renewal=True)
        assert access_ends(alice) == bought + 30 * DAY + 2 * PERIOD

    def test_gains_nothing_by_the_grace(self, monthly, alice):
        at = ago(40 * DAY)
        paid(monthly, at)
        within_grace = at + PERIOD + 12 * HOUR

        again = paid(InvoiceFactory(customer=alice, plan=monthly.plan), within_grace, charge_id="stx-again")

        assert again.status == EventStatus.PROCESSED
        assert access_ends(alice) == within_grace + PERIOD + GRACE

    @pytest.mark.parametrize(("days", "leading"), [(1, "gold_monthly"), (7, "week")])
    def test_within_a_grace_leads_where_it_reaches_further(self, settings, monthly, alice, days, leading):
        settings.SUBSCRIPTION_GRACE = 3 * DAY
        paid(monthly, ago(PERIOD + HOUR))
        short = PlanFactory(code="week", duration_days=days, when_active=WhenActive.EXTEND)

        record_payment(payment_of(InvoiceFactory(customer=alice, plan=short), charge_id="stx-week"))

        [held] = holdings(alice.user_id).entitlements
        assert held.leading().plan_code == Entitlement.objects.with_plan().get().plan_code == leading


class TestTheGrace:
    @pytest.fixture
    def lapsed(self, monthly) -> Subscription:
        """Twelve hours ago nobody renewed it."""
        return of(paid(monthly, ago(PERIOD + 12 * HOUR)))

    def test_lets_what_is_no_longer_paid_be_bought_anew(self, lapsed, alice):
        draft = _draft(customer=alice, plan_code="gold_monthly", currency=None, payment_method=None)

        validate_checkout(query=about_to_pay(draft))

    def test_is_none_for_what_was_paid_otherwise(self, lapsed, invoice, alice):
        record_payment(payment_of(invoice, charge_id="stx-once"))
        assert access_ends(alice) > lapsed.grace_ends_at

        with pytest.raises(AlreadyActive):
            _draft(customer=alice, plan_code="gold_monthly", currency=None, payment_method=None)
        with pytest.raises(CheckoutRefused, match="already_active"):
            validate_checkout(query=about_to_pay(InvoiceFactory(customer=alice, plan=lapsed.plan)))

    def test_does_not_begin_before_the_period_is_over(self, monthly, alice):
        paid(monthly, ago(PERIOD - HOUR))

        with pytest.raises(AlreadyActive):
            _draft(customer=alice, plan_code="gold_monthly", currency=None, payment_method=None)
        with pytest.raises(CheckoutRefused, match="already_active"):
            validate_checkout(query=about_to_pay(InvoiceFactory(customer=alice, plan=monthly.plan)))

    def test_may_be_longer_or_none(self, settings, monthly, alice):
        settings.SUBSCRIPTION_GRACE = timedelta()
        at = ago(DAY)

        paid(monthly, at)

        assert access_ends(alice) == at + PERIOD


def about_to_pay(invoice) -> PreCheckout:
    return PreCheckout(
        query_id="q",
        payload=invoice.payload,
        payer_telegram_id=invoice.customer.telegram_user_id,
        amount=invoice.amount,
        currency=invoice.currency,
    )


class TestAnOrdinaryPayment:
    """The hot path appends to the newest grant; within a grace there is nothing to append to."""

    @pytest.fixture
    def extension(self, alice) -> Invoice:
        return InvoiceFactory(customer=alice, plan=PlanFactory(code="gold_more", when_active=WhenActive.EXTEND))

    def test_within_a_grace_is_left_to_the_general_operation(self, monthly, extension, alice):
        paid(monthly, ago(PERIOD + 12 * HOUR))
        report = payment_of(extension, charge_id="stx-more")

        assert record_ordinary_payment(report, beside=NOTHING_BESIDE) is None

        record_payment(report)
        assert access_ends(alice) == report.occurred_at + MONTH

    def test_after_a_grace_is_as_quick_as_ever(self, monthly, extension, alice):
        paid(monthly, ago(PERIOD + 3 * DAY))
        report = payment_of(extension, charge_id="stx-more")

        assert record_ordinary_payment(report, beside=NOTHING_BESIDE)

        assert access_ends(alice) == report.occurred_at + MONTH
        assert faults_in_the_books() == []


NOTHING_BESIDE = Beside("SELECT FROM effect", {})


class TestWhatTelegramTells:
    @pytest.fixture
    def running(self, monthly) -> Subscription:
        return of(paid(monthly, ago(DAY)))

    def test_is_kept_with_its_history_and_changes_no_access(self, running, alice):
        before = access_ends(alice)

        for state in ("canceled", "active", "canceled"):
            assert told(running, state)

        assert history(running) == ["active", "canceled", "active", "canceled"]
        assert access_ends(alice) == before
        assert not holdings(alice.user_id).entitlements[0].will_renew
        assert faults_in_the_books() == []

    def test_twice_is_no_news(self, running):
        told(running, "canceled")

        assert told(running, "canceled") is None
        assert history(running) == ["active", "canceled"]

    def test_late_is_overruled_by_a_younger_payment(self, running, monthly):
        renewed = running.current_period_end
        Subscription.objects.update(state_changed_at=renewed)  # by a renewal

        assert told(running, "canceled", at=renewed - HOUR) is None

    def test_is_overruled_by_the_next_payment(self, monthly, alice):
        at = ago(32 * DAY)
        running = of(paid(monthly, at))
        told(running, "failed", at=at + PERIOD)

        paid(monthly, at + PERIOD + HOUR, charge_id="stx2", ends_at=at + 2 * PERIOD, renewal=True)

        assert history(running) == ["active", "failed", "active"]
        assert holdings(alice.user_id).entitlements[0].will_renew

    def test_is_not_overruled_by_a_payment_from_before_it(self, monthly):
        at = ago(35 * DAY)
        running = of(paid(monthly, at))
        told(running, "canceled", at=at + PERIOD + DAY)

        paid(monthly, at + PERIOD, charge_id="stx2", renewal=True)

        running.refresh_from_db()
        assert (running.state, running.current_period_end) == (SubscriptionState.CANCELED, at + 2 * PERIOD)

    def test_of_a_failure_is_no_news_where_it_is_paid_for(self, running):
        assert told(running, "failed") is None

    @pytest.mark.parametrize(("payload", "state"), [("another", "canceled"), (None, "paused")])
    def test_of_what_is_not_known_changes_nothing(self, running, payload, state):
        payload = payload or running.reference

        assert note_state(payer=running.customer.telegram_user_id, reference=payload, state=state, at=ago(HOUR)) is None
        assert note_state(payer=1, reference=running.reference, state="canceled", at=ago(HOUR)) is None

        assert history(running) == ["active"]


class TestTheEnd:
    def test_comes_when_a_cancelled_one_is_over(self, monthly, alice):
        at = ago(PERIOD + HOUR)
        running = of(paid(monthly, at))
        told(running, "canceled", at=at + DAY)

        assert end_what_is_over() == 1

        assert history(running) == ["active", "canceled", "ended"]
        assert not holdings(alice.user_id).entitlements[0].will_renew

    @pytest.mark.parametrize("state", ["active", "failed"])
    def test_comes_to_others_only_after_the_grace(self, monthly, state):
        at = ago(PERIOD + GRACE - HOUR)
        running = of(paid(monthly, at))
        told(running, state, at=at + PERIOD)
        assert end_what_is_over() == 0

        Subscription.objects.update(grace_ends_at=ago(timedelta(seconds=1)))

        assert (end_what_is_over(), end_what_is_over()) == (1, 0)
        assert history(running)[-1] == "ended"

    def test_is_taken_back_by_a_renewal_that_becomes_known_late(self, monthly, alice):
        at = ago(PERIOD + 3 * DAY)
        running = of(paid(monthly, at))
        end_what_is_over()

        record_payment(payment_of(monthly, charge_id="stx2", occurred_at=at + PERIOD))

        assert history(running) == ["active", "ended", "active"]
        assert access_ends(alice) == at + 2 * PERIOD + GRACE
        assert faults_in_the_books() == []

    def test_stays_where_a_renewal_becomes_known_that_is_over_itself(self, monthly):
        at = ago(100 * DAY)
        running = of(paid(monthly, at))
        end_what_is_over()

        paid(monthly, at + PERIOD, charge_id="stx2", renewal=True)

        assert history(running) == ["active", "ended"]

    def test_is_no_bar_to_another_subscription(self, monthly, alice):
        paid(monthly, ago(PERIOD + 3 * DAY))
        end_what_is_over()

        again = paid(InvoiceFactory(customer=alice, plan=monthly.plan), ago(HOUR), charge_id="stx-again")

        assert again.status == EventStatus.PROCESSED
        assert sorted(Subscription.objects.values_list("state", flat=True)) == ["active", "ended"]


class TestOneThatWeStopped:
    def test_is_cancelled_and_says_since_when(self, monthly):
        running = of(paid(monthly, ago(DAY)))

        note_stopped(running, why="He asked us to.")
        note_stopped(running, why="He asked us to.")

        running.refresh_from_db()
        assert (running.state, running.stopped_at is None) == (SubscriptionState.CANCELED, False)
        assert history(running) == ["active", "canceled"]

    def test_and_that_is_renewed_all_the_same_can_be_stopped_again(self, monthly):
        running = of(paid(monthly, ago(31 * DAY)))
        note_stopped(running, why="He asked us to.")
        Subscription.objects.update(state_changed_at=ago(2 * DAY))

        paid(monthly, ago(DAY), charge_id="stx2", renewal=True)

        running.refresh_from_db()
        assert (running.state, running.stopped_at) == (SubscriptionState.ACTIVE, None)


class TestTheTimeline:
    def test_of_its_payment_and_customer_tells_what_became_of_it(self, monthly, alice):
        payment = paid(monthly, ago(DAY))
        told(of(payment), "canceled")

        for entries in (timeline.tell(payment), timeline.tell_of_customer(alice)):
            words = [(entry.what, entry.detail) for entry in entries]
            assert ("Subscription: cancelled, runs to its end", "The customer cancelled it.") in words


class TestTheDatabase:
    @pytest.fixture
    def running(self, monthly) -> Subscription:
        return of(paid(monthly, ago(DAY)))

    def test_knows_a_first_charge_once(self, running):
        running.pk = None

        with pytest.raises(IntegrityError, match="subscription_once"), transaction.atomic():
            running.save(force_insert=True)

    @pytest.mark.parametrize(
        ("guard", "changes"),
        [
            ("subscription_amount_positive", {"amount": 0}),
            ("subscription_currency", {"currency": "xtr"}),
            ("subscription_has_its_ids", {"first_charge_id": ""}),
            ("subscription_state", {"state": "paused"}),
            ("subscription_dates_in_order", {"grace_ends_at": database_now}),
            ("subscription_facts_stay", {"reference": "another"}),
            ("subscription_paid_periods_stay", {"current_period_end": database_now}),
        ],
    )
    def test_refuses_what_cannot_be(self, running, guard, changes):
        values = {name: value() if callable(value) else value for name, value in changes.items()}

        with pytest.raises((IntegrityError, DatabaseError), match=guard), transaction.atomic():
            Subscription.objects.update(**values)

    def test_lets_nothing_fail_that_has_ended(self, running):
        Subscription.objects.update(state="ended")

        with pytest.raises(DatabaseError, match="subscription_states"), transaction.atomic():
            Subscription.objects.update(state="failed")

    def test_keeps_subscriptions_their_payments_and_their_history(self, running):
        for table in ("subscriptionpayment", "subscriptionchange", "subscription"):
            with pytest.raises(DatabaseError, match="delete rows"), transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(f"DELETE FROM payments_{table}")
        with pytest.raises(DatabaseError, match="Cannot update"), transaction.atomic():
            running.changes.update(why="another")


def test_a_grant_of_a_period_is_as_long_as_what_was_bought_and_lasts_through_the_grace(monthly):
    at = ago(DAY)
    paid(monthly, at, ends_at=at + PERIOD + HOUR)

    given = Grant.objects.get()
    assert (given.duration, given.ends_at) == (PERIOD, at + PERIOD + HOUR + GRACE)
    assert subscriptions.is_of_subscription(PaymentEvent.objects.get())
