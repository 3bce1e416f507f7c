"""What subscriptions bring: how many run, how many come and go and are renewed, and what they pay, by currency.

Each change of a subscription that changes a figure is written down by a trigger, under the day on which it began or
ended; whoever asks adds that up, and a job brings the lines of a day together now and then. A period is 30 days,
whatever the plan (plan_recurs_every_30_days), so what a subscription brings in 30 days is its price. A subscription is
active from its first payment until it has ended, hence also while it is cancelled and paid for, and in its grace. Its
price is that of the last period paid; one that had ended and was renewed after all never ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from django.db import connection, transaction

from config.database import long_statements, retried
from payments.revenue import Group, revenue

COLUMNS = "day, plan_code, currency, payment_method, begun, ended, monthly_begun, monthly_ended"
# Each line is taken away by whoever adds it to another: however many do so at once, nothing is lost or doubled.
TOGETHER = f"""
    WITH scattered AS (
        SELECT day, plan_code, currency, payment_method FROM payments_subscriptionday
        GROUP BY day, plan_code, currency, payment_method HAVING count(*) > 1
    ), taken AS (
        DELETE FROM payments_subscriptionday AS line USING scattered
        WHERE (line.day, line.plan_code, line.currency, line.payment_method)
              = (scattered.day, scattered.plan_code, scattered.currency, scattered.payment_method)
        RETURNING line.*
    )
    INSERT INTO payments_subscriptionday ({COLUMNS})
    SELECT day, plan_code, currency, payment_method, sum(begun), sum(ended), sum(monthly_begun), sum(monthly_ended)
    FROM taken GROUP BY day, plan_code, currency, payment_method
    HAVING (sum(begun), sum(ended)) <> (0, 0)
"""  # noqa: S608 - made of constants
COUNTED = """
    SELECT day, plan_code, currency, payment_method, sum(begun) AS begun, sum(ended) AS ended,
           sum(begun * amount) AS monthly_begun, sum(ended * amount) AS monthly_ended
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
# One statement, hence one view of the books: what changes meanwhile is neither counted nor taken away.
ANEW = f"""
    WITH taken AS (DELETE FROM payments_subscriptionday)
    INSERT INTO payments_subscriptionday ({COLUMNS}) SELECT {COLUMNS} FROM ({COUNTED}) AS counted
"""  # noqa: S608

RECURRING = """
    SELECT currency, coalesce(sum(begun - ended) FILTER (WHERE day < %(first_day)s), 0)::bigint,
           sum(begun - ended)::bigint, coalesce(sum(begun) FILTER (WHERE day >= %(first_day)s), 0)::bigint,
           coalesce(sum(ended) FILTER (WHERE day >= %(first_day)s), 0)::bigint, sum(monthly_begun - monthly_ended)::text
    FROM payments_subscriptionday WHERE day <= %(last_day)s
    GROUP BY currency HAVING sum(begun) > 0
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
    """The subscriptions of these UTC days, both included; the most first.

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
@transaction.atomic
def bring_together() -> None:
    """Add up the lines of each day, plan, currency and method. The figures do not change."""
    _execute_alone(TOGETHER)


@retried
@long_statements(up_to=timedelta(minutes=2))
def count_anew() -> None:
    """Count all subscriptions, as after rows were loaded past the triggers."""
    _execute_alone(ANEW)


def _execute_alone(statement: str) -> None:
    with connection.cursor() as cursor:
        # Whoever writes a line does not wait, nor who reads them.
        cursor.execute("LOCK TABLE payments_subscriptionday IN SHARE UPDATE EXCLUSIVE MODE")
        cursor.execute(statement)
