"""What must hold in the books at every moment: each derived figure is what its facts amount to.

Each check is one statement, hence one view of the books: it can run while payments are recorded, and a difference
that it finds is one.
"""

# ruff: noqa: S608 - every statement is made of constants

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, NamedTuple

from django.db import connection

from config.database import long_statements
from entitlements.by_hand import GAVE, TOOK_BACK
from entitlements.periods import fold
from payments import revenue, tallies
from payments.staff_refunds import APPROVED, ASKED, DECLINED, RECORDED

Progress = Callable[[int], None]
AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Check:
    """Rows of `sql` are contradictions, and `sentence` has a place for each of their columns."""

    what: str
    sql: str
    sentence: str

    def differences(self, progress: Progress) -> Iterator[str]:
        """Each contradiction in a sentence."""
        for found, row in enumerate(rows(self.sql), 1):
            progress(found)
            yield self.sentence.format(*row)


class Folded(NamedTuple):
    """A grant beside the entitlement it belongs to; either may be missing."""

    customer_id: int
    code: str
    kept: bool
    active_until: datetime | None
    granted_at: datetime
    duration: timedelta | None
    ends_at: datetime | None
    revoked_at: datetime | None


class EntitlementsAreTheFoldOfTheirGrants:
    """I3, by the same fold that gives access."""

    what = "entitlements"
    sql = """
        SELECT coalesce(given.customer_id, kept.customer_id), coalesce(given.entitlement, kept.code),
               kept.id IS NOT NULL, kept.active_until, given.granted_at, given.duration, given.ends_at, given.revoked_at
        FROM entitlements_grant AS given
        FULL JOIN entitlements_entitlement AS kept
             ON kept.customer_id = given.customer_id AND kept.code = given.entitlement
        ORDER BY 1, 2, given.granted_at, given.id
    """

    def differences(self, progress: Progress) -> Iterator[str]:
        every = (Folded(*row) for row in rows(self.sql))
        seen = 0
        for (customer, code), group in groupby(every, key=lambda row: row[:2]):
            grants = list(group)
            progress(seen := seen + len(grants))
            kept = grants[0]
            if not kept.kept or kept.granted_at is None:
                yield f"Customer {customer} has grants or an entitlement of {code}, not both."
            elif kept.active_until != (expected := fold(grants)[-1].access.ends_at):
                until = words(kept.active_until)
                yield f"Customer {customer} has {code} until {until}, the grants say {words(expected)}."


def words(end: datetime | None) -> str:
    return "the end of time" if end is None else end.isoformat()


PAYMENT = "split_part(event.event_type, '.', 2) = 'successful_payment'"
REFUND = "split_part(event.event_type, '.', 2) = 'refunded_payment'"
SOURCE = "event.payment_method || ':' || event.event_id"

CHECKS: tuple[Check | EntitlementsAreTheFoldOfTheirGrants, ...] = (
    EntitlementsAreTheFoldOfTheirGrants(),
    Check(
        "what payments gave",  # I1, I5
        f"""
        WITH given AS (SELECT source, count(*) AS grants FROM entitlements_grant GROUP BY source)
        SELECT event.id, event.status, coalesce(grants, 0), (hold.id IS NOT NULL)::int
        FROM payments_paymentevent AS event
        LEFT JOIN payments_hold AS hold ON hold.event_id = event.id
        LEFT JOIN given ON given.source = {SOURCE}
        WHERE {PAYMENT}
          AND ((hold.id IS NULL) <> (status = 'processed')
               OR coalesce(grants, 0) <> (status = 'processed' OR coalesce(resolution, '') = 'granted')::int)
        """,
        "Payment {} is {} with {} grants and {} holds.",
    ),
    Check(
        "payments behind grants",  # I5
        """
        SELECT source FROM entitlements_grant
        WHERE split_part(source, ':', 1) IN ('telegram_stars', 'telegram_provider', 'stripe')
          AND NOT EXISTS (
              SELECT FROM payments_paymentevent
              WHERE event_id = substr(source, strpos(source, ':') + 1)
                AND event_type = split_part(source, ':', 1) || '.successful_payment')
        """,
        "A grant comes from {}, which is no payment.",
    ),
    Check(
        "messages owed",  # I8
        f"""
        SELECT event.id, kind FROM payments_paymentevent AS event, LATERAL (
            SELECT CASE WHEN {REFUND} THEN 'refunded'
                        WHEN status = 'held' THEN 'payment_held'
                        ELSE 'payment_confirmed' END AS kind) AS owed
        WHERE NOT EXISTS (SELECT FROM payments_notice AS notice
                          WHERE notice.event_id = event.id AND notice.kind = owed.kind)
        """,
        "Event {} has no notice {}.",
    ),
    Check(
        "answers of the providers",
        """
        SELECT id FROM payments_paymentevent AS event
        WHERE NOT EXISTS (SELECT FROM payments_providerrecord AS record WHERE record.event_id = event.id)
        """,
        "Event {} has lost the provider's answer.",
    ),
    Check(
        "paid invoices",
        f"""
        SELECT event.id, invoice.status
        FROM payments_paymentevent AS event JOIN payments_invoice AS invoice ON invoice.id = event.invoice_id
        WHERE {PAYMENT} AND event.status = 'processed' AND invoice.status <> 'paid'
        """,
        "Payment {} is processed and its invoice {}.",
    ),
    Check(
        "refunds",  # I4
        f"""
        SELECT event.id FROM payments_paymentevent AS event
        LEFT JOIN payments_paymentevent AS payment ON payment.id = event.refund_of_id
        WHERE {REFUND} AND (payment.event_id, payment.customer_id, payment.amount, payment.currency)
              IS DISTINCT FROM (event.event_id, event.customer_id, event.amount, event.currency)
        """,
        "Refund {} does not match its payment.",
    ),
    Check(
        "access after refunds",  # I4, I5
        f"""
        SELECT event.id FROM payments_paymentevent AS event
        WHERE {REFUND} AND (SELECT count(*) FROM entitlements_grant AS given
                            WHERE given.source = {SOURCE} AND given.revoked_at IS NULL) > 0
        """,
        "Refund {} left its access.",
    ),
    Check(
        "intents to refund",  # I4, I7
        f"""
        SELECT intent.id, intent.status, count(event.id)
        FROM payments_refund AS intent
        LEFT JOIN payments_paymentevent AS event ON event.refund_of_id = intent.payment_id AND {REFUND}
        GROUP BY intent.id
        HAVING (count(event.id) = 0) <> (intent.status <> 'confirmed')
           AND NOT (intent.status IN ('refused', 'declined') AND count(event.id) > 0)
        """,
        "The intent to refund {} is {} with {} refunds of its payment.",
    ),
    Check(
        "what staff did",  # I9; access is taken back by a refund or else by staff
        f"""
        WITH done (subject_type, subject_id, what) AS (
            SELECT 'payments.hold', id::text, 'resolved%' FROM payments_hold WHERE resolved_by LIKE 'staff:%'
            UNION ALL
            SELECT 'entitlements.grant', id::text, '{GAVE}' FROM entitlements_grant WHERE source LIKE 'staff:%'
            UNION ALL
            SELECT 'entitlements.grant', id::text, '{TOOK_BACK}' FROM entitlements_grant AS given
            WHERE revoked_at IS NOT NULL
              AND NOT EXISTS (SELECT FROM payments_paymentevent AS event WHERE {REFUND} AND {SOURCE} = given.source)
            UNION ALL
            SELECT 'payments.refund', id::text, '{ASKED}' FROM payments_refund WHERE requested_by LIKE 'staff:%'
            UNION ALL
            SELECT 'payments.refund', id::text, '{APPROVED}' FROM payments_refund WHERE approved_by <> ''
            UNION ALL
            SELECT 'payments.refund', id::text, '{DECLINED}' FROM payments_refund WHERE declined_by <> ''
            UNION ALL
            SELECT 'payments.paymentevent', id::text, '{RECORDED}' FROM payments_paymentevent AS refund
            WHERE origin = 'staff'
              AND NOT EXISTS (SELECT FROM payments_refund AS intent WHERE intent.payment_id = refund.refund_of_id)
        )
        SELECT done.subject_type, done.subject_id, count(entry.id), done.what
        FROM done LEFT JOIN entitlements_auditentry AS entry
             ON entry.subject_type = done.subject_type AND entry.subject_id = done.subject_id
             AND entry.what LIKE done.what
        GROUP BY done.subject_type, done.subject_id, done.what
        HAVING count(entry.id) <> 1
        """,
        "Staff acted on {} {}, and {} audit entries say “{}”.",
    ),
    Check(
        "early refunds",
        """
        SELECT early.id FROM payments_earlyrefund AS early
        WHERE applied_at IS NULL
          AND EXISTS (SELECT FROM payments_paymentevent AS event
                      WHERE event.event_id = early.event_id
                        AND split_part(event.event_type, '.', 2) = 'successful_payment')
        """,
        "Early refund {} waits for a payment that is recorded.",
    ),
    Check(
        "tallies",
        f"""
        SELECT result, plan_code, currency, coalesce(kept.count, 0), coalesce(kept.amount, 0),
               coalesce(told.count, 0), coalesce(told.amount, 0)
        FROM (SELECT * FROM payments_tally WHERE result IN ('sent', 'success', 'held')) AS kept
        FULL JOIN (
            SELECT result, plan_code, currency, sum(count) AS count, sum(amount) AS amount
            FROM ({tallies.BOOKS.format(after="'-infinity'", until=tallies.UP_TO)}) AS books
            GROUP BY result, plan_code, currency) AS told USING (result, plan_code, currency)
        WHERE (coalesce(kept.count, 0), coalesce(kept.amount, 0))
              IS DISTINCT FROM (coalesce(told.count, 0), coalesce(told.amount, 0))
        """,
        "The tally {} {} {} has {} of {} in all, the books say {} of {}.",
    ),
    Check(
        "revenue",
        f"""
        SELECT day, plan_code, currency, payment_method,
               coalesce(kept.gross, 0), coalesce(kept.payments, 0),
               coalesce(kept.refunded, 0), coalesce(kept.refunds, 0),
               coalesce(told.gross, 0), coalesce(told.payments, 0),
               coalesce(told.refunded, 0), coalesce(told.refunds, 0)
        FROM payments_revenueday AS kept
        FULL JOIN (
            SELECT day, plan_code, currency, payment_method, sum(gross) AS gross, sum(refunded) AS refunded,
                   sum(payments) AS payments, sum(refunds) AS refunds
            FROM ({revenue.LEDGER.format(after="'-infinity'", until=revenue.UP_TO)}) AS ledger
            GROUP BY day, plan_code, currency, payment_method
        ) AS told USING (day, plan_code, currency, payment_method)
        WHERE coalesce(kept.gross, 0) <> coalesce(told.gross, 0)
           OR coalesce(kept.payments, 0) <> coalesce(told.payments, 0)
           OR coalesce(kept.refunded, 0) <> coalesce(told.refunded, 0)
           OR coalesce(kept.refunds, 0) <> coalesce(told.refunds, 0)
        """,
        "The revenue of {} {} {} {} has {} by {} payments less {} by {} refunds,"
        " the ledger says {} by {} less {} by {}.",
    ),
)


def differences() -> Iterator[str]:
    """Every contradiction in the books of access and money, in a sentence; nothing when they are sound."""
    for check in CHECKS:
        yield from check.differences(lambda _: None)


def rows(sql: str) -> Iterator[tuple[Any, ...]]:
    """The rows of a query that may take long, fetched as they are needed."""
    with long_statements(up_to=timedelta(hours=1)), connection.cursor() as settings:
        settings.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        with connection.chunked_cursor() as cursor:
            cursor.execute(sql)
            while some := cursor.fetchmany(AT_ONCE):
                yield from some
