"""Payments given back by Stripe, whole or in parts: what Stripe has of them is brought into the books.

The intent, the call and its confirmation are those of payments.refunding; here is what differs. A part has Stripe's id
of its own, may wait for a bank, and may come back after it had succeeded.
"""

from __future__ import annotations

from uuid import UUID

from payments.channels import stripe
from payments.models import Origin, PaymentEvent, PaymentMethod, Refund
from payments.recording import FailedRefund, ReceivedRefund, record_costs, record_failed_refund, record_refund

SUCCEEDED, FAILED = "succeeded", ("failed", "canceled")


def bring_up_to_date(payment: PaymentEvent, *, origin: Origin) -> list[stripe.ListedRefund]:
    """Record what Stripe has given back of a payment, and what of that came back; repeating it changes nothing.
    No transaction may be open.

    :raises payments.channels.base.ChannelError: Stripe does not say
    """
    listed = stripe.refunds_of(payment.event_id)
    for refund in listed:
        record(refund, payment, origin=origin)
    return listed


def record(refund: stripe.ListedRefund, payment: PaymentEvent, *, origin: Origin, reason: str = "") -> None:
    """Record one refund as it stands; what waits for a bank is not money yet."""
    if refund.status == SUCCEEDED:
        record_refund(
            ReceivedRefund(
                method=PaymentMethod.STRIPE,
                charge_id=payment.event_id,
                money=refund.money,
                occurred_at=refund.made_at,
                origin=origin,
                raw=refund.raw,
                payer=payment.customer,
                payload=payment.reference,
                reason=reason or _asked_because(refund.intent) or "refunded by Stripe",
                refund_id=refund.refund_id,
                intent=refund.intent,
                costs=refund.costs,
            )
        )
    elif refund.status in FAILED:
        record_failed_refund(
            FailedRefund(
                refund_id=refund.refund_id,
                occurred_at=refund.made_at,
                origin=origin,
                raw=refund.raw,
                reason=refund.why,
            )
        )
        record_costs(payment, refund.costs, origin=origin)


def _asked_because(intent: UUID | None) -> str:
    """The reason of who asked us for it; empty when nobody did."""
    return Refund.objects.filter(pk=intent).values_list("reason", flat=True).first() or "" if intent else ""
