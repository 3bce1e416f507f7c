"""The inbox: read, and decided about where nothing more happens by itself."""

from __future__ import annotations

from django.conf import settings
from django.contrib import admin
from django.db.models import QuerySet

from config import shown
from config.admin import FactAdmin, as_text
from config.shown import Tone
from telegram_bot.models import IncomingUpdate, UpdateStatus, WebhookState
from telegram_bot.update_pages import UpdatePages

TONES = {
    UpdateStatus.PENDING: Tone.WAITING,
    UpdateStatus.DONE: Tone.GOOD,
    UpdateStatus.QUARANTINED: Tone.BAD,
    UpdateStatus.DEAD: Tone.BAD,
    UpdateStatus.DISMISSED: Tone.QUIET,
}


class StatusFilter(admin.ChoicesFieldListFilter):
    """Each by its index, except the done, which are nearly all."""

    served_in_order_of = "pk"


@admin.register(IncomingUpdate)
class IncomingUpdateAdmin(UpdatePages):
    list_display = ("update_id", "kind", "status", "error", "received_at", "next_try")
    list_filter = (("status", StatusFilter),)
    tones = {"status": TONES}
    search_fields = ("update_id",)
    search_help_text = "An update_id of this bot."
    fields = (
        "bot_id",
        "update_id",
        "kind",
        "status",
        "received_at",
        "attempts",
        "next_attempt_at",
        "done_at",
        "error",
        "body_as_text",
    )
    readonly_fields = ("body_as_text",)

    def searched(self) -> QuerySet[IncomingUpdate]:
        return IncomingUpdate.objects.filter(bot_id=settings.TELEGRAM_BOT_ID)

    @admin.display(description="next try")
    def next_try(self, update: IncomingUpdate) -> str:
        return shown.time(update.next_attempt_at if update.status == UpdateStatus.PENDING else None)

    @admin.display(description="body")
    def body_as_text(self, update: IncomingUpdate) -> str:
        return as_text(update.body)


@admin.register(WebhookState)
class WebhookStateAdmin(FactAdmin):
    list_display = ("waiting", "last_error_at", "looked_at")
    list_before_template = "admin/telegram_bot/webhook.html"

    @admin.display(description="updates that wait at Telegram")
    def waiting(self, state: WebhookState) -> int:
        return state.pending
