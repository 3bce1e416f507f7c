"""What subscriptions bring: how many run, how many come and go and are renewed, and what they pay, by currency.

All are looked at now and then, and counted by the day on which they began or ended; whoever asks reads those sums. A
period is 30 days, whatever the plan (plan_recurs_every_30_days), so what a subscription brings in 30 days is its price.
A subscription is active from its first payment until it has ended, hence also while it is cancelled and paid for, and
in its grace. Its price is that of the last period paid; one that had ended and was renewed after all never ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from django.db import connection

from config.database import database_now, long_statements, retried
from payments.models import SubscriptionDay
from payments.revenue import Group, revenue

COUNT = """
    INSERT INTO payments_subscriptionday (
        day, plan_code, currency, payment_method, begun, ended, monthly_begun, monthly_ended, counted_at)
    SELECT day, plan_code, currency, payment_method, sum(begun), sum(ended), sum(begun * amount), sum(ended * amount),
           %(now)s
    FROM (
        SELECT (started_at AT TIME ZONE 'UTC')::date AS day, coalesce(plan_id, '') AS plan_code, currency,
               payment_method, amount, 1 AS begun, 0 AS ended
        FROM payments_subscription
        UNION ALL
        SELECT (state_changed_at AT TIME ZONE 'UTC')::date, coalesce(plan_id, ''), currency,
               payment_method, amount, 0, 1
        FROM payments_subscription WHERE state = 'ended'
    ) AS came_and_went
    GROUP BY day, plan_code, currency, payment_method
"""

RECURRING = """
    SELECT currency, coalesce(sum(begun - ended) FILTER (WHERE day < %(first_day)s), 0)::bigint,
           sum(begun - ended)::bigint, coalesce(sum(begun) FILTER (WHERE day >= %(first_day)s), 0)::bigint,
           coalesce(sum(ended) FILTER (WHERE day >= %(first_day)s), 0)::bigint, sum(monthly_begun - monthly_ended)::text
    FROM payments_subscriptionday WHERE day <= %(last_day)s
    GROUP BY currency
    ORDER BY sum(begun) DESC, currency
"""


@dataclass(frozen=True, slots=True)
class Recurring:
    """The subscriptions in one currency over some days: those that were active before them and at their end, began and
    ended in them, the renewals paid in them, and what those active at their end bring in 30 days, in the currency's
    smallest unit.
    """

    currency: str
    active_before: int = 0
    active: int = 0
    begun: int = 0
    ended: int = 0
    monthly: int = 0
    renewals: int = 0

    @property
    def churn(self) -> float | None:
        """How many ended, of those that were active before; None where there were none."""
        return self.ended / self.active_before if self.active_before else None

    @property
    def renewal_rate(self) -> float | None:
        """How many were renewed, of those that were renewed or ended; None where there were none."""
        came_to_an_end = self.renewals + self.ended
        return self.renewals / came_to_an_end if came_to_an_end else None


def recurring(*, first_day: date, last_day: date) -> list[Recurring]:
    """The subscriptions of these UTC days, both included, as they were last counted; the most first.

    Currencies are never added up.
    """
    renewals = {
        row.by[Group.CURRENCY]: row.renewals for row in revenue(first_day=first_day, last_day=last_day) if row.renewals
    }
    with connection.cursor() as cursor:
        cursor.execute(RECURRING, {"first_day": first_day, "last_day": last_day})
        rows = cursor.fetchall()
    return [
        Recurring(currency, before, active, begun, ended, int(monthly), renewals.get(currency, 0))
        for currency, before, active, begun, ended, monthly in rows
    ]


@retried
@long_statements(up_to=timedelta(minutes=2))
def count_subscriptions() -> None:
    """Count anew. Repeating it changes nothing but the time, and what has changed since."""
    now = database_now()
    with connection.cursor() as cursor:
        cursor.execute("LOCK TABLE payments_subscriptionday IN SHARE ROW EXCLUSIVE MODE")  # who reads it does not wait
        SubscriptionDay.objects.all().delete()
        cursor.execute(COUNT, {"now": now})
