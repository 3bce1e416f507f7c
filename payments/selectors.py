"""Payments as their buyers and programs see them: one row per payment, whatever became of it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from uuid import UUID

from payments.models import PaymentEvent, PaymentMethod, Refund, Resolution
from payments.models.ledger import PaymentEventQuerySet


class PaymentStatus(StrEnum):
    """What became of a payment up to now."""

    PROCESSED = "processed"
    HELD = "held"
    REFUNDED = "refunded"
    DISMISSED = "dismissed"


def payments_of(user_id: str) -> PaymentEventQuerySet:
    """The payments of a customer, each with its `refunded_at` and hold; none for a user nobody has seen."""
    if "\x00" in user_id:
        return PaymentEvent.objects.none()
    return PaymentEvent.objects.payments().with_refund().select_related("hold").filter(customer__user_id=user_id)


def payment(payment_id: UUID) -> PaymentEvent | None:
    """One payment with its `refunded_at` and hold; a refund is not a payment."""
    return PaymentEvent.objects.payments().with_refund().select_related("hold").filter(pk=payment_id).first()


def refund(refund_id: UUID) -> Refund | None:
    """What became of somebody's wish to give a payment back."""
    return Refund.objects.filter(pk=refund_id).first()


def status_of(payment: PaymentEvent) -> PaymentStatus:
    """For a payment as the functions above return it."""
    resolution = payment.hold.resolution if hasattr(payment, "hold") else Resolution.GRANTED
    if getattr(payment, "refunded_at", None) is not None:
        return PaymentStatus.REFUNDED
    # What a refund of ours resolved is open again when that did not arrive; what a person refunded elsewhere is not.
    if resolution == Resolution.REFUNDED and not payment.hold.resolved_by.startswith("refund:"):
        return PaymentStatus.REFUNDED
    if resolution == Resolution.DISMISSED:
        return PaymentStatus.DISMISSED
    return PaymentStatus.PROCESSED if resolution == Resolution.GRANTED else PaymentStatus.HELD


def payments_behind(sources: Iterable[str]) -> dict[str, UUID]:
    """Source of a grant → the payment it came from, for those that came from one."""
    charge_ids = [source.partition(":")[2] for source in sources]
    return {payment.source: payment.pk for payment in PaymentEvent.objects.payments().filter(event_id__in=charge_ids)}


def method_of(charge_id: str) -> PaymentMethod:
    """By which of Telegram's methods a charge was made; Stars for one that is not known yet."""
    known = PaymentEvent.objects.payments().filter(event_id=charge_id).first()
    return PaymentMethod(known.payment_method) if known else PaymentMethod.TELEGRAM_STARS
