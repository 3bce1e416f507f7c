"""What staff have Telegram told of a subscription: to renew it no more, or to let the customer renew it again.

Telegram takes the call any number of times, so whatever is not known to have been done is done again.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from django.db import transaction
from procrastinate.contrib.django import app

from config.database import database_now, retried
from entitlements import audit
from entitlements.models import Customer
from payments import subscriptions
from payments.cancelling import PAUSES
from payments.channels import base as channel
from payments.channels import stripe, telegram
from payments.models import Order, PaymentMethod, Subscription, SubscriptionOrder, SubscriptionState
from payments.refunding import BATCH, LEASE, PATIENCE

if TYPE_CHECKING:
    from django.contrib.auth.models import User

PERMISSION = "payments.edit_subscription"
DEEDS = {Order.CANCEL: "cancelled a subscription", Order.ALLOW: "allowed a subscription again"}


class OrderError(Exception):
    """Nothing is ordered; the message says why, fit for staff."""


# --- Ordered ------------------------------------------------------------------------------------------------------


@retried
@transaction.atomic
def order_by_staff(*, subscription: Subscription, what: Order, staff: User, reason: str) -> SubscriptionOrder:
    """Have Telegram stop the renewals, or allow them again; a worker does it.

    :raises PermissionDenied: this person may not
    :raises audit.ReasonMissing: no reason is given
    :raises OrderError: it would change nothing, or is not ours to change
    """
    reason = audit.authorised(staff=staff, permission=PERMISSION, reason=reason)
    Customer.objects.locked().get(pk=subscription.customer_id)
    subscription = Subscription.objects.select_related("customer").get(pk=subscription.pk)
    if refusal := why_not(subscription, what):
        raise OrderError(refusal)
    order = SubscriptionOrder.objects.create(
        subscription=subscription,
        what=what,
        reason=reason,
        ordered_by=audit.name_of(staff),
        next_attempt_at=database_now(),
    )
    _schedule(order.pk)
    audit.record(
        staff=staff,
        what=DEEDS[what],
        subject=order,
        reason=reason,
        after={"subscription": str(subscription.pk), "plan": subscription.plan_id},
        customer=subscription.customer,
    )
    return order


def why_not(subscription: Subscription, what: Order) -> str:
    """Why it cannot be ordered now, in words fit for staff; empty as long as it can."""
    if subscription.payment_method == PaymentMethod.STRIPE:
        if not stripe.is_set_up():
            return "Without STRIPE_SECRET_KEY it is cancelled in Stripe's dashboard alone."
        if what == Order.ALLOW:
            return "The customer renews it in Stripe's portal, which /status leads to."
    elif subscription.payment_method != PaymentMethod.TELEGRAM_STARS or subscription.customer.telegram_user_id is None:
        return "Only a subscription in Stars, of a known Telegram account, is cancelled and allowed from here."
    if subscription.state == SubscriptionState.ENDED:
        return "It has ended. A new one is bought with /buy."
    if order := subscription.orders.open().first():
        by = audit.known_as(order.ordered_by)
        return (
            f"{by} asked {subscription.channel} on {order.created_at:%Y-%m-%d %H:%M} UTC, which has not answered yet."
        )
    if what == Order.CANCEL and subscription.stopped_at:
        return f"It was stopped on {subscription.stopped_at:%Y-%m-%d %H:%M} UTC already."
    if what == Order.ALLOW and not subscription.stopped_at:
        return "The customer may renew it by himself: nobody of us has stopped it."
    return ""


# --- Carried out --------------------------------------------------------------------------------------------------


def pursue(*, order_id: UUID) -> None:
    """Have Telegram do it, if that is due now. Repeating it, also at once, changes nothing.

    No transaction may be open.
    """
    order = _take(order_id)
    if order is None:
        return
    try:
        _call(order)
    except channel.NotRenewing as error:
        if order.what == Order.CANCEL:
            _settle(order)
        else:
            _refuse(order, error.description)
    except channel.Refused as error:
        _refuse(order, error.description or "no")
    except channel.Unavailable as error:
        _leave(
            order,
            pause=timedelta(seconds=error.retry_after),
            detail=f"Not done yet: {order.subscription.channel} is {error}.",
        )
    except channel.Unclear as error:
        _leave(order, pause=timedelta(), detail=f"Sent, not confirmed yet: {error}.")
    else:
        _settle(order)


def _call(order: SubscriptionOrder) -> None:
    if order.subscription.payment_method == PaymentMethod.STRIPE:
        stripe.cancel_subscription(order.subscription.reference)
        return
    change = telegram.cancel_subscription if order.what == Order.CANCEL else telegram.allow_subscription
    change(order.subscription.customer, first_charge=order.subscription.first_charge_id)


def sweep() -> int:
    """Hand to the workers what has been due for a while: the worker died, or its job was lost. Returns how many."""
    due = SubscriptionOrder.objects.due_at(database_now() - PATIENCE).order_by("next_attempt_at")
    overdue = list(due.values_list("pk", flat=True)[:BATCH])
    for order_id in overdue:
        _schedule(order_id)
    return len(overdue)


@retried
@transaction.atomic
def _take(order_id: UUID) -> SubscriptionOrder | None:
    """Lease it, if it is due and nobody else has it."""
    now = database_now()
    order = SubscriptionOrder.objects.due_at(now).taken(order_id)
    if order is None:
        return None
    order.attempts += 1
    order.next_attempt_at = now + LEASE
    order.save(update_fields=["attempts", "next_attempt_at"])
    return order


@retried
@transaction.atomic
def _settle(order: SubscriptionOrder) -> None:
    by = audit.known_as(order.ordered_by)
    if order.what == Order.CANCEL:
        subscriptions.note_stopped(order.subscription, why=f"{by} of the staff cancelled it: {order.reason}")
    else:
        subscriptions.note_allowed(order.subscription, why=f"{by} of the staff allowed it again: {order.reason}")
    _change(order, next_attempt_at=None, done_at=database_now(), detail="")


@retried
@transaction.atomic
def _refuse(order: SubscriptionOrder, words: str) -> None:
    if _change(
        order,
        next_attempt_at=None,
        refused_at=database_now(),
        detail=f"{order.subscription.channel} refused it: {words}.",
    ):
        subscriptions.log_of(order.subscription).error("order refused", order=str(order.what), why=words)


@retried
@transaction.atomic
def _leave(order: SubscriptionOrder, *, pause: timedelta, detail: str) -> None:
    """Write down how it stands and when it is tried again, with the job that does it.

    :param pause: the least that Telegram asked for
    """
    at = database_now() + max(pause, PAUSES[min(order.attempts, len(PAUSES)) - 1])
    if _change(order, next_attempt_at=at, detail=detail):
        _schedule(order.pk, at=at)


def _change(order: SubscriptionOrder, **changes: object) -> bool:
    """Change the order if it is still as it was leased; a lease that ran out may be another's now."""
    leased = SubscriptionOrder.objects.filter(pk=order.pk, next_attempt_at=order.next_attempt_at)
    return leased.update(**changes) == 1


def _schedule(order_id: UUID, *, at: datetime | None = None) -> None:
    """Have a worker look at it then, or at once, if the open transaction commits."""
    task = app.configure_task("payments.tasks.tell_of_subscription", queue="refunds", schedule_at=at)
    task.defer(order_id=str(order_id))
