"""Invoices that nobody paid in time."""

from __future__ import annotations

from datetime import datetime

from django.db import connection

from config.database import long_statements, retried
from payments.models import ExpiryUpTo
from payments.models.up_to import BEGINNING, CATCHING_UP

BATCH = 5_000  # a payment of one that lapses just now waits no longer for its row than a batch takes

# Up to when it is a batch, and all that lapse at the moment of its last; up to now, where there are no more.
NEXT = """
    SELECT coalesce(
        (SELECT expires_at FROM payments_invoice WHERE expires_at > %(after)s AND expires_at <= %(until)s
         ORDER BY expires_at OFFSET %(batch)s - 1 LIMIT 1),
        %(until)s)
"""
# Marks what lapsed since the last time and counts it in one statement, so that each is counted exactly once.
EXPIRE = """
    WITH expired AS (
        UPDATE payments_invoice SET status = 'expired'
        WHERE expires_at > %(after)s AND expires_at <= %(until)s AND status IN ('draft', 'sent', 'unclear')
        RETURNING plan_id
    ), counted AS (
        INSERT INTO payments_tally AS tally (result, plan_code, currency, count, amount)
        SELECT 'cancelled', plan_id, '', count(*), 0 FROM expired GROUP BY plan_id ORDER BY plan_id
        ON CONFLICT (result, plan_code, currency) DO UPDATE SET count = tally.count + excluded.count
    )
    SELECT count(*) FROM expired
"""


def expire_invoices(*, now: datetime) -> int:
    """Mark the invoices that lapsed unpaid since the last time, and return how many there were.

    The moment of the last time is kept rather than an index of the open ones: a payment would have to move its
    invoice in every index of the table, only because one of them knows of the status.
    """
    expired, moment = 0, BEGINNING
    while moment < now:
        more, moment = _expire_batch(now)
        expired += more
    return expired


@retried
@long_statements(up_to=CATCHING_UP)
def _expire_batch(now: datetime) -> tuple[int, datetime]:
    """How many were marked, and the moment up to which all are."""
    up_to = ExpiryUpTo.locked()
    with connection.cursor() as cursor:
        after, until = up_to.moment, max(now, up_to.moment)
        cursor.execute(NEXT, {"after": after, "until": until, "batch": BATCH})
        (up_to.moment,) = cursor.fetchone()
        cursor.execute(EXPIRE, {"after": after, "until": up_to.moment})
        expired = int(cursor.fetchone()[0])
    up_to.save()
    return expired, up_to.moment
