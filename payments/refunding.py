"""Giving money back so that it survives a dying process: an intent is committed, then the call made, then confirmed.

What became of a call whose answer was lost is never guessed: the channel's own list is read, and only what is missing
there twice, a minute apart, is sent again; to Stripe under the same idempotency key. Whoever else brings the news of
the refund closes the intent as well (payments.recording).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf
from typing import cast
from uuid import UUID

import structlog
from django.db import transaction

from config.database import database_now, retried
from entitlements.models import Customer
from payments import intents, mirror, subscriptions
from payments.channels import base as channel
from payments.channels import stripe, telegram
from payments.models import Origin, PaymentEvent, PaymentMethod, Refund, RefundResult, RefundStatus
from payments.money import Money
from payments.recording import ReceivedRefund, count_refund, record_refund
from payments.selectors import PaymentStatus, status_of
from payments.stripe import refunds as by_stripe

logger = structlog.get_logger(__name__)

LEASE = timedelta(seconds=60)  # longer than any call may take: after it, whoever held it is dead
APART = timedelta(seconds=60)
READ_AGAIN = 1_000  # rows at most, since the call, for a refund that took its place in the list late
FIRST_LOOK = timedelta(seconds=15)  # after each call
# When to look again, by the searches in vain since the first call: what Telegram keeps failing at is sent more rarely.
PAUSES = (
    FIRST_LOOK,
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=15),
    timedelta(hours=1),
    timedelta(days=1),
)
LONGEST_WAIT_TO_SEND = timedelta(hours=1)
# The sweep leaves to its own job what became due only now.
PATIENCE = timedelta(seconds=15)
BATCH = 100
DONE = b'{"ok":true,"result":true}'  # the whole of Telegram's answer to a refund


class RefundingError(Exception):
    """The payment is not going to be given back because of this request."""


class UnknownPayment(RefundingError):
    """There is no such payment; a refund is not a payment."""


class NotRefundable(RefundingError):
    """It cannot be given back by a call, whoever asks; the message says why."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asked for a refund and when; nobody of ours, where it was refunded without us."""

    by: str
    at: datetime


class AlreadyRefunded(RefundingError):
    """It has been given back, at `refunded_at`; `asked` is None when nobody asked us for it."""

    def __init__(self, *, refunded_at: datetime, asked: Asked | None) -> None:
        super().__init__(refunded_at, asked)
        self.refunded_at = refunded_at
        self.asked = asked


class RefundPending(RefundingError):
    """Somebody asked before, and that refund is still under way."""

    def __init__(self, refund: Refund) -> None:
        super().__init__(refund.pk)
        self.refund_id = refund.pk
        self.asked = Asked(by=refund.requested_by, at=refund.created_at)


NO_LIMITS: Mapping[str, int] = {}


@retried
@transaction.atomic
def request_refund(
    *,
    payment_id: UUID,
    reason: str,
    requested_by: str,
    amount: int | None = None,
    approval_above: Mapping[str, int] = NO_LIMITS,
    cancel_subscription: bool = False,
) -> Refund:
    """Write down that a payment is to be given back; a worker does it. Asking again is refused, saying who asked.

    :param requested_by: `staff:<id>`, `api:<prefix>` or `system`
    :param amount: in the currency's smallest unit, of what was paid by Stripe; by default all that is left of it.
        Stars can only be given back whole, so there it is either left out or the payment's
    :param approval_above: per currency, the largest amount in its smallest unit that needs no second person
    :param cancel_subscription: have Telegram stop the renewals as well, once the refund is under way
    :raises RefundingError: a subclass for each reason
    """
    known = PaymentEvent.objects.payments().filter(pk=payment_id).first()
    if known is None:
        raise UnknownPayment
    Customer.objects.locked().get(pk=known.customer_id)
    paid = refundable(payment_id)  # as it is under the lock
    part = _part(paid, amount)
    if cancel_subscription and not subscriptions.is_of_subscription(paid):
        raise NotRefundable("It belongs to no subscription that could be cancelled with it.")
    write = (
        intents.propose_intent
        if (part or paid.amount) > approval_above.get(paid.currency, inf)
        else intents.open_intent
    )
    refund = write(
        payment=paid, amount=part, reason=reason, requested_by=requested_by, cancel_subscription=cancel_subscription
    )
    refund.refresh_from_db()
    log_of(refund).info("refund requested", requested_by=requested_by, status=refund.status)
    return refund


def _part(payment: PaymentEvent, amount: int | None) -> int | None:
    """How much is to be given back, where parts can be; None where only the whole can.

    :raises NotRefundable: it is more than is left, or less than the whole of what has no parts
    """
    if payment.payment_method == PaymentMethod.STRIPE:
        left = payment.left
        if amount is not None and amount > left:
            raise NotRefundable(
                f"Of {payment.money} no more than {Money(left, payment.currency)} is left to give back."
            )
        return amount or left
    if amount is not None and amount != payment.amount:
        raise NotRefundable("Stars are given back whole or not at all.")
    return None


def refundable(payment_id: UUID) -> PaymentEvent:
    """The payment, as long as it can be given back by a call.

    :raises RefundingError: a subclass for each reason why it cannot
    """
    payments = PaymentEvent.objects.payments().with_refund().select_related("customer", "hold", "invoice")
    paid = payments.filter(pk=payment_id).first()
    if paid is None:
        raise UnknownPayment
    pending = Refund.objects.open().filter(payment=paid).first()
    if pending is not None:
        raise RefundPending(pending)
    match status_of(paid):
        case PaymentStatus.REFUNDED:
            raise already_refunded(paid)
        case PaymentStatus.DISMISSED:
            raise NotRefundable("The payment was held, and dismissed.")
    if not intents.can_be_returned_by_call(paid):
        raise NotRefundable(
            "Only Stars paid by a known Telegram account, and what was paid by Stripe while its key is "
            "set, can be given back from here."
        )
    return paid


def already_refunded(payment: PaymentEvent) -> AlreadyRefunded:
    """When a refunded payment was given back, and who asked for that."""
    event = payment.refunds.order_by("-received_at").first()
    intent = payment.refund_intents.filter(status=RefundStatus.CONFIRMED).order_by("-confirmed_at").first()
    return AlreadyRefunded(
        # A held payment may have been resolved as refunded by a person, who did it elsewhere.
        refunded_at=event.occurred_at if event else cast(datetime, payment.hold.resolved_at),
        asked=Asked(by=intent.requested_by, at=intent.created_at) if intent else None,
    )


# --- On its way -----------------------------------------------------------------------------------------------------


def pursue(*, refund_id: UUID) -> None:
    """Bring a refund as far as it can be brought now. Repeating it, also at once, changes nothing. No transaction
    may be open.
    """
    taken = _take(refund_id)
    if taken is None:
        return
    refund, due = taken
    # Nothing was ever sent, or else the channel's list is read first.
    if (refund.attempts == 0 or _is_to_be_sent_again(refund, due)) and _mark_sending(refund):
        _send(refund)


def sweep() -> int:
    """Hand to the workers what has been due for a while: the worker died, or its job was lost. Returns how many."""
    due = Refund.objects.due_at(database_now() - PATIENCE).order_by("next_attempt_at").values_list("pk", flat=True)
    overdue = list(due[:BATCH])
    for refund_id in overdue:
        intents.schedule(refund_id)
    return len(overdue)


@retried
@transaction.atomic
def _take(refund_id: UUID) -> tuple[Refund, datetime] | None:
    """Lease it, if it is due and nobody else has it. With it comes when it became due."""
    now = database_now()
    refund = Refund.objects.due_at(now).taken(refund_id)
    if refund is None:
        return None
    if refund.status == RefundStatus.SENDING:
        # Whoever was sending did not live to say what came of it.
        refund.status = RefundStatus.VERIFY
        refund.detail = f"Sent, but the answer was lost. {refund.payment.channel}'s list is being read."
    due, refund.next_attempt_at = refund.next_attempt_at, now + LEASE
    refund.save(update_fields=["status", "detail", "next_attempt_at"])
    return refund, due


def _is_to_be_sent_again(refund: Refund, due: datetime) -> bool:
    """Look into the channel's list, and do what follows from it. True: it certainly was not refunded, so call again."""
    name = refund.payment.channel
    try:
        read_at = _missed_at_stripe(refund) if _is_by_stripe(refund) else _missed_at_telegram(refund, due)
    except channel.ChannelError as error:
        detail = f"{name}'s list cannot be read: {error}."
        _leave(refund, pause=max(_pause(refund), _asked_pause(error)), detail=detail)
        return False
    if read_at is None:
        return False
    if refund.status == RefundStatus.REQUESTED:
        return True
    if refund.refusal:
        _mark_refused(refund)
        return False
    if refund.missed_at is not None and read_at - refund.missed_at >= APART:
        return True
    refund.checks += 1
    _leave(
        refund,
        pause=max(_pause(refund), APART),
        checks=refund.checks,
        missed_at=refund.missed_at or read_at,
        detail=f"Sent, not confirmed yet: not in {name}'s list.",
    )
    return False


def _missed_at_telegram(refund: Refund, due: datetime) -> datetime | None:
    """Record it if it is in Telegram's list; else say when that was read. However many refunds are due, one reading
    serves all that were when it began.
    """
    read_at = mirror.bring_up_to_date(as_of=due, since=max(refund.listed, mirror.length() - READ_AGAIN))
    found = mirror.refund_of(refund.payment.event_id)
    if found is None:
        return read_at
    _record(refund, occurred_at=found.date, origin=Origin.RECONCILIATION, raw=bytes(found.raw))
    return None


def _missed_at_stripe(refund: Refund) -> datetime | None:
    """The same of Stripe's list of the payment's refunds, all of which are recorded on the way."""
    read_at = database_now()
    listed = by_stripe.bring_up_to_date(refund.payment, origin=Origin.RECONCILIATION)
    ours = next((each for each in listed if each.intent == refund.pk), None)
    if ours is None:
        return read_at
    if ours.status in by_stripe.FAILED:
        refund.refusal = ours.why
        _mark_refused(refund)
    elif ours.status != by_stripe.SUCCEEDED:
        _wait_for_the_bank(refund, ours)
    return None


def _wait_for_the_bank(refund: Refund, listed: stripe.ListedRefund) -> None:
    """Until then nothing of it is in the ledger. Stripe tells us when it is over; we look as well."""
    refund.checks += 1
    detail = f"Stripe has it and waits for the bank: {listed.status}."
    _leave(refund, pause=_pause(refund), status=RefundStatus.VERIFY, checks=refund.checks, detail=detail)


def _is_by_stripe(refund: Refund) -> bool:
    return refund.payment.payment_method == PaymentMethod.STRIPE


def _mark_sending(refund: Refund) -> bool:
    """Commit that the call is about to be made, with a new lease; False when the refund is no longer ours."""
    now = database_now()
    return _change(
        refund,
        status=RefundStatus.SENDING,
        attempts=refund.attempts + 1,
        listed=mirror.length(),
        next_attempt_at=now + LEASE,
        missed_at=None,
        refusal="",
        detail="",
    )


def _send(refund: Refund) -> None:
    name = refund.payment.channel
    try:
        answered = None
        if _is_by_stripe(refund):
            answered = _send_to_stripe(refund)
        else:
            telegram.refund(refund.payment)
    except channel.AlreadyRefunded:
        detail = f"{name} says that it was given back already. Its list is being read."
        _leave(refund, pause=FIRST_LOOK, status=RefundStatus.VERIFY, faults=refund.faults + 1, detail=detail)
    except channel.Refused as error:
        detail = f"{name} refused it: {error.description}. Its list is being read."
        refusal = error.description or "no"
        _leave(refund, pause=FIRST_LOOK, status=RefundStatus.VERIFY, refusal=refusal, detail=detail)
    except channel.Unavailable as error:
        pause = max(_asked_pause(error), min(timedelta(seconds=2 ** min(refund.attempts, 12)), LONGEST_WAIT_TO_SEND))
        _leave(refund, pause=pause, status=RefundStatus.REQUESTED, detail=f"Not sent: {name} is {error}.")
    except channel.Unclear as error:
        detail = f"Sent, not confirmed yet: {error}."
        faults = refund.faults + isinstance(error, channel.Faulty)
        _leave(refund, pause=FIRST_LOOK, status=RefundStatus.VERIFY, faults=faults, detail=detail)
    else:
        origin = Origin.STAFF if refund.requested_by.startswith("staff:") else Origin.API
        if answered is None:
            _record(refund, occurred_at=database_now(), origin=origin, raw=DONE)
        else:
            _settle(refund, answered, origin=origin)


def _send_to_stripe(refund: Refund) -> stripe.ListedRefund:
    return stripe.refund(
        payment_intent=refund.payment.event_id, amount=refund.money.amount, intent=refund.pk, turn=refund.faults
    )


def _settle(refund: Refund, answered: stripe.ListedRefund, *, origin: Origin) -> None:
    """Do what follows from Stripe's answer: it is done, it waits for a bank, or it failed at once."""
    if answered.status == by_stripe.SUCCEEDED:
        by_stripe.record(answered, refund.payment, origin=origin, reason=refund.reason)
    elif answered.status in by_stripe.FAILED:
        detail = f"It failed: {answered.why}. Stripe's list is being read."
        _leave(refund, pause=FIRST_LOOK, status=RefundStatus.VERIFY, refusal=answered.why, detail=detail)
    else:
        _wait_for_the_bank(refund, answered)


def _record(refund: Refund, *, occurred_at: datetime, origin: Origin, raw: bytes) -> None:
    """Record it with all it entails; the intent is confirmed in the same transaction, by whoever records it first."""
    payment = refund.payment
    record_refund(
        ReceivedRefund(
            method=PaymentMethod(payment.payment_method),
            charge_id=payment.event_id,
            money=payment.money,
            occurred_at=occurred_at,
            origin=origin,
            raw=raw,
            payer=payment.customer,
            payload=payment.reference,
            reason=refund.reason,
        )
    )


@transaction.atomic
def _mark_refused(refund: Refund) -> None:
    detail = f"{refund.payment.channel} refused it: {refund.refusal}."
    if _change(refund, status=RefundStatus.REFUSED, refusal=refund.refusal, detail=detail):
        count_refund(RefundResult.REFUSED, source=refund.requested_by.partition(":")[0])
        log_of(refund).error("refund refused", why=refund.refusal)


@retried
@transaction.atomic
def _leave(refund: Refund, *, pause: timedelta, **changes: object) -> None:
    """Write down how it stands and when it is looked at again, with the job that does it."""
    at = database_now() + pause
    if _change(refund, next_attempt_at=at, **changes):
        intents.schedule(refund.pk, at=at)
        log_of(refund).warning("refund not confirmed", detail=refund.detail, next_attempt_at=at.isoformat())


def _change(refund: Refund, **changes: object) -> bool:
    """Change the refund if it is still as it was leased; a lease that ran out may be another's now."""
    leased = Refund.objects.filter(pk=refund.pk, status=refund.status, next_attempt_at=refund.next_attempt_at)
    if not leased.update(**changes):
        return False
    for name, value in changes.items():
        setattr(refund, name, value)
    return True


def _pause(refund: Refund) -> timedelta:
    return PAUSES[min(refund.checks, len(PAUSES) - 1)]


def _asked_pause(error: channel.ChannelError) -> timedelta:
    return timedelta(seconds=error.retry_after if isinstance(error, channel.Unavailable) else 0)


def log_of(refund: Refund) -> structlog.stdlib.BoundLogger:
    """A logger whose lines name the refund, its payment and its payer."""
    payment = refund.payment
    log: structlog.stdlib.BoundLogger = logger.bind(
        refund_id=str(refund.pk),
        payment_id=str(payment.pk),
        user_id=payment.customer.user_id,
        plan_code=payment.plan_id,
        amount=refund.money.amount,
        currency=payment.currency,
    )
    return log
