"""What the inbox knows of the story of a payment."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta

from config.shown import Tone
from config.timeline import Entry
from payments.models import Origin, PaymentEvent
from telegram_bot.models import IncomingUpdate, UpdateStatus

# No row says which update brought a payment: it is found by the time, for which there is an index of a few pages, and
# among those by the charge id in its bytes.
UPDATES_AROUND = """
    SELECT id, update_id, kind, status, received_at, error FROM telegram_bot_incomingupdate
    WHERE kind = 'message' AND position(%(charge_id)s IN body) > 0
      AND (received_at BETWEEN %(sent_from)s AND %(sent_to)s OR received_at BETWEEN %(kept_from)s AND %(kept_to)s)
    ORDER BY id
"""
AROUND = timedelta(minutes=1)


def tell(payment: PaymentEvent) -> Iterator[Entry]:
    """The updates that brought the payment and its refunds."""
    for event in (payment, *payment.refunds.all()):
        if event.origin == Origin.WEBHOOK:
            for update in _updates_with(event):
                yield _entry(update)


def _updates_with(event: PaymentEvent) -> list[IncomingUpdate]:
    """Those that came about when it happened or when it was recorded; a body blanked since is not found."""
    values = {
        "charge_id": as_written(event.event_id),
        "sent_from": event.occurred_at - AROUND,
        "sent_to": event.occurred_at + AROUND,
        "kept_from": event.received_at - AROUND,
        "kept_to": event.received_at + AROUND,
    }
    return list(IncomingUpdate.objects.raw(UPDATES_AROUND, values))


def as_written(text: str) -> bytes:
    """As the JSON of an update has it."""
    return json.dumps(text)[1:-1].encode()


def _entry(update: IncomingUpdate) -> Entry:
    tone = {UpdateStatus.DONE: Tone.GOOD, UpdateStatus.DEAD: Tone.BAD}.get(UpdateStatus(update.status), Tone.WAITING)
    detail = f"Update {update.update_id}: {update.get_status_display()}. {update.error}".strip()
    return Entry(update.received_at, "Telegram reported it", detail, tone, update)
