"""Which payments belong to a subscription in Stars, and to which: Telegram's lists and updates name none."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from payments.models import PaymentEvent, PaymentMethod
from payments.models.catalogue import RECURRING_DAYS

RENEWED_BY_THEMSELVES = (PaymentMethod.TELEGRAM_STARS, PaymentMethod.STRIPE)
PERIOD = timedelta(days=RECURRING_DAYS)
# A renewal may be charged a little before the period that it follows has ended.
OVERLAP = timedelta(days=1)


def is_of_subscription(payment: PaymentEvent) -> bool:
    """Whether it paid for a period that the channel renews by itself; held payments do as well."""
    if payment.refund_of_id is not None or payment.payment_method not in RENEWED_BY_THEMSELVES:
        return False
    return payment.period_ends_at is not None or (payment.invoice is not None and payment.invoice.recurring)


class Unclear(Exception):
    """Two subscriptions are so alike that a payment may belong to either."""


def first_charge(payment: PaymentEvent) -> str:
    """The charge that began the payment's subscription, by which Telegram knows it.

    An invoice that was paid twice began two subscriptions, whose payments are otherwise alike. A renewal's period
    follows those of its own subscription to the second, or nearly so: it belongs to whom it is nearest in that.

    :raises Unclear: it is equally near to both
    """
    of_invoice = {"invoice": payment.invoice_id} if payment.invoice_id else {"reference": payment.reference}
    known = list(
        PaymentEvent.objects.payments().filter(
            customer=payment.customer_id, payment_method=payment.payment_method, **of_invoice
        )
    )
    first = payment
    while (earlier := _renewed_by(first, known)) is not None:
        first = earlier
    return first.event_id


def _renewed_by(renewal: PaymentEvent, known: Iterable[PaymentEvent]) -> PaymentEvent | None:
    """The nearest payment of the same subscription before this one; None of the first."""
    begins = _period_ends_at(renewal) - PERIOD
    before = [payment for payment in known if _period_ends_at(payment) <= begins + OVERLAP]
    if not before:
        return None
    nearest, *others = sorted(
        before, key=lambda payment: (_apart(payment, renewal), -_period_ends_at(payment).timestamp())
    )
    if any(_period_ends_at(other) == _period_ends_at(nearest) for other in others):
        raise Unclear
    return nearest


def _apart(payment: PaymentEvent, renewal: PaymentEvent) -> timedelta:
    """How far their ends are from being whole periods apart."""
    off = (_period_ends_at(renewal) - _period_ends_at(payment)) % PERIOD
    return min(off, PERIOD - off)


def _period_ends_at(payment: PaymentEvent) -> datetime:
    """As Telegram said, or as good as a sender that did not tell lets us know."""
    return payment.period_ends_at or payment.occurred_at + PERIOD


@dataclass(frozen=True, slots=True)
class Period:
    """What a payment bought of a subscription; None and False where it belongs to none."""

    ends_at: datetime | None = None
    is_renewal: bool = False


def period_paid(*, reference: str, payer: int, charge_id: str, paid_at: datetime) -> Period:
    """The period that a payment found in Telegram's list paid for: the list tells neither its end nor its place.

    It renews what was paid before by the same invoice and was over by then, or nearly so, and begins where that
    ended. What is paid twice at once is no renewal.

    :param payer: the Telegram account
    """
    known = PaymentEvent.objects.payments().filter(
        payment_method=PaymentMethod.TELEGRAM_STARS,
        customer__telegram_user_id=payer,
        reference=reference,
        occurred_at__lt=paid_at,
    )
    ends = [_period_ends_at(payment) for payment in known.exclude(event_id=charge_id)]
    over = [end for end in ends if end <= paid_at + OVERLAP]
    return Period(ends_at=max([paid_at, *over]) + PERIOD, is_renewal=bool(over))
