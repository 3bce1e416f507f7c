"""The intent to give a payment back, written in the same transaction as the job that will act upon it."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db.models.functions import Now
from procrastinate.contrib.django import app

from payments.channels import stripe
from payments.models import PaymentEvent, PaymentMethod, Refund, RefundStatus

SYSTEM = "system"


def can_be_returned_by_call(payment: PaymentEvent) -> bool:
    """Stars go back to the Telegram account that paid them, and what was paid by Stripe to the card, as long as we have
    the key; other methods are refunded at their providers.
    """
    if payment.payment_method == PaymentMethod.STRIPE:
        return stripe.is_set_up()
    return payment.payment_method == PaymentMethod.TELEGRAM_STARS and payment.customer.telegram_user_id is not None


def open_intent(
    *,
    payment: PaymentEvent,
    reason: str,
    requested_by: str,
    amount: int | None = None,
    cancel_subscription: bool = False,
) -> Refund:
    """Write the intent; the caller holds the customer's lock and knows that none is open and nothing was refunded.

    :param amount: how much of it, in the smallest unit; None: all of it
    """
    refund = Refund.objects.create(
        payment=payment,
        amount=amount,
        reason=reason,
        requested_by=requested_by,
        cancel_subscription=cancel_subscription,
        cancel_next_attempt_at=Now() if cancel_subscription else None,
    )
    schedule_all(refund)
    return refund


def propose_intent(
    *,
    payment: PaymentEvent,
    reason: str,
    requested_by: str,
    amount: int | None = None,
    cancel_subscription: bool = False,
) -> Refund:
    """The same of an intent that nobody acts upon before a second person has approved it."""
    return Refund.objects.create(
        payment=payment,
        amount=amount,
        reason=reason,
        requested_by=requested_by,
        status=RefundStatus.PROPOSED,
        detail="It waits for a second person, who approves it or declines.",
        cancel_subscription=cancel_subscription,
        cancel_next_attempt_at=Now() if cancel_subscription else None,
    )


def schedule_all(refund: Refund) -> None:
    """Have workers do all that was asked for, at once, if the open transaction commits."""
    schedule(refund.pk)
    if refund.cancel_subscription:
        schedule_cancellation(refund.pk)


def schedule(refund_id: UUID, *, at: datetime | None = None) -> None:
    """Have a worker look at it then, or at once, if the open transaction commits."""
    # By its name: the task knows payments.refunding, which knows payments.recording, which opens intents itself.
    task = app.configure_task("payments.tasks.pursue_refund", queue="refunds", schedule_at=at)
    task.defer(refund_id=str(refund_id))


def schedule_cancellation(refund_id: UUID, *, at: datetime | None = None) -> None:
    """Have a worker cancel the subscription then, or at once, if the open transaction commits."""
    task = app.configure_task("payments.tasks.cancel_subscription", queue="refunds", schedule_at=at)
    task.defer(refund_id=str(refund_id))
