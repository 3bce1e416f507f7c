"""Plans, invoices and payments as answers."""

from __future__ import annotations

from typing import Any

from config.api.formats import rfc3339, rfc3339_or_null
from payments.currencies import Table
from payments.invoicing import Delivery, offered_prices
from payments.models import Invoice, PaymentEvent, Plan, Refund, RefundStatus
from payments.revenue import Revenue
from payments.selectors import status_of


def plan_row(plan: Plan, table: Table) -> dict[str, Any]:
    """A plan of the catalogue, with its prices as far as Telegram's providers take them."""
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
            for price in offered_prices(plan, table=table)
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


# What staff decide among themselves; `detail` says it.
FOR_PROGRAMS: dict[str, str] = {
    RefundStatus.PROPOSED: RefundStatus.REQUESTED.value,
    RefundStatus.DECLINED: RefundStatus.REFUSED.value,
}


def intent_row(refund: Refund) -> dict[str, Any]:
    return {
        "refund_id": str(refund.pk),
        "payment_id": str(refund.payment_id),
        "status": FOR_PROGRAMS.get(refund.status, refund.status),
        "reason": refund.reason,
        "detail": refund.detail,
        "confirmed_at": rfc3339_or_null(refund.confirmed_at),
    }


def revenue_row(revenue: Revenue) -> dict[str, Any]:
    """What was asked to be told apart, then the figures; null is the plan of payments without one."""
    return {
        **{group.value: str(value) or None for group, value in revenue.by.items()},
        "gross": revenue.gross,
        "refunded": revenue.refunded,
        "net": revenue.net,
        "disputed": revenue.disputed,
        "fees": revenue.fees,
        "proceeds": revenue.proceeds,
        "payments": revenue.payments,
        "refunds": revenue.refunds,
    }
