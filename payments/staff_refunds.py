"""Refunds that staff ask for: with a permission, a reason, and an audit entry beside the intent.

Above a limit the intent waits for a second person, who approves it or declines.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, cast

import structlog
from django.conf import settings
from django.db import OperationalError, transaction
from django.db.models.functions import Now

from config.database import database_now, retried
from entitlements import audit
from entitlements.models import Customer
from entitlements.selectors import Loss, losses
from payments import intents, refunding, subscriptions
from payments.models import EventType, Origin, PaymentEvent, PaymentMethod, Refund, RefundStatus
from payments.money import Money
from payments.recording import ReceivedRefund, record_refund

if TYPE_CHECKING:
    from django.contrib.auth.models import User

logger = structlog.get_logger(__name__)

PERMISSION = "payments.request_refund"
ASKED, APPROVED, DECLINED = "asked for a refund", "approved a refund", "declined a refund"
RECORDED = "recorded a refund made at the provider"
MOST_AT_ONCE = 20


class TooMany(Exception):
    """More payments are chosen than a person reads through."""

    def __init__(self) -> None:
        super().__init__(f"Choose at most {MOST_AT_ONCE} payments at once. Nothing was done.")


class ImpossibleDay(Exception):
    """It cannot have been given back on that day."""

    def __init__(self, payment: PaymentEvent) -> None:
        super().__init__(f"It was paid on {payment.occurred_at:%Y-%m-%d}, and is given back on that day or later.")


class DecisionError(Exception):
    """The refund cannot be approved or declined; the message says why, fit for staff."""


class AlreadyDecided(DecisionError):
    """It waits for nobody: somebody was first, it needed no second person, or it was given back meanwhile."""

    def __init__(self, refund: Refund) -> None:
        words = "It waits for nobody's decision"
        if refund.decided_at:
            what, who = ("approved", refund.approved_by) if refund.approved_by else ("declined", refund.declined_by)
            words = f"{audit.known_as(who)} {what} it on {refund.decided_at:%Y-%m-%d %H:%M} UTC"
        super().__init__(f"{words}. It is {refund.get_status_display()}.")


class OwnRefund(DecisionError):
    """Who asked for it wants to approve it."""

    def __init__(self) -> None:
        super().__init__("You asked for this refund yourself: a second person has to approve it. You may decline it.")


@retried
@transaction.atomic
def refund_by_staff(
    *, payment: PaymentEvent, staff: User, reason: str, amount: int | None = None, cancel_subscription: bool = False
) -> Refund:
    """Have a payment given back. Asking again is refused, saying who asked.

    Above REFUND_APPROVAL_ABOVE it is only proposed.

    :param amount: in the smallest unit, where parts can be given back; by default all that is left
    :param cancel_subscription: with the refund, have the channel stop the renewals of the payment's subscription
    :raises PermissionDenied: this person may not
    :raises audit.ReasonMissing: no reason is given
    :raises refunding.RefundingError: a subclass for each reason; `in_words` tells it
    """
    reason = audit.authorised(staff=staff, permission=PERMISSION, reason=reason)
    refund = refunding.request_refund(
        payment_id=payment.pk,
        reason=reason,
        requested_by=audit.name_of(staff),
        amount=amount,
        approval_above=settings.REFUND_APPROVAL_ABOVE,
        cancel_subscription=cancel_subscription,
    )
    audit.record(
        staff=staff,
        what=ASKED,
        subject=refund,
        reason=reason,
        after={
            "status": refund.status,
            "payment": str(payment.pk),
            "money": str(refund.money),
            "cancel_subscription": cancel_subscription,
        },
        customer=payment.customer,
    )
    return refund


@retried
@transaction.atomic
def record_refund_made_elsewhere(
    *, payment: PaymentEvent, staff: User, reason: str, reference: str, refunded_on: date, amount: int | None = None
) -> PaymentEvent:
    """Record what somebody gave back at the provider, with all that a refund entails, and return the refund.

    :param reference: the provider's own name of the refund
    :param refunded_on: by the UTC calendar
    :param amount: in the currency's smallest unit; by default all that is left
    :raises PermissionDenied: this person may not
    :raises audit.ReasonMissing: no reason is given
    :raises ImpossibleDay: it was paid later, or the day has not come yet
    :raises refunding.RefundingError: it was given back already, is a refund itself, can be given back from here, or is
        more than is left
    """
    reason = audit.authorised(staff=staff, permission=PERMISSION, reason=reason)
    Customer.objects.locked().get(pk=payment.customer_id)
    if not can_be_recorded(payment):
        raise (
            refunding.already_refunded(payment)
            if payment.refunds.exists() and not payment.left
            else refunding.NotRefundable("Only what the provider alone can give back is recorded so.")
        )
    if not payment.occurred_at.date() <= refunded_on <= database_now().date():
        raise ImpossibleDay(payment)
    part = _part_made_elsewhere(payment, amount, reference)
    told = {"recorded_by": audit.name_of(staff), "reference": reference, "refunded_on": refunded_on.isoformat()}
    if part:
        told["money"] = str(part)
    recorded = record_refund(
        ReceivedRefund(
            method=PaymentMethod(payment.payment_method),
            charge_id=payment.event_id,
            money=part or payment.money,
            occurred_at=datetime.combine(refunded_on, time(), UTC),
            origin=Origin.STAFF,
            raw=json.dumps(told).encode(),
            payer=payment.customer,
            payload=payment.reference,
            reason=reason,
            refund_id=reference if part else "",
        )
    )
    refund = cast(PaymentEvent, recorded.event)  # of a known payment, by its payer and of no more than is left
    audit.record(
        staff=staff,
        what=RECORDED,
        subject=refund,
        reason=reason,
        after=told,
        customer=payment.customer,
    )
    return refund


def _part_made_elsewhere(payment: PaymentEvent, amount: int | None, reference: str) -> Money | None:
    """The part of the payment that was given back, which goes by the provider's name of it; None where it is the whole.

    :raises refunding.NotRefundable: it is more than is left, is known by that name, or has no parts
    """
    left = payment.left
    part = Money(amount or left, payment.currency)
    if part.amount > left:
        raise refunding.NotRefundable(f"Of {payment.money} no more than {Money(left, payment.currency)} is left.")
    if part == payment.money:
        return None
    if payment.payment_method == PaymentMethod.TELEGRAM_STARS:
        raise refunding.NotRefundable("Stars are given back whole or not at all.")
    refund_type = EventType.refund_by(PaymentMethod(payment.payment_method))
    if PaymentEvent.objects.filter(event_id=reference, event_type=refund_type).exists():
        raise refunding.NotRefundable(f"A refund that the provider calls {reference} is recorded already.")
    return part


def can_be_recorded(payment: PaymentEvent) -> bool:
    """Whether it is a payment that only its provider can give back, and of which something is left."""
    return payment.refund_of_id is None and not intents.can_be_returned_by_call(payment) and payment.left > 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one of several: it was asked for, or else why not."""

    payment: PaymentEvent
    refund: Refund | None
    why_not: str = ""


def refund_each_by_staff(
    *, payments: Sequence[PaymentEvent], staff: User, reason: str, cancel_subscriptions: bool = False
) -> list[Answer]:
    """Have each of the payments given back, each in a transaction of its own: what cannot be stops none of the others.

    :param payments: at most MOST_AT_ONCE
    :param cancel_subscriptions: of those that belong to one
    :raises PermissionDenied: this person may not
    :raises audit.ReasonMissing: no reason is given
    :raises TooMany: they are more
    """
    if len(payments) > MOST_AT_ONCE:
        raise TooMany
    answers = []
    for payment in payments:
        try:
            refund = refund_by_staff(
                payment=payment,
                staff=staff,
                reason=reason,
                cancel_subscription=cancel_subscriptions and subscriptions.is_of_subscription(payment),
            )
            answers.append(Answer(payment, refund))
        except refunding.RefundingError as refusal:
            answers.append(Answer(payment, None, in_words(refusal)))
        except OperationalError:
            logger.exception("refund not asked for", payment_id=str(payment.pk))
            answers.append(Answer(payment, None, "The database was too busy with it. Nothing was done: ask again."))
    return answers


@retried
@transaction.atomic
def approve_refund(*, refund: Refund, staff: User, reason: str) -> Refund:
    """As the second person, have it done: a worker does it from now on.

    :raises PermissionDenied: this person may not
    :raises audit.ReasonMissing: no reason is given
    :raises DecisionError: a subclass for each reason
    """
    reason = audit.authorised(staff=staff, permission=PERMISSION, reason=reason)
    if refund.requested_by == audit.name_of(staff):
        raise OwnRefund
    _decide(
        refund,
        status=RefundStatus.REQUESTED,
        approved_by=audit.name_of(staff),
        detail=f"Approved: {reason}",
        next_attempt_at=Now(),
    )
    intents.schedule_all(refund)
    _record(refund, staff=staff, what=APPROVED, reason=reason)
    return refund


@retried
@transaction.atomic
def decline_refund(*, refund: Refund, staff: User, reason: str) -> Refund:
    """Leave the payment as it is; it may be asked for again. Who asked for the refund may do that as well.

    :raises PermissionDenied: this person may not
    :raises audit.ReasonMissing: no reason is given
    :raises AlreadyDecided: it waits for nobody
    """
    reason = audit.authorised(staff=staff, permission=PERMISSION, reason=reason)
    _decide(
        refund, status=RefundStatus.DECLINED, declined_by=audit.name_of(staff), detail=f"Declined by staff: {reason}"
    )
    _record(refund, staff=staff, what=DECLINED, reason=reason)
    return refund


def _decide(refund: Refund, **changes: object) -> None:
    """Once: the condition is judged on the row as it is now, behind the customer's lock."""
    Customer.objects.locked().get(pk=refund.payment.customer_id)
    done = Refund.objects.proposed().filter(pk=refund.pk).update(decided_at=Now(), **changes)
    refund.refresh_from_db()
    if not done:
        raise AlreadyDecided(refund)


def _record(refund: Refund, *, staff: User, what: str, reason: str) -> None:
    audit.record(
        staff=staff,
        what=what,
        subject=refund,
        reason=reason,
        before={"status": RefundStatus.PROPOSED},
        after={"status": refund.status},
        customer=refund.payment.customer,
    )


# --- In words fit for staff -----------------------------------------------------------------------------------------


def why_not(payment: PaymentEvent) -> str:
    """Why it cannot be given back from here, and what to do instead; empty as long as it can."""
    try:
        refunding.refundable(payment.pk)
    except refunding.RefundingError as refusal:
        return in_words(refusal)
    return ""


def in_words(refusal: refunding.RefundingError) -> str:
    match refusal:
        case refunding.RefundPending():
            return f"{_asked(refusal.asked)}, and that refund is still open."
        case refunding.AlreadyRefunded(asked=None):
            return f"It was given back on {_day_and_time(refusal)}, without being asked for here."
        case refunding.AlreadyRefunded(asked=refunding.Asked() as asked):
            return f"It was given back on {_day_and_time(refusal)}. {_asked(asked)}."
        case refunding.NotRefundable():
            return str(refusal)
        case _:
            return "This is a refund, not a payment."


def _day_and_time(refusal: refunding.AlreadyRefunded) -> str:
    return f"{refusal.refunded_at:%Y-%m-%d %H:%M} UTC"


def _asked(asked: refunding.Asked) -> str:
    return f"{audit.known_as(asked.by)} asked for a refund on {asked.at:%Y-%m-%d %H:%M} UTC"


@dataclass(frozen=True, slots=True)
class Preview:
    """What the refund of a payment would do, a sentence for each entitlement, or else why there is none."""

    payment: PaymentEvent
    taken_back: list[str]
    why_not: str
    of_subscription: bool


def previews(payments: Iterable[PaymentEvent]) -> list[Preview]:
    """Of each, after those before it."""
    gone: set[str] = set()
    found = []
    for payment in payments:
        of_subscription = subscriptions.is_of_subscription(payment)
        found.append(Preview(payment, taken_back(payment, gone=gone), why_not(payment), of_subscription))
        if not found[-1].why_not:
            gone.add(payment.source)
    return found


def taken_back(payment: PaymentEvent, *, gone: Collection[str] = ()) -> list[str]:
    """What the customer loses by the refund, a sentence for each entitlement.

    :param gone: sources of payments that will have been given back before
    """
    return [_loss(each) for each in losses(payment.customer, payment.source, gone=gone)] or ["No access changes."]


def _loss(loss: Loss) -> str:
    if not loss.after.active_at(loss.now):
        return f"Access to {loss.code} ends now."
    assert loss.after.ends_at is not None  # noqa: S101 - an end for life is not earlier than any other
    days = "%-d %b %Y"
    if loss.before.ends_at is None:
        return f"Access to {loss.code} ends {loss.after.ends_at:{days}} instead of lasting for life."
    if loss.before.ends_at.date() == loss.after.ends_at.date():
        days += ", %H:%M UTC"
    return f"Access to {loss.code} ends {loss.after.ends_at:{days}} instead of {loss.before.ends_at:{days}}."
