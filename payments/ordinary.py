"""The ordinary payment, and all that arrive with it, in one statement: the measured hot path of the webhook.

It does what `payments.recording.record_payment` does, for the payment that matches an open invoice and extends or
begins access at its end. Everything else it leaves untouched, writing nothing, for the general operation to judge.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any
from uuid import UUID

import structlog
from django.db import IntegrityError, connection
from structlog.contextvars import bind_contextvars

from config.database import Beside, base64, retried, violates
from config.together import Together
from payments.identifiers import uuid7
from payments.models import EventType, NoticeKind
from payments.recording import Outcome, ReceivedPayment

logger = structlog.get_logger(__name__)

# One statement, one transaction, one round trip for as many payments as arrived together. What it guarantees:
# * The customer, then the invoice, is locked by `quote`; every other part reads from it, so nothing happens before.
#   Rows that somebody else holds are passed over: it never waits for one, so one payment cannot hold up the others.
# * A payer counts once (the rest is left to the general operation), so no row is moved twice.
# * `access` moves the end only where appending to the newest grant is the same as folding all of them anew: not that of
#   a life, and none so late that it might reach the last moment there is.
# * Every later part reads from `paid`: either a whole payment is written, or no row of it at all.
# * A charge recorded at the same moment elsewhere violates a unique key, which undoes the statement.
RECORD = """
WITH brought AS MATERIALIZED (
    SELECT DISTINCT ON (payer) *
    FROM json_to_recordset(%(payments)s::json) AS brought (
        id uuid, charge_id text, payment_type text, refund_type text, payment_method text, payload text, payer bigint,
        amount bigint, currency text, occurred_at timestamptz, origin text, provider_charge_id text, source text,
        answer text, beside json)
), quote AS MATERIALIZED (
    SELECT brought.*, invoice.id AS invoice_id, invoice.customer_id, customer.user_id, invoice.plan_id,
           invoice.entitlement, invoice.features, invoice.duration, invoice.when_active,
           least(brought.occurred_at, statement_timestamp()) AS paid_at
    FROM brought
    JOIN payments_invoice AS invoice USING (payload, payment_method, amount, currency)
    JOIN entitlements_customer AS customer ON customer.id = invoice.customer_id
    WHERE invoice.status IN ('draft', 'sent', 'unclear', 'expired')
      AND NOT invoice.recurring
      AND customer.telegram_user_id = brought.payer
      AND customer.blocked_at IS NULL
      AND NOT EXISTS (SELECT FROM payments_paymentevent AS known
                      WHERE known.event_id = brought.charge_id AND known.event_type = brought.payment_type)
      AND NOT EXISTS (SELECT FROM payments_earlyrefund AS early
                      WHERE early.event_id = brought.charge_id
                        AND (early.event_type = brought.refund_type OR early.amount IS NULL))
    FOR NO KEY UPDATE OF customer, invoice SKIP LOCKED
), access AS (
    INSERT INTO entitlements_entitlement AS held (customer_id, code, active_until, latest_grant_at, version)
    SELECT customer_id, entitlement, paid_at + duration, paid_at, 1 FROM quote
    ON CONFLICT (customer_id, code) DO UPDATE
    SET active_until = greatest(held.active_until, excluded.latest_grant_at)
                       + (excluded.active_until - excluded.latest_grant_at),
        latest_grant_at = excluded.latest_grant_at,
        version = held.version + 1
    WHERE held.latest_grant_at <= excluded.latest_grant_at
      AND held.active_until < '9000-01-01Z'
      AND (held.active_until <= excluded.latest_grant_at
           OR (SELECT when_active FROM quote WHERE quote.customer_id = held.customer_id) = 'extend')
    RETURNING customer_id
), paid AS MATERIALIZED (
    SELECT * FROM quote JOIN access USING (customer_id)
), event AS (
    INSERT INTO payments_paymentevent (
        id, event_id, event_type, payment_method, customer_id, invoice_id, plan_id, amount, currency, status, origin,
        occurred_at, received_at, provider_charge_id, reference)
    SELECT id, charge_id, payment_type, payment_method, customer_id, invoice_id, plan_id, amount, currency,
           'processed', origin, paid_at, statement_timestamp(), provider_charge_id, payload
    FROM paid
), answer AS (
    INSERT INTO payments_providerrecord (event_id, body) SELECT id, decode(answer, 'base64') FROM paid
), given AS (
    INSERT INTO entitlements_grant (
        customer_id, entitlement, plan_code, features, source, granted_at, duration, revoked_reason)
    SELECT customer_id, entitlement, plan_id, features, source, paid_at, duration, '' FROM paid
), closed AS (
    UPDATE payments_invoice AS invoice SET status = 'paid' FROM paid WHERE invoice.id = paid.invoice_id
), owed AS (
    INSERT INTO payments_notice (kind, event_id) SELECT %(notice)s::text, id FROM paid
), effect AS (
    SELECT beside FROM paid
), beside AS (
    {beside}
)
SELECT id, user_id, plan_id FROM paid
"""


@dataclass(frozen=True, slots=True)
class OrdinaryPayment:
    """A payment that was recorded and processed."""

    payment_id: UUID
    user_id: str
    plan_code: str


def record_ordinary_payment(payment: ReceivedPayment, *, beside: Beside) -> OrdinaryPayment | None:
    """Record the payment with all its effects if nothing about it is odd; else write nothing and return None.

    What is `beside` is written with the payment or not at all. Payments of other threads may share the statement.

    :raises NotDone: such a shared statement failed; the general operation is the way to go on
    """
    if payment.period_ends_at or payment.renewal or payment.details or not isinstance(payment.payer, int):
        return None
    recorded = _together(beside.sql)(_values(payment, beside))
    if recorded is None:
        return None
    facts = {
        "user_id": recorded.user_id,
        "plan_code": recorded.plan_code,
        "amount": payment.money.amount,
        "currency": payment.money.currency,
        "payment_id": str(recorded.payment_id),
    }
    bind_contextvars(recorded=Outcome.PROCESSED.value, **facts)
    logger.info(
        "payment recorded",
        payment_method=payment.method.value,
        origin=payment.origin.value,
        outcome=Outcome.PROCESSED.value,
        **facts,
    )
    return recorded


Values = dict[str, Any]


@cache
def _together(beside_sql: str) -> Together[Values, OrdinaryPayment | None]:
    return Together(partial(_record, RECORD.format(beside=beside_sql)))


@retried
def _record(statement: str, payments: Sequence[Values]) -> list[OrdinaryPayment | None]:
    with connection.cursor() as cursor:
        try:
            cursor.execute(statement, {"payments": json.dumps(payments), "notice": NoticeKind.PAYMENT_CONFIRMED.value})
        except IntegrityError as error:
            if violates(error, "payment_event_once", "grant_once_per_source"):
                return [None] * len(payments)
            raise
        recorded = {str(row[0]): OrdinaryPayment(*row) for row in cursor.fetchall()}
    return [recorded.get(payment["id"]) for payment in payments]


def _values(payment: ReceivedPayment, beside: Beside) -> Values:
    """The payment as JSON carries it to the statement."""
    return {
        "id": str(uuid7()),
        "charge_id": payment.charge_id,
        "payment_type": payment.event_type.value,
        "refund_type": EventType.refund_by(payment.method).value,
        "payment_method": payment.method.value,
        "payload": payment.payload,
        "payer": payment.payer,
        "amount": payment.money.amount,
        "currency": payment.money.currency,
        "occurred_at": payment.occurred_at.isoformat(),
        "origin": payment.origin.value,
        "provider_charge_id": payment.provider_charge_id,
        "source": f"{payment.method.value}:{payment.charge_id}",
        "answer": base64(payment.raw),
        "beside": beside.values,
    }
