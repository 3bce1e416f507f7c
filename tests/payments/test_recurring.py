"""What subscriptions bring, as their sums by day tell it, against its meaning in plain Python."""

import random
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest
from django.db import connection

from payments import subscriptions
from payments.identifiers import uuid7
from payments.invariants import checks
from payments.models import Invoice, Subscription, SubscriptionDay, SubscriptionPayment
from payments.money import Money
from payments.recurring import RECURRING, Recurring, bring_together, count_anew, recurring
from payments.revenue import fold_revenue
from tests.factories import CustomerFactory, InvoiceFactory, PlanFactory
from tests.payments.test_subscriptions import DAY, MONTH, ago
from tests.payments.test_subscriptions import paid as paid_for

pytestmark = pytest.mark.django_db

OCTOBER = {"first_day": date(2026, 10, 1), "last_day": date(2026, 10, 31)}


@pytest.fixture
def monthly() -> Invoice:
    """Gold month by month for 500 Stars."""
    return InvoiceFactory(plan=PlanFactory(code="gold_monthly", recurring=True, prices=[Money(500, "XTR")]))


def subscribed(at: datetime, *, ended: datetime | None = None, amount=500, currency="XTR", **facts) -> Subscription:
    """A subscription as it stands in the books."""
    return Subscription.objects.create(
        **{
            "customer": facts.pop("customer", None) or CustomerFactory(),
            "payment_method": "telegram_stars" if currency == "XTR" else "stripe",
            "reference": "r",
            "first_charge_id": str(uuid7()),
            "amount": amount,
            "currency": currency,
            "state": "ended" if ended else "active",
            "state_changed_at": ended or at,
            "started_at": at,
            "current_period_end": at + MONTH,
            "grace_ends_at": at + MONTH,
            **facts,
        }
    )


def at(day: int, month: int = 10) -> datetime:
    return datetime(2026, month, day, 12, tzinfo=UTC)


def told(**days) -> list[Recurring]:
    return recurring(**days or OCTOBER)


def differences_by_day() -> list[str]:
    """What the invariant finds; subscriptions without payments are wrong in other ways."""
    [by_day] = [check for check in checks() if check.what == "subscriptions by day"]
    return list(by_day.differences(lambda _: None))


class TestTheFiguresOfSomeDays:
    def test_tell_who_was_there_who_came_and_who_went(self):
        subscribed(at(1, 9))
        subscribed(at(2, 9), ended=at(30, 9))
        subscribed(at(3, 9), ended=at(5))
        subscribed(at(4), ended=at(20))
        subscribed(at(5), ended=at(1, 11))
        subscribed(at(1, 11))

        assert told() == [Recurring("XTR", active_before=2, active=2, begun=2, ended=2, monthly=1000)]

    def test_begin_and_end_with_the_day_of_utc(self):
        subscribed(datetime(2026, 9, 30, 23, 59, 59, 999_999, tzinfo=UTC))
        subscribed(datetime(2026, 10, 1, tzinfo=UTC), ended=datetime(2026, 10, 31, 23, 59, 59, tzinfo=UTC))
        subscribed(datetime(2026, 11, 1, tzinfo=UTC))

        [row] = told()
        assert (row.active_before, row.begun, row.ended, row.active) == (1, 1, 1, 1)

    @pytest.mark.parametrize("state", ["canceled", "failed"])
    def test_have_one_that_is_cancelled_or_not_paid_until_it_has_ended(self, state):
        subscribed(at(1), state=state)

        [row] = told()
        assert (row.active, row.monthly, row.ended) == (1, 500, 0)

    def test_never_add_two_currencies(self):
        subscribed(at(1))
        subscribed(at(1), amount=900, currency="GBP")
        subscribed(at(2), amount=1000, currency="GBP")

        assert [(row.currency, row.active, row.monthly) for row in told()] == [("GBP", 2, 1900), ("XTR", 1, 500)]

    def test_add_the_largest_prices_there_are(self):
        for _ in range(2):
            subscribed(at(1), amount=2**63 - 1)

        assert told()[0].monthly == 2 * (2**63 - 1)

    def test_are_none_where_there_are_none(self):
        assert told() == []

    @pytest.mark.parametrize("seed", range(3))
    def test_are_what_the_subscriptions_say(self, seed):
        dice = random.Random(seed)
        customer = CustomerFactory()
        plans = [PlanFactory(code=code, recurring=True, prices=[]) for code in ("silver", "gold")]
        for _ in range(60):
            began = at(1, 8) + timedelta(seconds=dice.randrange(120 * 86_400))
            ended = dice.choice([None, began + timedelta(seconds=dice.randrange(60 * 86_400))])
            currency, amount = dice.choice(["XTR", "GBP"]), dice.randrange(1, 10_000)
            plan = dice.choice([*plans, None])
            subscribed(began, ended=ended, amount=amount, currency=currency, customer=customer, plan=plan)

        for _ in range(20):
            first, last = sorted(date(2026, 8, 1) + timedelta(days=dice.randrange(150)) for _ in range(2))
            figures = {row.currency: row for row in recurring(first_day=first, last_day=last)}
            assert figures == by_hand(first, last)

    def test_are_read_without_a_look_at_a_subscription(self):
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN {RECURRING}", OCTOBER)
            plan = "\n".join(line for (line,) in cursor.fetchall())

        assert "payments_subscriptionday" in plan
        assert "payments_subscription " not in plan
        assert "payments_subscriptionpayment" not in plan


def by_hand(first: date, last: date) -> dict[str, Recurring]:
    """The same from all subscriptions, in plain Python."""
    told: dict[str, Recurring] = {}
    for each in Subscription.objects.all():
        began = each.started_at.date()
        ended = each.state_changed_at.date() if each.state == "ended" else None
        if began > last:
            continue
        row = told.setdefault(each.currency, Recurring(each.currency))
        is_active = ended is None or ended > last
        told[each.currency] = replace(
            row,
            active_before=row.active_before + (began < first and (ended is None or ended >= first)),
            active=row.active + is_active,
            begun=row.begun + (began >= first),
            ended=row.ended + (ended is not None and first <= ended <= last),
            monthly=row.monthly + is_active * each.amount,
        )
    return told


class TestTheRates:
    def test_of_churn_is_of_those_who_were_there_before(self):
        assert Recurring("XTR", active_before=40, ended=3).churn == 0.075
        assert Recurring("XTR", active_before=0, ended=3).churn is None

    def test_of_renewal_is_of_those_renewed_or_ended(self):
        assert Recurring("XTR", renewals=9, ended=3).renewal_rate == 0.75
        assert Recurring("XTR").renewal_rate is None


class TestRenewals:
    def test_are_the_payments_after_the_first(self, monthly):
        start = ago(3 * MONTH)
        paid_for(monthly, start)
        paid_for(monthly, start + MONTH, charge_id="stx2", renewal=True)
        paid_for(monthly, start + 2 * MONTH, charge_id="stx3", renewal=True)
        paid_for(monthly, start + 2 * MONTH, charge_id="stx3", renewal=True)

        [row] = told(first_day=start.date(), last_day=ago(timedelta()).date())
        assert (row.begun, row.renewals, row.active) == (1, 2, 1)
        [row] = told(first_day=(start + MONTH).date(), last_day=(start + MONTH).date())
        assert (row.begun, row.renewals, row.active_before) == (0, 1, 1)
        fold_revenue()
        [row] = told(first_day=start.date(), last_day=ago(timedelta()).date())
        assert row.renewals == 2

    def test_have_one_of_what_we_had_not_heard_of(self, monthly):
        paid_for(monthly, ago(DAY), renewal=True)

        assert SubscriptionPayment.objects.get().is_renewal


class TestTheLines:
    def test_follow_each_change_of_a_subscription(self):
        subscription = subscribed(at(1))
        changes = [
            {"state": "ended", "state_changed_at": at(9)},
            {"state": "active", "state_changed_at": at(10)},
            {"amount": 900, "started_at": at(1, 9)},
            {"plan": PlanFactory(code="gold_monthly", recurring=True, prices=[])},
            {"currency": "GBP", "state_changed_at": at(20)},
        ]
        for change in changes:
            Subscription.objects.filter(pk=subscription.pk).update(**change)

            assert differences_by_day() == []
            assert {row.currency: row for row in told()} == by_hand(*OCTOBER.values())

    def test_are_not_written_where_nothing_changes_that_counts(self):
        subscription = subscribed(at(1))

        Subscription.objects.filter(pk=subscription.pk).update(
            state="canceled", state_changed_at=at(2), renewals=1, current_period_end=at(1) + 2 * MONTH,
            grace_ends_at=at(1) + 2 * MONTH,
        )  # fmt: skip

        assert SubscriptionDay.objects.count() == 1

    def test_are_brought_together(self):
        for day in (1, 1, 2):
            subscribed(at(day))
        subscribed(at(1), ended=at(1), amount=700)
        undone = subscribed(at(3), ended=at(4))
        Subscription.objects.filter(pk=undone.pk).update(state="active")
        before = told()

        bring_together()
        bring_together()

        assert [
            (line.day.day, line.begun, line.ended, line.monthly_begun)
            for line in SubscriptionDay.objects.order_by("day")
        ] == [(1, 3, 1, 1700), (2, 1, 0, 500), (3, 1, 0, 500)]
        assert told() == before

    def test_are_counted_anew_where_they_are_wrong(self):
        subscribed(at(1))
        before = told()
        SubscriptionDay.objects.update(begun=7)
        assert len(differences_by_day()) == 1

        count_anew()

        assert differences_by_day() == []
        assert told() == before

    @pytest.mark.django_db(transaction=True)
    def test_that_are_written_while_others_are_brought_together_are_kept(self):
        subscribed(at(1))
        subscribed(at(1))
        with psycopg.connect(**connection.get_connection_params()) as somebody:
            somebody.execute(
                "INSERT INTO payments_subscriptionday"
                " (day, plan_code, currency, payment_method, begun, ended, monthly_begun, monthly_ended)"
                " VALUES ('2026-10-01', '', 'XTR', 'telegram_stars', 1, 0, 500, 0)"
            )
            bring_together()

        assert [row.active for row in told()] == [3]
        bring_together()
        assert [row.active for row in told()] == [3]

    def test_forgets_an_end_that_was_none(self, monthly):
        start = ago(MONTH + 2 * DAY)
        paid_for(monthly, start)
        subscriptions.end_what_is_over()
        today = ago(timedelta()).date()
        assert told(first_day=today, last_day=today)[0].ended == 1

        paid_for(monthly, start + MONTH, charge_id="stx2", renewal=True)

        [row] = told(first_day=today, last_day=today)
        assert (row.ended, row.active) == (0, 1)
