"""Pre-checkout: the last moment to say no without having taken money."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import structlog
from django.conf import settings
from django.db import transaction

from config.database import database_now, retried
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


@retried
@transaction.atomic
def decide_checkout(*, query: PreCheckout) -> CheckoutDecision:
    """Decide, and keep the decision with the answer. Asked twice about one query, the answer is the same."""
    known = CheckoutDecision.objects.filter(query_id=query.query_id).first()
    if known is not None:
        return known
    invoice = _invoice_of(query.payload)
    try:
        approve_checkout(query=query, invoice=invoice, now=database_now())
    except CheckoutRefused as refusal:
        reason = refusal.reason.value
    else:
        reason = ""
    decision, _ = CheckoutDecision.objects.get_or_create(
        query_id=query.query_id,
        defaults={
            "invoice": invoice,
            "payer_telegram_id": query.payer_telegram_id,
            "ok": reason == "",
            "reason": reason,
        },
    )
    logger.info(
        "checkout decided",
        ok=decision.ok,
        reason=decision.reason,
        user_id=invoice.customer.user_id if invoice else None,
        plan_code=invoice.plan_id if invoice else None,
        amount=query.amount,
        currency=query.currency,
    )
    return decision


def validate_checkout(*, query: PreCheckout) -> None:
    """The same rules for a program that asks, without keeping a decision.

    :raises CheckoutRefused: with the reason
    """
    approve_checkout(query=query, invoice=_invoice_of(query.payload), now=database_now())


def approve_checkout(*, query: PreCheckout, invoice: Invoice | None, now: datetime) -> None:
    """Let a checkout go on, or say why not.

    :raises CheckoutRefused: with the first reason that applies
    """
    if invoice is None:
        raise CheckoutRefused(Reason.UNKNOWN_PAYLOAD)
    if query.payer_telegram_id != invoice.customer.telegram_user_id:
        raise CheckoutRefused(Reason.FOREIGN_PAYER)
    if query.currency != invoice.currency:
        raise CheckoutRefused(Reason.CURRENCY_MISMATCH)
    if query.amount != invoice.amount:
        raise CheckoutRefused(Reason.AMOUNT_MISMATCH)
    if invoice.status == InvoiceStatus.PAID:
        raise CheckoutRefused(Reason.ALREADY_PAID)
    if invoice.expires_at <= now or invoice.status == InvoiceStatus.VOID:
        raise CheckoutRefused(Reason.EXPIRED)
    if invoice.customer.blocked_at is not None:
        raise CheckoutRefused(Reason.CUSTOMER_BLOCKED)
    if not settings.TELEGRAM_PAYMENT_ENABLED:
        raise CheckoutRefused(Reason.PAYMENTS_DISABLED)
    if invoice.plan.withdrawn_at is not None:
        raise CheckoutRefused(Reason.PLAN_UNAVAILABLE)
    if invoice.when_active == WhenActive.REJECT and _is_active(invoice, now):
        raise CheckoutRefused(Reason.ALREADY_ACTIVE)


def _invoice_of(payload: str) -> Invoice | None:
    return Invoice.objects.select_related("customer", "plan").filter(payload=payload).first()


def _is_active(invoice: Invoice, now: datetime) -> bool:
    return Entitlement.objects.active_at(now).filter(customer=invoice.customer_id, code=invoice.entitlement).exists()
