"""The ordinary payment in one statement: the measured hot path of the webhook.

It does what `payments.recording.record_payment` does, for the payment that matches an open invoice and extends or
begins access at its end. Everything else it leaves untouched, writing nothing, for the general operation to judge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from django.db import IntegrityError, connection
from psycopg.types.numeric import Int8

from config.database import Beside, retried, violates
from payments.identifiers import uuid7
from payments.models import EventType, NoticeKind
from payments.recording import Outcome, ReceivedPayment

logger = structlog.get_logger(__name__)

# One statement, one transaction, one round trip. What it guarantees:
# * The customer, then the invoice, is locked by `quote`; every other part reads from it, so nothing happens before,
#   and after a wait its conditions on both rows are judged again on what was committed meanwhile.
#   (The `+ 0` has it begin with the payload's one invoice rather than with all invoices of the payer.)
# * `access` moves the end only where appending to the newest grant is the same as folding all of them anew.
# * Every later part reads from `access` or `event`: either the whole payment is written, or no row at all.
# * A charge recorded at the same moment elsewhere violates payment_event_once, which undoes the statement.
RECORD = """
WITH quote AS MATERIALIZED (
    SELECT invoice.id, invoice.customer_id, customer.user_id, invoice.plan_id, invoice.entitlement, invoice.features,
           invoice.duration, invoice.when_active, least(%(occurred_at)s::timestamptz, statement_timestamp()) AS paid_at
    FROM entitlements_customer AS customer
    JOIN payments_invoice AS invoice ON invoice.customer_id = customer.id
    WHERE invoice.payload = %(payload)s::text
      AND invoice.status IN ('draft', 'sent', 'unclear', 'expired')
      AND invoice.payment_method = %(method)s::text
      AND invoice.amount = %(amount)s
      AND invoice.currency = %(currency)s::text
      AND NOT invoice.recurring
      AND customer.telegram_user_id + 0 = %(payer)s
      AND customer.blocked_at IS NULL
      AND NOT EXISTS (SELECT FROM payments_paymentevent AS known
                      WHERE known.event_id = %(charge_id)s::text AND known.event_type = %(payment_type)s::text)
      AND NOT EXISTS (SELECT FROM payments_earlyrefund AS early
                      WHERE early.event_id = %(charge_id)s::text
                        AND (early.event_type = %(refund_type)s::text OR early.amount IS NULL))
    FOR NO KEY UPDATE OF customer, invoice
), access AS (
    INSERT INTO entitlements_entitlement AS held (customer_id, code, active_until, latest_grant_at, version)
    SELECT customer_id, entitlement, paid_at + duration, paid_at, 1 FROM quote
    ON CONFLICT (customer_id, code) DO UPDATE
    SET active_until = greatest(held.active_until, excluded.latest_grant_at) + (SELECT duration FROM quote),
        latest_grant_at = excluded.latest_grant_at,
        version = held.version + 1
    WHERE held.latest_grant_at <= excluded.latest_grant_at
      AND held.active_until IS NOT NULL
      AND (held.active_until <= excluded.latest_grant_at OR (SELECT when_active FROM quote) = 'extend')
    RETURNING code
), event AS (
    INSERT INTO payments_paymentevent (
        id, event_id, event_type, payment_method, customer_id, invoice_id, plan_id, amount, currency, status, origin,
        occurred_at, received_at, provider_charge_id, reference)
    SELECT %(id)s, %(charge_id)s::text, %(payment_type)s::text, %(method)s::text, customer_id, quote.id, plan_id,
           %(amount)s, %(currency)s::text, 'processed', %(origin)s::text, paid_at, statement_timestamp(),
           %(provider_charge_id)s::text, %(payload)s::text
    FROM quote, access
    RETURNING id
), answer AS (
    INSERT INTO payments_providerrecord (event_id, body) SELECT id, %(raw)s::bytea FROM event
), given AS (
    INSERT INTO entitlements_grant (
        customer_id, entitlement, plan_code, features, source, granted_at, duration, revoked_reason)
    SELECT customer_id, entitlement, plan_id, features, %(source)s::text, paid_at, duration, '' FROM quote, event
), paid AS (
    UPDATE payments_invoice AS invoice SET status = 'paid' FROM quote, event WHERE invoice.id = quote.id
), owed AS (
    INSERT INTO payments_notice (kind, event_id) SELECT %(notice)s::text, id FROM event
), beside AS (
    {beside}
)
SELECT user_id, plan_id FROM quote, event
"""


@dataclass(frozen=True, slots=True)
class OrdinaryPayment:
    """A payment that was recorded and processed."""

    payment_id: UUID
    user_id: str
    plan_code: str


@retried
def record_ordinary_payment(payment: ReceivedPayment, *, beside: Beside) -> OrdinaryPayment | None:
    """Record the payment with all its effects if nothing about it is odd; else write nothing and return None.

    `beside` selects `FROM event`: it is written with the payment or not at all.
    """
    if payment.period_ends_at or payment.renewal or not isinstance(payment.payer, int):
        return None
    payment_id = uuid7()
    with connection.cursor() as cursor:
        try:
            cursor.execute(
                RECORD.format(beside=beside.sql), {**_parameters(payment, payment.payer, payment_id), **beside.params}
            )
        except IntegrityError as error:
            if violates(error, "payment_event_once"):
                return None
            raise
        row = cursor.fetchone()
    if row is None:
        return None
    user_id, plan_code = row
    logger.info(
        "payment recorded",
        user_id=user_id,
        plan_code=plan_code,
        amount=payment.money.amount,
        currency=payment.money.currency,
        payment_id=str(payment_id),
        payment_method=payment.method.value,
        origin=payment.origin.value,
        outcome=Outcome.PROCESSED.value,
    )
    return OrdinaryPayment(payment_id, user_id, plan_code)


def _parameters(payment: ReceivedPayment, payer: int, payment_id: UUID) -> dict[str, Any]:
    """Integers are sent as int8 whatever their size, so that all payments share one prepared statement."""
    return {
        "id": payment_id,
        "charge_id": payment.charge_id,
        "payment_type": payment.event_type.value,
        "refund_type": EventType.refund_by(payment.method).value,
        "method": payment.method.value,
        "payload": payment.payload,
        "payer": Int8(payer),
        "amount": Int8(payment.money.amount),
        "currency": payment.money.currency,
        "occurred_at": payment.occurred_at,
        "origin": payment.origin.value,
        "provider_charge_id": payment.provider_charge_id,
        "source": f"{payment.method.value}:{payment.charge_id}",
        "raw": payment.raw,
        "notice": NoticeKind.PAYMENT_CONFIRMED.value,
    }
