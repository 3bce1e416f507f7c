"""What waits for a person in the inbox."""

from __future__ import annotations

from django.urls import reverse

from config.attention import MOST_COUNTED, Figure, how_many
from config.shown import Tone
from telegram_bot.models import IncomingUpdate, UpdateStatus


def dead_letters() -> Figure:
    return _figure("Updates given up", UpdateStatus.DEAD)


def quarantined() -> Figure:
    return _figure("Updates not understood", UpdateStatus.QUARANTINED)


def _figure(what: str, status: UpdateStatus) -> Figure:
    count = IncomingUpdate.objects.filter(status=status)[: MOST_COUNTED + 1].count()
    return Figure(
        what=what,
        value=how_many(count),
        address=list_of(status),
        permission="telegram_bot.view_incomingupdate",
        tone=Tone.BAD if count else Tone.GOOD,
    )


def list_of(status: UpdateStatus) -> str:
    """The path of the list of those updates."""
    return reverse("admin:telegram_bot_incomingupdate_changelist") + f"?status__exact={status}"
