"""Pre-checkout: the last moment to say no without having taken money."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import structlog
from django.conf import settings
from django.db import connection
from django.db.models import Exists, OuterRef
from django.db.models.functions import Now
from psycopg.types.numeric import Int8

from config.database import Beside, retried
from entitlements.models import Entitlement
from payments.models import CheckoutDecision, Invoice, InvoiceStatus, WhenActive

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


# Keeps a decision, unless the query is decided already, and what is written beside it in any case.
KEEP = """
WITH decision AS (
    INSERT INTO payments_checkoutdecision (query_id, invoice_id, payer_telegram_id, ok, reason)
    VALUES (%(query_id)s::text, %(invoice_id)s::uuid, %(payer)s, %(ok)s::boolean, %(reason)s::text)
    ON CONFLICT (query_id) DO NOTHING
    RETURNING id
), done AS (
    SELECT 1
), beside AS (
    {beside}
)
SELECT id FROM decision
"""


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

    Two round trips, because a buyer waits. `beside` selects `FROM done`: it is written too.
    """
    quoted = _quoted(query.payload)
    invoice = quoted.invoice if quoted else None
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
                "invoice_id": invoice.pk if invoice else None,
                "payer": Int8(query.payer_telegram_id),
                "ok": not reason,
                "reason": reason,
                **beside.params,
            },
        )
        if cursor.fetchone() is None:
            reason = CheckoutDecision.objects.get(query_id=query.query_id).reason
    logger.info(
        "checkout decided",
        ok=not reason,
        reason=reason,
        user_id=invoice.customer.user_id if invoice else None,
        plan_code=invoice.plan_id if invoice else None,
        amount=query.amount,
        currency=query.currency,
    )
    return Decision(query.query_id, reason)


def validate_checkout(*, query: PreCheckout) -> None:
    """The same rules for a program that asks, without keeping a decision.

    :raises CheckoutRefused: with the reason
    """
    approve_checkout(query=query, quoted=_quoted(query.payload))


@dataclass(frozen=True, slots=True)
class Quoted:
    """An invoice at one moment, and whether its customer has then what it sells."""

    invoice: Invoice
    now: datetime
    active: bool


def approve_checkout(*, query: PreCheckout, quoted: Quoted | None) -> None:
    """Let a checkout go on, or say why not.

    :raises CheckoutRefused: with the first reason that applies
    """
    if quoted is None:
        raise CheckoutRefused(Reason.UNKNOWN_PAYLOAD)
    invoice = quoted.invoice
    if query.payer_telegram_id != invoice.customer.telegram_user_id:
        raise CheckoutRefused(Reason.FOREIGN_PAYER)
    if query.currency != invoice.currency:
        raise CheckoutRefused(Reason.CURRENCY_MISMATCH)
    if query.amount != invoice.amount:
        raise CheckoutRefused(Reason.AMOUNT_MISMATCH)
    if invoice.status == InvoiceStatus.PAID:
        raise CheckoutRefused(Reason.ALREADY_PAID)
    if invoice.expires_at <= quoted.now or invoice.status == InvoiceStatus.VOID:
        raise CheckoutRefused(Reason.EXPIRED)
    if invoice.customer.blocked_at is not None:
        raise CheckoutRefused(Reason.CUSTOMER_BLOCKED)
    if not settings.TELEGRAM_PAYMENT_ENABLED:
        raise CheckoutRefused(Reason.PAYMENTS_DISABLED)
    if invoice.plan.withdrawn_at is not None:
        raise CheckoutRefused(Reason.PLAN_UNAVAILABLE)
    if invoice.when_active == WhenActive.REJECT and quoted.active:
        raise CheckoutRefused(Reason.ALREADY_ACTIVE)


def _quoted(payload: str) -> Quoted | None:
    """By one query: the invoice, its customer and plan, the database's clock, and whether access is active."""
    same = Entitlement.objects.filter(customer=OuterRef("customer"), code=OuterRef("entitlement"))
    found: Iterable[Any] = (  # invoices with two more attributes
        Invoice.objects.filter(payload=payload)
        .select_related("customer", "plan")
        .annotate(now=Now(), active=Exists(same.active_at(Now())))
    )
    return next((Quoted(invoice, invoice.now, invoice.active) for invoice in found), None)
