"""Exact counts of payments without summing history and without a hot row on the payment's path.

What happened up to `TallyUpTo.moment` is summed in `Tally`; what happened since is read from the books themselves.
A periodic job moves the moment forward, never past a transaction that is still open (config.database.settled_moment),
so that nothing can appear before it any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db import connection, transaction

from config.database import long_statements, retried
from payments.models import Tally, TallyResult, TallyUpTo
from payments.models.up_to import CATCHING_UP

# Those that the books can tell; the others are counted in the transaction that decides them.
RECOMPUTABLE = (TallyResult.SENT, TallyResult.SUCCESS, TallyResult.HELD)

# What the books say of the time after one moment and up to another: a row for each result, plan and currency.
# A held payment counts without its amount, which nobody has checked; one that could not even become an event is a
# hold alone.
BOOKS = """
    SELECT 'success' AS result, plan_id AS plan_code, currency, count(*) AS count, sum(amount) AS amount
    FROM payments_paymentevent
    WHERE split_part(event_type, '.', 2) = 'successful_payment' AND status = 'processed'
      AND received_at > {after} AND received_at <= {until}
    GROUP BY plan_id, currency
    UNION ALL
    SELECT 'held', coalesce(plan_id, ''), '', count(*), 0
    FROM payments_paymentevent
    WHERE split_part(event_type, '.', 2) = 'successful_payment' AND status = 'held'
      AND received_at > {after} AND received_at <= {until}
    GROUP BY plan_id
    UNION ALL
    SELECT 'held', '', '', count(*), 0
    FROM payments_hold
    WHERE event_id IS NULL AND reason = 'unreadable' AND held_at > {after} AND held_at <= {until}
    HAVING count(*) > 0
    UNION ALL
    SELECT 'sent', plan_id, '', count(*), 0
    FROM payments_invoice
    WHERE sent_at > {after} AND sent_at <= {until}
    GROUP BY plan_id
"""
UP_TO = "(SELECT coalesce(max(moment), '-infinity') FROM payments_tallyupto)"

TOTALS = f"""
    SELECT result, plan_code, currency, sum(count)::bigint, sum(amount)::bigint
    FROM (SELECT result, plan_code, currency, count, amount FROM payments_tally
          UNION ALL {BOOKS.format(after=UP_TO, until="'infinity'")}) AS all_of_them
    GROUP BY result, plan_code, currency
    ORDER BY result, plan_code, currency
"""  # noqa: S608 - made of constants

ADD = f"""
    INSERT INTO payments_tally AS tally (result, plan_code, currency, count, amount)
    SELECT result, plan_code, currency, sum(count), sum(amount)
    FROM ({BOOKS.format(after="%(after)s", until="%(until)s")}) AS more
    GROUP BY result, plan_code, currency
    ON CONFLICT (result, plan_code, currency)
    DO UPDATE SET count = tally.count + excluded.count, amount = tally.amount + excluded.amount
"""  # noqa: S608

COUNT_ONE = """
    INSERT INTO payments_tally AS tally (result, plan_code, currency, count, amount) VALUES (%s, %s, '', 1, 0)
    ON CONFLICT (result, plan_code, currency) DO UPDATE SET count = tally.count + 1
"""


@dataclass(frozen=True, slots=True)
class Total:
    """How often a result was seen for a plan; of `success` also the money, in the currency's smallest unit."""

    result: TallyResult
    plan_code: str
    currency: str
    count: int
    amount: int


def count(result: TallyResult, *, plan_code: str) -> None:
    """Count one more of a result that the books cannot tell; part of the transaction that decided it."""
    if result in RECOMPUTABLE:
        message = f"{result.label}: read from the books, not counted by hand"
        raise ValueError(message)
    with connection.cursor() as cursor:
        cursor.execute(COUNT_ONE, [result, plan_code])


@transaction.atomic
def totals() -> list[Total]:
    """The counts as of now, to the last committed payment: one statement, hence one view of the books."""
    with connection.cursor() as cursor:
        # The planner takes a third of the ledger for recent; it is the last minutes of it, at the end of an index.
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL jit = off")
        cursor.execute(TOTALS)
        rows = cursor.fetchall()
    return [Total(TallyResult(result), *rest) for result, *rest in rows]


@retried
@long_statements(up_to=CATCHING_UP)
def move_forward() -> datetime:
    """Sum what has become final since the last time; the totals do not change. Returns the new moment."""
    return TallyUpTo.locked().advance(ADD)


@retried
@long_statements(up_to=CATCHING_UP)
def recompute() -> None:
    """Sum the whole books anew, as after rows were loaded with times of the past."""
    up_to = TallyUpTo.locked()
    Tally.objects.filter(result__in=RECOMPUTABLE).delete()
    up_to.sum_anew(ADD)
