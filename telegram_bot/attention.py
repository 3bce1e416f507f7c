"""What waits for a person in the inbox."""

from __future__ import annotations

from django.urls import reverse

from config.attention import MOST_COUNTED, Figure, how_many
from config.shown import Tone
from telegram_bot.models import IncomingUpdate, UpdateStatus


def dead_letters() -> Figure:
    count = IncomingUpdate.objects.filter(status=UpdateStatus.DEAD)[: MOST_COUNTED + 1].count()
    return Figure(
        what="Updates given up",
        value=how_many(count),
        address=reverse("admin:telegram_bot_incomingupdate_changelist") + f"?status__exact={UpdateStatus.DEAD}",
        permission="telegram_bot.view_incomingupdate",
        tone=Tone.BAD if count else Tone.GOOD,
    )
