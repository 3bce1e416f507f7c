"""How long we keep what people sent."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import connection
from django.db.models import Max, Min

from telegram_bot.models import IncomingUpdate

KEPT = timedelta(days=90)
STRIDE = 10_000

# The rows of a stretch of ids, so that neither an index on the hot path nor a long statement is needed.
BLANK = """
    UPDATE telegram_bot_incomingupdate SET body = ''
    WHERE id >= %(first)s AND id < %(end)s AND done_at < %(before)s AND body <> ''
"""


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
