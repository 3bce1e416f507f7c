"""What an event of Stripe makes happen. It only says what to look at: what is so is read from Stripe, and recorded.

So events may come twice, late, in any order or not at all: each brings the books to what Stripe has, and so does the
next one about the same thing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import structlog
from django.db import transaction
from structlog.contextvars import bind_contextvars

from config.database import database_now, retried
from entitlements.identities import customer_by_name
from payments import metrics, subscriptions
from payments.channels import stripe
from payments.models import (
    Dispute,
    EventType,
    Invoice,
    Origin,
    PaymentEvent,
    PaymentMethod,
    StripeEvent,
    Subscription,
    SubscriptionState,
)
from payments.recording import Outcome, ReceivedPayment, hold_unreadable, record_costs, record_payment
from payments.stripe import refunds
from payments.stripe.metrics import count_event

logger = structlog.get_logger(__name__)

Json = dict[str, Any]
NOT_OURS = "It is about nothing that we sold."
NOTHING_PAID = "Nothing of ours is paid by it, or not yet."


class NotOurs(Exception):
    """It is about something that others sold through the same account."""


class NothingPaid(Exception):
    """Something of ours, perhaps, but no money yet."""


def process(*, event_pk: int) -> None:
    """Make the next try of a stored event, if that is due. Repeating it, also at once, changes nothing. No transaction
    may be open.

    A failure is written down with the time of the next try, and raised for whoever runs this to see.
    """
    event = _take_up(event_pk)
    if event is None:
        return
    bind_contextvars(stripe_event=event.event_id, event_kind=event.kind)
    try:
        note = act(event.kind, json.loads(bytes(event.body))["data"]["object"])
    except Exception as error:
        with transaction.atomic():
            event.mark_failed(error=error, now=database_now())
        count_event(kind=event.kind, outcome=event.status if event.status != "pending" else "failed")
        raise
    event.mark_done(now=database_now(), note=note)
    count_event(kind=event.kind, outcome="done")


@retried
@transaction.atomic
def _take_up(pk: int) -> StripeEvent | None:
    return StripeEvent.objects.take_up(pk, now=database_now())


def act(kind: str, thing: Json) -> str:
    """Bring the books to what Stripe has about the thing. Returns why nothing came of it, if so.

    :raises payments.channels.base.ChannelError: Stripe does not say
    """
    look = LOOKS.get(kind)
    if look is None:
        return "Events of this type change nothing here."
    try:
        look(thing)
    except NotOurs:
        return NOT_OURS
    except NothingPaid:
        return NOTHING_PAID
    return ""


# --- Payments ---------------------------------------------------------------------------------------------------------


def look_at_session(session: Json) -> None:
    _record_or_say(stripe.purchase_on(session["id"]))


def look_at_invoice(invoice: Json) -> None:
    _record_or_say(stripe.purchase_by(invoice["id"]))


def _record_or_say(purchase: stripe.Purchase | None) -> None:
    if purchase is None:
        raise NothingPaid
    record(purchase)


def record(purchase: stripe.Purchase) -> PaymentEvent | None:
    """Record what Stripe took, with everything it entails; repeating it changes nothing."""
    quoted = Invoice.objects.filter(payload=purchase.payload).select_related("customer").first()
    if quoted is None and not purchase.user_id:
        hold_unreadable(evidence=purchase.raw, detail="Stripe says that it is for an invoice of ours, and not whose.")
        return None
    recorded = record_payment(
        ReceivedPayment(
            method=PaymentMethod.STRIPE,
            charge_id=purchase.payment_intent,
            money=purchase.money,
            occurred_at=purchase.paid_at,
            origin=Origin.WEBHOOK,
            raw=purchase.raw,
            payer=quoted.customer if quoted else customer_by_name(purchase.user_id),
            payload=purchase.payload,
            subscription=purchase.subscription,
            period_ends_at=purchase.period_ends_at,
            renewal=purchase.renewal,
            costs=purchase.costs,
        )
    )
    if recorded.outcome == Outcome.PROCESSED:
        metrics.observe_payment(seconds=(database_now() - purchase.paid_at).total_seconds())
    return recorded.event


# --- Subscriptions ----------------------------------------------------------------------------------------------------

STATES = {
    "active": SubscriptionState.ACTIVE,
    "trialing": SubscriptionState.ACTIVE,
    "past_due": SubscriptionState.FAILED,
    "unpaid": SubscriptionState.FAILED,
    "paused": SubscriptionState.FAILED,
    "canceled": SubscriptionState.CANCELED,  # what is paid for is still his; its end is noted when that is over
}
WORDS = {
    SubscriptionState.ACTIVE: "Stripe renews it.",
    SubscriptionState.FAILED: "The renewal was not paid; Stripe tries again.",
    SubscriptionState.CANCELED: "Stripe renews it no more.",
}


def look_at_subscription(told: Json) -> None:
    _bring_up_to_date(told["id"])


def look_at_failed_invoice(invoice: Json) -> None:
    """A renewal was not paid: how the subscription stands now."""
    subscription_id = stripe.subscription_of_invoice(invoice["id"])
    if subscription_id is None:
        raise NotOurs
    _bring_up_to_date(subscription_id)


def _bring_up_to_date(subscription_id: str) -> None:
    at = database_now()
    listed = stripe.subscription(subscription_id)
    if listed is None:
        raise NotOurs
    state = STATES.get(listed.status)
    if state is None:
        raise NothingPaid
    if state == SubscriptionState.ACTIVE and not listed.renews:
        state = SubscriptionState.CANCELED
    if not Subscription.objects.filter(payment_method=PaymentMethod.STRIPE, reference=subscription_id).exists():
        _record_or_say(stripe.purchase_by(listed.latest_invoice))  # its own event is late
    subscriptions.note_state_at_stripe(reference=subscription_id, state=state, at=at, why=WORDS[state])


# --- Fees, refunds and disputes ---------------------------------------------------------------------------------------


def look_at_moved_charge(charge: Json) -> None:
    """The money of a payment came into Stripe's balance, less the fee, perhaps some time after it was paid."""
    payment = _payment_behind(charge.get("payment_intent"))
    record_costs(payment, stripe.costs_of(payment.event_id), origin=Origin.WEBHOOK)


def look_at_charge(charge: Json) -> None:
    """A charge, a refund or whatever else names a payment intent: all that was given back of it."""
    payment = _payment_behind(charge.get("payment_intent"))
    refunds.bring_up_to_date(payment, origin=Origin.WEBHOOK)


def _payment_behind(payment_intent: str | None) -> PaymentEvent:
    """The payment in our books, recorded now if its own event is late.

    :raises NotOurs: it never was
    """
    if not payment_intent:
        raise NotOurs
    known = PaymentEvent.objects.filter(event_id=payment_intent, event_type=EventType.STRIPE_PAYMENT)
    payment = known.select_related("customer").first()
    if payment is not None:
        return payment
    purchase = stripe.purchase_behind(payment_intent)
    payment = record(purchase) if purchase else None
    if payment is None:
        raise NotOurs
    return payment


def look_at_dispute(told: Json) -> None:
    dispute = stripe.dispute(told["id"])
    payment = _payment_behind(dispute.payment_intent)
    _keep(dispute, payment)


@retried
@transaction.atomic
def _keep(told: stripe.ListedDispute, payment: PaymentEvent) -> Dispute:
    record_costs(payment, told.costs, origin=Origin.WEBHOOK)
    now = database_now()
    dispute, created = Dispute.objects.select_for_update(no_key=True).get_or_create(
        dispute_id=told.dispute_id,
        defaults={
            "payment": payment,
            "amount": told.amount,
            "currency": told.currency,
            "reason": told.reason,
            "status": told.status,
            "opened_at": told.opened_at,
            "evidence_due_at": told.evidence_due_at,
            "closed_at": now if told.is_over else None,
        },
    )
    if not created:
        dispute.amount, dispute.status, dispute.reason = told.amount, told.status, told.reason
        dispute.evidence_due_at, dispute.updated_at = told.evidence_due_at, now
        dispute.closed_at = (dispute.closed_at or now) if told.is_over else None
        dispute.save()
    logger.warning(
        "payment disputed",
        dispute_id=told.dispute_id,
        status=told.status,
        reason=told.reason,
        payment_id=str(payment.pk),
        user_id=payment.customer.user_id,
        plan_code=payment.plan_id,
        amount=told.amount,
        currency=told.currency,
    )
    return dispute


# --- Which event is about what ----------------------------------------------------------------------------------------

LOOKS: dict[str, Callable[[Json], None]] = {
    "checkout.session.completed": look_at_session,
    # Methods that take days, as debits: completed comes unpaid.
    "checkout.session.async_payment_succeeded": look_at_session,
    "invoice.paid": look_at_invoice,
    "invoice.payment_failed": look_at_failed_invoice,
    "customer.subscription.updated": look_at_subscription,
    "customer.subscription.deleted": look_at_subscription,
    "charge.updated": look_at_moved_charge,
    "charge.refunded": look_at_charge,
    "refund.updated": look_at_charge,
    "refund.failed": look_at_charge,
    "charge.dispute.created": look_at_dispute,
    "charge.dispute.updated": look_at_dispute,
    "charge.dispute.closed": look_at_dispute,
    "charge.dispute.funds_withdrawn": look_at_dispute,
    "charge.dispute.funds_reinstated": look_at_dispute,
}
