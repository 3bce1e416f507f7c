"""Revenue, exact at every moment, without summing history and without a hot row on the payment's path.

What was recorded up to `RevenueUpTo.moment` is summed in `RevenueDay`; what was recorded since is read from the
ledger by its index on the time of receipt. A periodic job moves the moment forward, never past a transaction that
is still open (config.database.settled_moment), so that nothing can appear before it any more.

A payment is revenue once it is processed, or held and then granted by staff; it counts on the day it was made. Its
refund counts on the day of the refund; if that did not arrive, it is taken off again on the day it came back. What a
bank takes back counts on that day, and is taken off again when it is brought back. A payment that was never revenue
takes nothing away when it is given back or disputed. Its fees do count, for they are not given back: each on its own
day, and in the currency it was taken in, which need not be the payment's.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from django.db import connection, transaction

from config.database import long_statements, retried
from payments.models import RevenueDay, RevenueUpTo
from payments.models.up_to import CATCHING_UP

# What became revenue, or was given back of it, after one moment and up to another: a row for each such event.
LEDGER = """
    SELECT (occurred_at AT TIME ZONE 'UTC')::date AS day, coalesce(plan_id, '') AS plan_code, currency, payment_method,
           amount AS gross, 0 AS refunded, 0 AS disputed, 0 AS fees, 1 AS payments, 0 AS refunds, {renewal} AS renewals
    FROM payments_paymentevent AS payment
    WHERE split_part(event_type, '.', 2) = 'successful_payment' AND status = 'processed'
      AND received_at > {after} AND received_at <= {until}
    UNION ALL
    SELECT (occurred_at AT TIME ZONE 'UTC')::date, coalesce(plan_id, ''), currency, payment_method,
           amount, 0, 0, 0, 1, 0, {renewal}
    FROM payments_hold AS hold JOIN payments_paymentevent AS payment ON payment.id = hold.event_id
    WHERE hold.resolution = 'granted' AND hold.resolved_at > {after} AND hold.resolved_at <= {until}
    UNION ALL
    SELECT (occurred_at AT TIME ZONE 'UTC')::date, coalesce(plan_id, ''), currency, payment_method, 0,
           CASE kind WHEN 'refunded_payment' THEN amount WHEN 'failed_refund' THEN -amount ELSE 0 END,
           CASE kind WHEN 'disputed_payment' THEN amount WHEN 'reinstated_payment' THEN -amount ELSE 0 END,
           CASE kind WHEN 'charged_fee' THEN amount WHEN 'returned_fee' THEN -amount ELSE 0 END,
           0, CASE kind WHEN 'refunded_payment' THEN 1 WHEN 'failed_refund' THEN -1 ELSE 0 END, 0
    FROM payments_paymentevent AS taken, split_part(event_type, '.', 2) AS kind
    WHERE coalesce(taken.refund_of_id, taken.cost_of_id) IS NOT NULL
      AND received_at > {after} AND received_at <= {until}
      AND (kind IN ('charged_fee', 'returned_fee')
           OR (SELECT payment.status = 'processed' OR hold.resolution = 'granted'
               FROM payments_paymentevent AS payment LEFT JOIN payments_hold AS hold ON hold.event_id = payment.id
               WHERE payment.id = coalesce(taken.refund_of_id, taken.cost_of_id)))
"""
# Of a payment, whether it renewed a subscription; of most it is known without a look.
RENEWAL = """CASE WHEN payment.period_ends_at IS NULL THEN 0 ELSE coalesce(
               (SELECT is_renewal::int FROM payments_subscriptionpayment WHERE event_id = payment.id), 0) END"""
FIGURES = ("gross", "refunded", "disputed", "fees", "payments", "refunds", "renewals")
COLUMNS = ", ".join(FIGURES)
SUMMED = ", ".join(f"sum({each}) AS {each}" for each in FIGURES)
UP_TO = "(SELECT coalesce(max(moment), '-infinity') FROM payments_revenueupto WHERE id = 1)"


def ledger(*, after: str, until: str) -> str:
    """The events between two moments, each an expression of SQL."""
    return LEDGER.format(after=after, until=until, renewal=RENEWAL)


ADD = f"""
    INSERT INTO payments_revenueday AS revenue (
        day, plan_code, currency, payment_method, {COLUMNS})
    SELECT day, plan_code, currency, payment_method, {SUMMED}
    FROM ({ledger(after="%(after)s", until="%(until)s")}) AS more
    GROUP BY day, plan_code, currency, payment_method
    ON CONFLICT (day, plan_code, currency, payment_method) DO UPDATE
    SET {", ".join(f"{each} = revenue.{each} + excluded.{each}" for each in FIGURES)}
"""  # noqa: S608 - made of constants

REVENUE = f"""
    SELECT {{columns}}, {", ".join(f"sum({each})::text" for each in FIGURES)}
    FROM (SELECT day, plan_code, currency, payment_method, {COLUMNS} FROM payments_revenueday
          UNION ALL {ledger(after=UP_TO, until="'infinity'")}) AS all_of_it
    WHERE day BETWEEN %(first_day)s AND %(last_day)s
    GROUP BY {{columns}}
    ORDER BY {{columns}}
"""  # noqa: S608


class Group(StrEnum):
    """What revenue can be told apart by. The order is that of the columns and of the rows."""

    DAY = "day"
    MONTH = "month"
    PLAN_CODE = "plan_code"
    PAYMENT_METHOD = "payment_method"
    CURRENCY = "currency"


COLUMN = {each: "to_char(day, 'YYYY-MM')" if each is Group.MONTH else each.value for each in Group}


@dataclass(frozen=True, slots=True)
class Revenue:
    """Revenue in one currency, in its smallest unit. `by` has what was asked to be told apart, currency included:
    a day as a date, a month like `2026-11`, and an empty plan code for payments without a plan. `renewals` are those of
    the payments that renewed a subscription.
    """

    by: dict[Group, str | date]
    gross: int
    refunded: int
    payments: int
    refunds: int
    disputed: int = 0
    fees: int = 0
    renewals: int = 0

    @property
    def net(self) -> int:
        """What customers paid and did not get back from us."""
        return self.gross - self.refunded

    @property
    def proceeds(self) -> int:
        """What of that is left to us: without what banks took back, and the fees."""
        return self.net - self.disputed - self.fees


@transaction.atomic
def revenue(*, first_day: date, last_day: date, group_by: Collection[Group] = ()) -> list[Revenue]:
    """The revenue of these UTC days, both included, to the last committed payment. Currencies are never added up.

    One statement, hence one view of the books.
    """
    groups = [each for each in Group if each in group_by or each is Group.CURRENCY]
    columns = ", ".join(COLUMN[each] for each in groups)
    with connection.cursor() as cursor:
        # The planner takes a third of the ledger for recent; it is the last minutes of it, at the end of an index.
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL jit = off")
        cursor.execute(REVENUE.format(columns=columns), {"first_day": first_day, "last_day": last_day})
        rows = cursor.fetchall()
    return [
        Revenue(dict(zip(groups, row, strict=False)), **dict(zip(FIGURES, map(int, row[len(groups) :]), strict=True)))
        for row in rows
    ]


@retried
@long_statements(up_to=CATCHING_UP)
def fold_revenue() -> datetime:
    """Sum what has become final since the last time; the revenue does not change. Returns the new moment."""
    return RevenueUpTo.locked().advance(ADD)


@retried
@long_statements(up_to=CATCHING_UP)
def recompute_revenue() -> None:
    """Sum the whole ledger anew, as after rows were loaded with times of the past."""
    up_to = RevenueUpTo.locked()
    RevenueDay.objects.all().delete()
    up_to.sum_anew(ADD)
