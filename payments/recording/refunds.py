"""Recording what was given back: exactly the access of its payment is taken away, and the buyer is told, once."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import structlog
from django.db import connection, transaction

from config.database import database_now, retried
from entitlements import services as access
from entitlements.models import Customer, Grant
from payments.models import (
    EarlyRefund,
    EventStatus,
    EventType,
    Hold,
    HoldReason,
    Invoice,
    Notice,
    NoticeKind,
    PaymentEvent,
    PaymentMethod,
    Refund,
    RefundResult,
    RefundStatus,
    Resolution,
)
from payments.money import Money
from payments.recording import ledger
from payments.recording.costs import book_costs
from payments.recording.ledger import KnownByAnother
from payments.recording.reports import FailedRefund, Outcome, ReceivedRefund, Recorded

logger = structlog.get_logger(__name__)


def record_refund(refund: ReceivedRefund) -> Recorded:
    """Record that a payment was given back: exactly its access is taken away and the buyer is told, once.

    A refund that comes before its payment waits for it; one that names another customer or amount is held.
    """
    try:
        return _record_refund(refund)
    except KnownByAnother:
        return _record_refund(refund)


@retried
@transaction.atomic
def record_failed_refund(failed: FailedRefund) -> Recorded:
    """Undo a refund in the books whose money came back, tell the buyer, and put it before a person: he has neither his
    money nor what he paid for. One that was never recorded needs no undoing. Repeating it changes nothing.
    """
    refund = PaymentEvent.objects.filter(event_id=failed.refund_id, event_type=EventType.STRIPE_REFUND).first()
    if refund is None:
        return Recorded(Outcome.DUPLICATE, None)
    customer = Customer.objects.locked().get(pk=refund.customer_id)
    known = PaymentEvent.objects.filter(event_id=failed.refund_id, event_type=EventType.STRIPE_FAILED_REFUND).first()
    if known is not None:
        return Recorded(Outcome.DUPLICATE, known)
    now = database_now()
    event = ledger.write(
        failed.raw,
        event_id=refund.event_id,
        event_type=EventType.STRIPE_FAILED_REFUND,
        payment_method=refund.payment_method,
        customer=customer,
        invoice=refund.invoice,
        plan=refund.plan,
        amount=refund.amount,
        currency=refund.currency,
        status=EventStatus.PROCESSED,
        origin=failed.origin,
        occurred_at=min(max(failed.occurred_at, refund.occurred_at), now),
        received_at=now,
        reference=refund.reference,
        refund_of=refund.refund_of,
    )
    Notice.objects.owed().filter(event=refund).update(given_up_at=now, error="it failed before that was sent")
    Notice.objects.create(event=event, kind=NoticeKind.REFUND_FAILED)
    detail = f"{refund.money} of payment {refund.refund_of_id} did not arrive: {failed.reason}."
    ledger.hold_bytes(HoldReason.REFUND_FAILED, failed.raw, detail)
    return Recorded(Outcome.PROCESSED, event)


@retried
@transaction.atomic
def _record_refund(refund: ReceivedRefund) -> Recorded:
    customer = ledger.locked_payer(refund.payer)
    known = PaymentEvent.objects.filter(event_id=refund.event_id, event_type=refund.event_type).first()
    if known is not None:
        if known.customer_id == customer.pk:
            book_costs(known.refund_of, refund.costs, origin=refund.origin)
        return ledger.note_duplicate(known, customer, refund.money)
    payment = PaymentEvent.objects.filter(
        event_id=refund.charge_id, event_type=EventType.payment_by(refund.method)
    ).first()
    if payment is None:
        return _keep_for_its_payment(refund, customer)
    if payment.customer_id != customer.pk:
        detail = f"Paid by {payment.customer.user_id}, refund reported for {customer.user_id}."
        ledger.hold_bytes(HoldReason.FOREIGN_REFUND, refund.raw, detail)
        return Recorded(Outcome.HELD, None)
    if not _can_be_given_back(refund, payment):
        detail = f"Paid {payment.money}, refund reported of {refund.money or 'all of it'}."
        ledger.hold_bytes(HoldReason.REFUND_MISMATCH, refund.raw, detail)
        return Recorded(Outcome.HELD, None)
    event = _give_back(
        payment,
        occurred_at=refund.occurred_at,
        origin=refund.origin,
        raw=refund.raw,
        reason=refund.reason,
        part=refund.money if refund.refund_id else None,
        refund_id=refund.refund_id,
        intent=refund.intent,
    )
    book_costs(payment, refund.costs, origin=refund.origin)
    return Recorded(Outcome.PROCESSED, event)


def _can_be_given_back(refund: ReceivedRefund, payment: PaymentEvent) -> bool:
    """The whole, unless parts were given back; or, where a refund has an id of its own, a part of what is left."""
    if not refund.refund_id:
        has_parts = refund.method == PaymentMethod.TELEGRAM_PROVIDER and payment.left < payment.amount
        return refund.money in (None, payment.money) and not has_parts
    return (
        refund.money is not None and refund.money.currency == payment.currency and refund.money.amount <= payment.left
    )


def _give_back(
    payment: PaymentEvent,
    *,
    occurred_at: datetime,
    origin: str,
    raw: bytes,
    reason: str,
    part: Money | None = None,
    refund_id: str = "",
    intent: UUID | None = None,
) -> PaymentEvent:
    """The refund's whole effect; the caller holds the customer's lock and knows it is not recorded yet.

    A part leaves what the payment gave, until nothing of the payment is left.
    """
    now = database_now()
    is_whole = part is None or part.amount == payment.left
    event = ledger.write(
        raw,
        event_id=refund_id or payment.event_id,
        event_type=EventType.refund_by(PaymentMethod(payment.payment_method)),
        payment_method=payment.payment_method,
        customer=payment.customer,
        invoice=payment.invoice,
        plan=payment.plan,
        amount=part.amount if part else payment.amount,
        currency=payment.currency,
        status=EventStatus.PROCESSED,
        origin=origin,
        occurred_at=min(max(occurred_at, payment.occurred_at), now),
        received_at=now,
        reference=payment.reference,
        refund_of=payment,
    )
    answered = Refund.objects.open().filter(payment=payment)
    if is_whole:
        _take_back(payment, event, reason=reason, now=now)
    else:
        answered = answered.filter(pk=intent) if intent else answered.none()
    Notice.objects.create(event=event, kind=NoticeKind.REFUNDED)
    # Whoever asked for it has what he wanted, whichever way we learnt of it.
    answered.update(status=RefundStatus.CONFIRMED, confirmed_at=now, detail="Given back.")
    count_refund(RefundResult.CONFIRMED, source=origin)
    logger.info(
        "payment refunded",
        user_id=payment.customer.user_id,
        plan_code=payment.plan_id,
        amount=event.amount,
        currency=payment.currency,
        payment_id=str(payment.pk),
        origin=origin,
    )
    return event


def _take_back(payment: PaymentEvent, refund: PaymentEvent, *, reason: str, now: datetime) -> None:
    """End what a payment gave of which nothing is left, and what is still open about it."""
    for grant in Grant.objects.filter(source=payment.source, revoked_at=None):
        access.revoke(grant=grant, reason=reason, now=now)
    Hold.objects.unresolved().filter(event=payment).update(
        resolution=Resolution.REFUNDED, resolved_at=now, resolved_by=f"refund:{refund.pk}", resolved_why=reason
    )
    # Only what was not yet said is withdrawn: a buyer never reads of a confirmation after the refund.
    Notice.objects.owed().filter(event=payment).update(given_up_at=now, error="refunded before it was sent")


COUNT_REFUND = """
    INSERT INTO payments_refundtally AS tally (result, source, count) VALUES (%s, %s, 1)
    ON CONFLICT (result, source) DO UPDATE SET count = tally.count + 1
"""


def count_refund(result: RefundResult, *, source: str) -> None:
    """Count a refund that has ended; part of the transaction that ends it, and the last lock it takes."""
    with connection.cursor() as cursor:
        cursor.execute(COUNT_REFUND, [result, source])


def _keep_for_its_payment(refund: ReceivedRefund, customer: Customer) -> Recorded:
    """Keep a refund whose payment is not known yet.

    Its invoice was evidently paid, and is marked so: that makes a payment that is being recorded in this moment
    look again (payments.ordinary), so that neither can miss the other.
    """
    _, created = EarlyRefund.objects.get_or_create(
        event_id=refund.charge_id,
        event_type=refund.event_type,
        customer=customer,
        amount=refund.money.amount if refund.money else None,
        currency=refund.money.currency if refund.money else "",
        defaults={
            "occurred_at": refund.occurred_at,
            "origin": refund.origin,
            "body": refund.raw,
        },
    )
    if refund.payload:
        Invoice.objects.filter(payload=refund.payload, customer=customer).mark_paid()
    return Recorded(Outcome.HELD if created else Outcome.DUPLICATE, None)


def apply_early_refund(payment: PaymentEvent) -> None:
    """Apply what waits for this payment; the caller holds its customer's lock."""
    for early in EarlyRefund.objects.waiting().of(payment).select_related("customer"):
        _apply(early, payment)
        early.applied_at = database_now()
        early.save(update_fields=["applied_at"])


def _apply(early: EarlyRefund, payment: PaymentEvent) -> None:
    raw = bytes(early.body)
    if early.customer_id != payment.customer_id:
        detail = f"Paid by {payment.customer.user_id}, refund reported for {early.customer.user_id}."
        ledger.hold_bytes(HoldReason.FOREIGN_REFUND, raw, detail)
    elif early.amount is not None and (early.amount, early.currency) != (payment.amount, payment.currency):
        detail = f"Paid {payment.money}, refund reported of {Money(early.amount, early.currency)}."
        ledger.hold_bytes(HoldReason.REFUND_MISMATCH, raw, detail)
    elif not payment.refunds.exists():  # it may have been reported again since
        _give_back(
            payment, occurred_at=early.occurred_at, origin=early.origin, raw=raw, reason="refunded by the provider"
        )


def apply_waiting_refunds() -> int:
    """Apply the early refunds whose payments have been recorded beside them; a sweep that normally finds none."""
    applied = 0
    charges = EarlyRefund.objects.waiting().values("event_id")
    for payment in PaymentEvent.objects.payments().filter(event_id__in=charges):
        with transaction.atomic():
            Customer.objects.locked().get(pk=payment.customer_id)
            if EarlyRefund.objects.waiting().of(payment).exists():
                apply_early_refund(payment)
                applied += 1
    return applied
