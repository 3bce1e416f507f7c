"""Stopping the renewals of a subscription, where that was asked for together with the refund of one of its payments.

It is a job of its own beside the refund's. Telegram takes the call any number of times, so whatever is not known to
have been done is done again, and nothing has to be read first.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from django.db import transaction

from config.database import database_now, retried
from payments import intents, subscriptions
from payments.channels import base as channel
from payments.channels import stripe, telegram
from payments.models import PaymentMethod, Refund
from payments.refunding import BATCH, LEASE, PATIENCE, log_of

# Each renewal costs the buyer money: however long Telegram is away, it is asked again within the hour.
PAUSES = (
    timedelta(seconds=15),
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=15),
    timedelta(hours=1),
)


def pursue(*, refund_id: UUID) -> None:
    """Have the channel stop the renewals, if that is due now. Repeating it, also at once, changes nothing. No
    transaction may be open.
    """
    refund = _take(refund_id)
    if refund is None:
        return
    payment, name = refund.payment, refund.payment.channel
    subscription = payment.subscription_payment.subscription
    try:
        if payment.payment_method == PaymentMethod.STRIPE:
            stripe.cancel_subscription(subscription.reference)
        else:
            telegram.cancel_subscription(payment.customer, first_charge=subscription.first_charge_id)
    except channel.NotRenewing:
        _mark_cancelled(refund)
    except channel.Refused as error:
        _mark_refused(refund, error.description or "no")
    except channel.Unavailable as error:
        _leave(refund, pause=timedelta(seconds=error.retry_after), detail=f"Not cancelled yet: {name} is {error}.")
    except channel.Unclear as error:
        _leave(refund, pause=timedelta(), detail=f"Sent, not confirmed yet: {error}.")
    else:
        _mark_cancelled(refund)


def sweep() -> int:
    """Hand to the workers what has been due for a while: the worker died, or its job was lost. Returns how many."""
    due = Refund.objects.to_cancel_at(database_now() - PATIENCE).order_by("cancel_next_attempt_at")
    overdue = list(due.values_list("pk", flat=True)[:BATCH])
    for refund_id in overdue:
        intents.schedule_cancellation(refund_id)
    return len(overdue)


@retried
@transaction.atomic
def _take(refund_id: UUID) -> Refund | None:
    """Lease it, if it is due and nobody else has it."""
    now = database_now()
    refund = Refund.objects.to_cancel_at(now).taken(refund_id)
    if refund is None:
        return None
    refund.cancel_attempts += 1
    refund.cancel_next_attempt_at = now + LEASE
    refund.save(update_fields=["cancel_attempts", "cancel_next_attempt_at"])
    return refund


@retried
@transaction.atomic
def _mark_cancelled(refund: Refund) -> None:
    subscription = refund.payment.subscription_payment.subscription
    subscriptions.note_stopped(subscription, why=f"Cancelled with a refund: {refund.reason}")
    if _change(refund, subscription_cancelled_at=database_now(), cancel_next_attempt_at=None, cancel_detail=""):
        log_of(refund).info("subscription cancelled")


def _mark_refused(refund: Refund, words: str) -> None:
    if _change(
        refund, cancel_refusal=words, cancel_refused_at=database_now(), cancel_next_attempt_at=None, cancel_detail=""
    ):
        log_of(refund).error("subscription not cancelled", why=words)


@retried
@transaction.atomic
def _leave(refund: Refund, *, pause: timedelta, detail: str) -> None:
    """Write down how it stands and when it is tried again, with the job that does it.

    :param pause: the least that Telegram asked for
    """
    at = database_now() + max(pause, PAUSES[min(refund.cancel_attempts, len(PAUSES)) - 1])
    if _change(refund, cancel_next_attempt_at=at, cancel_detail=detail):
        intents.schedule_cancellation(refund.pk, at=at)
        log_of(refund).warning("subscription not cancelled yet", detail=detail, next_attempt_at=at.isoformat())


def _change(refund: Refund, **changes: object) -> bool:
    """Change the refund if it is still as it was leased; a lease that ran out may be another's now."""
    leased = Refund.objects.filter(pk=refund.pk, cancel_next_attempt_at=refund.cancel_next_attempt_at)
    return leased.update(**changes) == 1
