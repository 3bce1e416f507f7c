"""Pre-checkout: the last moment to say no without having taken money."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import structlog
from django.conf import settings
from django.db import connection
from psycopg.types.numeric import Int8
from structlog.contextvars import bind_contextvars

from config.database import Beside, retried
from payments.models import CheckoutDecision, InvoiceStatus, WhenActive

logger = structlog.get_logger(__name__)


class Reason(StrEnum):
    """Why a checkout is refused; the first that applies, in this order."""

    UNKNOWN_PAYLOAD = "unknown_payload"
    FOREIGN_PAYER = "foreign_payer"
    CURRENCY_MISMATCH = "currency_mismatch"
    AMOUNT_MISMATCH = "amount_mismatch"
    ALREADY_PAID = "already_paid"
    EXPIRED = "expired"
    CUSTOMER_BLOCKED = "customer_blocked"
    PAYMENTS_DISABLED = "payments_disabled"
    PLAN_UNAVAILABLE = "plan_unavailable"
    ALREADY_ACTIVE = "already_active"


@dataclass(frozen=True, slots=True)
class PreCheckout:
    """Somebody is about to pay. `amount` is None when what came is no integer."""

    query_id: str
    payload: str
    payer_telegram_id: int
    amount: int | None
    currency: str
    language_code: str = ""


class CheckoutRefused(Exception):
    """The checkout must not go on, for `reason`."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


# What the decision depends on, at one moment.
QUOTE = """
SELECT invoice.id, customer.user_id, plan.code, customer.telegram_user_id, invoice.amount, invoice.currency,
       invoice.status, invoice.when_active, invoice.expires_at <= now, customer.blocked_at IS NOT NULL,
       plan.withdrawn_at IS NOT NULL,
       EXISTS (SELECT FROM entitlements_entitlement AS held
               WHERE held.customer_id = customer.id AND held.code = invoice.entitlement
                 AND (held.active_until IS NULL OR held.active_until > now)
                 AND NOT EXISTS (SELECT FROM payments_subscription AS lapsed  -- subscriptions.active_beyond_grace
                                 WHERE lapsed.customer_id = held.customer_id AND lapsed.entitlement = held.code
                                   AND lapsed.current_period_end <= now AND lapsed.grace_ends_at > now
                                   AND lapsed.grace_ends_at >= held.active_until))
FROM payments_invoice AS invoice
JOIN entitlements_customer AS customer ON customer.id = invoice.customer_id
JOIN payments_plan AS plan ON plan.code = invoice.plan_id
CROSS JOIN coalesce(%(at)s::timestamptz, statement_timestamp()) AS now
WHERE invoice.payload = %(payload)s::text
"""

# Keeps a decision, unless the query is decided already, and what is written beside it in any case.
KEEP = """
WITH decision AS (
    INSERT INTO payments_checkoutdecision (query_id, invoice_id, payer_telegram_id, ok, reason)
    VALUES (%(query_id)s::text, %(invoice_id)s::uuid, %(payer)s, %(ok)s::boolean, %(reason)s::text)
    ON CONFLICT (query_id) DO NOTHING
    RETURNING id
), effect AS (
    SELECT %(beside)s::json AS beside
), beside AS (
    {beside}
)
SELECT id FROM decision
"""


@dataclass(frozen=True, slots=True)
class Quoted:
    """An invoice at one moment, and what matters about its customer and plan. `active`: he has what it sells."""

    invoice_id: UUID
    user_id: str
    plan_code: str
    payer_telegram_id: int | None
    amount: int
    currency: str
    status: str
    when_active: str
    expired: bool
    blocked: bool
    withdrawn: bool
    active: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to one pre-checkout; `reason` is empty when it is ok."""

    query_id: str
    reason: str

    @property
    def ok(self) -> bool:
        return not self.reason


@retried
def decide_checkout(*, query: PreCheckout, beside: Beside) -> Decision:
    """Decide, and keep the decision with the answer. Asked twice about one query, the answer is the same.

    Two round trips, because a buyer waits. What is `beside` is written too, whether the query is known or not.
    """
    quoted = quoted_by(query.payload)
    reason = ""
    try:
        approve_checkout(query=query, quoted=quoted)
    except CheckoutRefused as refusal:
        reason = refusal.reason.value
    with connection.cursor() as cursor:
        cursor.execute(
            KEEP.format(beside=beside.sql),
            {
                "query_id": query.query_id,
                "invoice_id": quoted.invoice_id if quoted else None,
                "payer": Int8(query.payer_telegram_id),
                "ok": not reason,
                "reason": reason,
                "beside": json.dumps(beside.values),
            },
        )
        if cursor.fetchone() is None:
            reason = CheckoutDecision.objects.get(query_id=query.query_id).reason
    facts = {
        "ok": not reason,
        "reason": reason,
        "user_id": quoted.user_id if quoted else None,
        "plan_code": quoted.plan_code if quoted else None,
        "amount": query.amount,
        "currency": query.currency,
    }
    bind_contextvars(**facts)
    logger.info("checkout decided", **facts)
    return Decision(query.query_id, reason)


def validate_checkout(*, query: PreCheckout) -> None:
    """The same rules for a program that asks, without keeping a decision.

    :raises CheckoutRefused: with the reason
    """
    approve_checkout(query=query, quoted=quoted_by(query.payload))


def approve_checkout(*, query: PreCheckout, quoted: Quoted | None) -> None:
    """Let a checkout go on, or say why not.

    :raises CheckoutRefused: with the first reason that applies
    """
    if quoted is None:
        raise CheckoutRefused(Reason.UNKNOWN_PAYLOAD)
    if query.payer_telegram_id != quoted.payer_telegram_id:
        raise CheckoutRefused(Reason.FOREIGN_PAYER)
    if query.currency != quoted.currency:
        raise CheckoutRefused(Reason.CURRENCY_MISMATCH)
    if query.amount != quoted.amount:
        raise CheckoutRefused(Reason.AMOUNT_MISMATCH)
    if quoted.status == InvoiceStatus.PAID:
        raise CheckoutRefused(Reason.ALREADY_PAID)
    if quoted.expired or quoted.status == InvoiceStatus.VOID:
        raise CheckoutRefused(Reason.EXPIRED)
    if quoted.blocked:
        raise CheckoutRefused(Reason.CUSTOMER_BLOCKED)
    if not settings.TELEGRAM_PAYMENT_ENABLED:
        raise CheckoutRefused(Reason.PAYMENTS_DISABLED)
    if quoted.withdrawn:
        raise CheckoutRefused(Reason.PLAN_UNAVAILABLE)
    if quoted.when_active == WhenActive.REJECT and quoted.active:
        raise CheckoutRefused(Reason.ALREADY_ACTIVE)


def quoted_by(payload: str, *, at: datetime | None = None) -> Quoted | None:
    """The invoice with this payload, as it stands now, or stood with today's facts at another moment."""
    with connection.cursor() as cursor:
        cursor.execute(QUOTE, {"payload": payload, "at": at})
        row = cursor.fetchone()
    return Quoted(*row) if row else None
