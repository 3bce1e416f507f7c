"""Reminders of subscriptions: in time, true, once each, and none for whoever wants none."""

from datetime import timedelta

import psycopg
import pytest
from django.db import connection

from config.database import database_now
from payments import reminding
from payments.models import Notice, NoticeKind, Subscription, SubscriptionState
from payments.money import Money
from payments.recording import record_payment, record_refund
from payments.reminding import is_so, opt_in, opt_out, remind, wants_reminders
from payments.subscriptions import PERIOD, end_what_is_over, note_state, note_state_at_stripe
from tests.factories import InvoiceFactory, PlanFactory
from tests.payments.reports import payment_of, refund_of
from tests.stripe.shop import club, quoted

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
ENDING, FAILED, ENDED = (
    NoticeKind.SUBSCRIPTION_ENDING,
    NoticeKind.SUBSCRIPTION_FAILED,
    NoticeKind.SUBSCRIPTION_ENDED,
)


@pytest.fixture
def monthly(alice):
    return InvoiceFactory(customer=alice, plan=PlanFactory(code="club", recurring=True, prices=[Money(500, "XTR")]))


def left(invoice, pause, *, charge_id="stx1", **changes) -> Subscription:
    """Paid so that so much is left of its period; below zero it is over."""
    ends_at = database_now() + pause
    report = payment_of(invoice, charge_id=charge_id, occurred_at=ends_at - PERIOD, period_ends_at=ends_at, **changes)
    return record_payment(report).event.subscription_payment.subscription


def told(subscription, state) -> None:
    customer = subscription.customer
    assert note_state(payer=customer.telegram_user_id, reference=subscription.reference, state=state, at=database_now())


def owed() -> list[str]:
    return list(Notice.objects.filter(kind__in=reminding.REMINDERS).values_list("kind", flat=True))


class TestBeforeTheEnd:
    @pytest.mark.parametrize(("days", "kinds"), [(2.9, [ENDING]), (3.1, []), (-0.1, [])])
    def test_one_is_owed_within_the_days_of_the_setting(self, monthly, days, kinds):
        left(monthly, days * DAY)

        remind()

        assert owed() == kinds

    def test_it_is_owed_once(self, monthly):
        left(monthly, DAY)

        assert [remind(), remind()] == [1, 0]

    def test_it_is_not_so_any_more_when_it_was_renewed(self, monthly):
        left(monthly, DAY)
        remind()
        renewed = left(monthly, DAY + PERIOD, charge_id="stx2", renewal=True)
        assert remind() == 0
        assert not is_so(Notice.objects.get(kind=ENDING), renewed, now=database_now())

    @pytest.mark.parametrize("days", [0, 7])
    def test_the_days_are_a_setting(self, settings, monthly, days):
        settings.SUBSCRIPTION_REMINDER = days * DAY
        left(monthly, 6 * DAY)

        assert remind() == (1 if days else 0)

    def test_one_that_was_cancelled_is_told_when_it_ends(self, monthly):
        running = left(monthly, DAY)
        told(running, "canceled")

        assert remind() == 1

    def test_one_that_was_cancelled_and_given_back_is_over_already(self, monthly):
        left(monthly, DAY - PERIOD)
        running = left(monthly, DAY, charge_id="stx2", renewal=True)
        told(running, "canceled")
        record_refund(refund_of(monthly, charge_id="stx2"))

        assert remind() == 0

    def test_one_that_was_cancelled_and_given_back_in_part_still_ends(self, alice):
        invoice = quoted(customer=alice, plan=club(), amount=900)
        left(invoice, DAY, subscription="sub_1")
        note_state_at_stripe(
            reference="sub_1", state=SubscriptionState.CANCELED, at=database_now(), why="He wished it."
        )
        record_refund(refund_of(invoice, charge_id="stx1", money=Money(100, "GBP"), refund_id="re_1"))

        assert remind() == 1

    def test_one_that_was_given_back_and_is_charged_again_is_told(self, monthly):
        left(monthly, DAY)
        record_refund(refund_of(monthly, charge_id="stx1"))

        assert remind() == 1


class TestAfterAFailure:
    def test_one_is_owed_once_as_long_as_the_grace_lasts(self, monthly):
        running = left(monthly, -0.1 * DAY)
        told(running, "failed")

        assert [remind(), remind()] == [1, 0]
        assert owed() == [FAILED]

    def test_none_is_so_any_more_when_it_was_paid(self, monthly):
        running = left(monthly, -0.1 * DAY)
        told(running, "failed")
        remind()
        notice = Notice.objects.get(kind=FAILED)
        assert is_so(notice, Subscription.objects.get(), now=database_now())

        record_payment(payment_of(monthly, charge_id="stx2", occurred_at=database_now()))

        assert not is_so(notice, Subscription.objects.get(), now=database_now())


class TestAfterTheEnd:
    def test_one_is_owed_once(self, monthly):
        left(monthly, -2 * DAY)
        end_what_is_over()

        assert [remind(), remind()] == [1, 0]
        assert owed() == [ENDED]

    def test_none_is_owed_long_after(self, monthly):
        left(monthly, -2 * DAY)
        end_what_is_over()
        Subscription.objects.update(state_changed_at=database_now() - 3 * DAY)

        assert remind() == 0

    def test_none_is_owed_where_another_has_begun(self, monthly, alice):
        left(monthly, -2 * DAY)
        end_what_is_over()
        left(InvoiceFactory(customer=alice, plan=monthly.plan), 20 * DAY, charge_id="stx-again")

        assert remind() == 0


# Of a table with a single row one index is as good as another: until the test is over there is no other.
ALONE = """
    DO $$
    DECLARE
        other record;
    BEGIN
        FOR other IN
            SELECT indexrelid::regclass AS name, conname FROM pg_index
            LEFT JOIN pg_constraint ON conindid = indexrelid AND conrelid = indrelid
            WHERE indrelid = 'payments_subscription'::regclass AND indexrelid::regclass::text <> '{index}'
        LOOP
            IF other.conname IS NULL THEN
                EXECUTE format('DROP INDEX %s', other.name);
            ELSE
                EXECUTE format('ALTER TABLE payments_subscription DROP CONSTRAINT %I CASCADE', other.conname);
            END IF;
        END LOOP;
    END $$
"""


class TestTheClock:
    @pytest.mark.parametrize(
        ("kind", "index"),
        [
            (ENDING, "subscription_ending_untold"),
            (FAILED, "subscription_failed_untold"),
            (ENDED, "subscription_ended_untold"),
        ],
    )
    def test_finds_by_an_index_those_not_told_yet(self, monthly, kind, index):
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute(ALONE.format(index=index))

        assert index in reminding.untold_at(database_now())[kind].explain()

    def test_looks_no_more_at_whom_it_has_told_until_he_has_paid_again(self, monthly):
        left(monthly, DAY)
        remind()
        assert Subscription.objects.get().reminded_of == ENDING

        left(monthly, DAY + PERIOD, charge_id="stx2", renewal=True)

        assert Subscription.objects.get().reminded_of == ""

    def test_owes_nothing_twice_where_that_was_forgotten(self, monthly):
        left(monthly, DAY)
        remind()
        Subscription.objects.update(reminded_of="")

        assert (remind(), owed()) == (0, [ENDING])

    @pytest.mark.django_db(transaction=True)
    def test_does_not_wait_for_one_that_somebody_is_changing(self, monthly):
        running = left(monthly, DAY)
        with psycopg.connect(**connection.get_connection_params() | {"cursor_factory": psycopg.Cursor}) as somebody:
            somebody.execute("SELECT FROM payments_subscription WHERE id = %s FOR UPDATE", [running.pk])
            assert remind() == 0

        assert remind() == 1


class TestWhoeverWantsNone:
    def test_is_owed_none_and_told_none_of_those_owed(self, monthly, alice):
        running = left(monthly, DAY)
        remind()
        notice = Notice.objects.get(kind=ENDING)

        opt_out(alice)
        opt_out(alice)

        notice.refresh_from_db()
        assert (notice.given_up_at is None, notice.error) == (False, "wants no reminders")
        assert not is_so(notice, running, now=database_now())
        assert not wants_reminders(alice)

    def test_is_owed_none_anew_until_he_wants_them_again(self, monthly, alice):
        opt_out(alice)
        left(monthly, DAY)
        assert remind() == 0

        opt_in(alice)

        assert (wants_reminders(alice), remind()) == (True, 1)

    def test_is_still_told_of_his_payments(self, monthly, alice):
        opt_out(alice)

        left(monthly, DAY)

        assert Notice.objects.owed().count() == 1
