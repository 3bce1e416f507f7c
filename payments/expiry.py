"""Invoices that nobody paid in time."""

from __future__ import annotations

from datetime import datetime

from django.db import connection

BATCH = 1000

# Marks a batch of lapsed invoices and counts them in one statement, so that each is counted exactly once. One that is
# locked is perhaps being paid in this moment; it is looked at again the next time.
EXPIRE = """
    WITH lapsed AS (
        SELECT id FROM payments_invoice
        WHERE status IN ('draft', 'sent', 'unclear') AND expires_at <= %(now)s
        ORDER BY expires_at LIMIT %(batch)s FOR UPDATE SKIP LOCKED
    ), expired AS (
        UPDATE payments_invoice SET status = 'expired' WHERE id IN (SELECT id FROM lapsed) RETURNING plan_id
    ), counted AS (
        INSERT INTO payments_tally AS tally (result, plan_code, currency, count, amount)
        SELECT 'cancelled', plan_id, '', count(*), 0 FROM expired GROUP BY plan_id ORDER BY plan_id
        ON CONFLICT (result, plan_code, currency) DO UPDATE SET count = tally.count + excluded.count
    )
    SELECT count(*) FROM expired
"""


def expire_invoices(*, now: datetime, batch: int = BATCH) -> int:
    """Mark the invoices that lapsed unpaid, each batch in a transaction of its own. Returns how many there were."""
    total = 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(EXPIRE, {"now": now, "batch": batch})
            expired = int(cursor.fetchone()[0])
        total += expired
        if expired < batch:
            return total
