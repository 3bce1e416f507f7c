"""Plans, invoices and payments as answers."""

from __future__ import annotations

from typing import Any

from config.api.formats import rfc3339, rfc3339_or_null
from payments.invoicing import Delivery, offered_prices
from payments.models import Invoice, PaymentEvent, Plan
from payments.selectors import status_of


def plan_row(plan: Plan) -> dict[str, Any]:
    return {
        "plan_code": plan.code,
        "title": plan.title,
        "description": plan.description,
        "entitlement": plan.entitlement,
        "features": plan.features,
        "duration_days": plan.duration_days,
        "recurring": plan.recurring,
        "prices": [
            {"amount": price.amount, "currency": price.currency, "payment_method": price.payment_method}
            for price in offered_prices(plan)
        ],
    }


def sent_invoice(invoice: Invoice, delivery: Delivery) -> dict[str, Any]:
    return {
        "invoice_id": str(invoice.pk),
        "plan_code": invoice.plan_id,
        "amount": invoice.amount,
        "currency": invoice.currency,
        "payment_method": invoice.payment_method,
        "delivery": delivery.value,
        "invoice_link": invoice.link or None,
        "message_id": invoice.message_id,
        "expires_at": rfc3339(invoice.expires_at),
    }


def payment_row(payment: PaymentEvent) -> dict[str, Any]:
    """For a payment as payments.selectors return it."""
    return {
        "payment_id": str(payment.pk),
        "event_type": payment.event_type,
        "plan_code": payment.plan_id,
        "amount": payment.amount,
        "currency": payment.currency,
        "payment_method": payment.payment_method,
        "status": status_of(payment).value,
        "occurred_at": rfc3339(payment.occurred_at),
        "refunded_at": rfc3339_or_null(getattr(payment, "refunded_at")),  # noqa: B009 - an annotation of the query
    }


def refund_row(refund: PaymentEvent) -> dict[str, Any]:
    return {
        "event_type": refund.event_type,
        "amount": refund.amount,
        "currency": refund.currency,
        "occurred_at": rfc3339(refund.occurred_at),
    }
