"""How long we keep what people sent."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import Max, Min

from payments.models import PaymentEvent
from telegram_bot.models import IncomingUpdate
from telegram_bot.timeline import AROUND, as_written

KEPT = timedelta(days=90)
STRIDE = 10_000
BROUGHT_AGAIN = timedelta(days=2)  # Telegram brings an update again for a day

# The rows of a stretch of ids, so that neither an index on the hot path nor a long statement is needed.
BLANK = """
    UPDATE telegram_bot_incomingupdate SET body = ''
    WHERE id >= %(first)s AND id < %(end)s AND done_at < %(before)s AND body <> ''
"""


# As those of a payment's story are found (telegram_bot.timeline), and with them the questions before it was paid.
BLANK_ABOUT = """
    UPDATE telegram_bot_incomingupdate SET body = ''
    WHERE received_at BETWEEN %(first)s AND %(last)s AND status IN ('done', 'dismissed')
      AND (kind = 'message' AND position(%(charge_id)s IN body) > 0
           OR kind = 'pre_checkout_query' AND position(%(payload)s IN body) > 0)
"""


def blank_updates_about(payment: PaymentEvent) -> int:
    """Empty the bodies of the updates that brought a payment and asked about it before. Returns how many."""
    quoted_at = payment.invoice.created_at if payment.invoice else payment.occurred_at
    values: dict[str, Any] = {
        "first": min(quoted_at, payment.occurred_at) - AROUND,
        "last": payment.received_at + BROUGHT_AGAIN,
        "charge_id": as_written(payment.event_id),
        "payload": as_written(payment.reference or payment.event_id),
    }
    with connection.cursor() as cursor:
        cursor.execute(BLANK_ABOUT, values)
        blanked: int = cursor.rowcount
    return blanked


def blank_old_bodies(*, now: datetime, stride: int = STRIDE) -> int:
    """Empty the bodies of updates that were done 90 days ago; the rows stay. Returns how many were emptied."""
    ends = IncomingUpdate.objects.aggregate(first=Min("pk"), last=Max("pk"))
    if ends["first"] is None:
        return 0
    blanked, before = 0, now - KEPT
    for first in range(ends["first"], ends["last"] + 1, stride):
        oldest = IncomingUpdate.objects.filter(pk__gte=first).order_by("pk")[:1].get()
        if oldest.received_at >= before:
            break  # ids grow with time: the rest is younger
        with connection.cursor() as cursor:
            cursor.execute(BLANK, {"first": first, "end": first + stride, "before": before})
            blanked += cursor.rowcount
    return blanked
