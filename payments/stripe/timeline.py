"""What Stripe's events know of the story of a payment."""

from __future__ import annotations

import json
from collections.abc import Iterator

from config.shown import Tone
from config.timeline import Entry
from payments.models import PaymentEvent, PaymentMethod, StripeEvent, StripeEventStatus
from payments.stripe.processing import LOOKS


def tell(payment: PaymentEvent) -> Iterator[Entry]:
    """The events about what was recorded: the session or invoice that was paid, each refund, each dispute."""
    if payment.payment_method != PaymentMethod.STRIPE:
        return
    names = {payment.event_id, *(dispute.dispute_id for dispute in payment.disputes.all())}
    for event in (payment, *payment.refunds.select_related("provider_record")):
        names.add(event.event_id)
        names.add(_named_in(bytes(event.provider_record.body)))
    for told in StripeEvent.objects.filter(about__in=names - {""}, kind__in=LOOKS).order_by("received_at"):
        tone = Tone.GOOD if told.status == StripeEventStatus.DONE else Tone.WAITING
        detail = f"{told.kind}: {told.get_status_display()}. {told.error}".strip()
        yield Entry(told.received_at, "Stripe reported it", detail, tone, told)


def _named_in(answer: bytes) -> str:
    """The id of what Stripe told; empty once its answer is blanked."""
    try:
        return str(json.loads(answer)["id"])
    except (ValueError, LookupError, TypeError):
        return ""
