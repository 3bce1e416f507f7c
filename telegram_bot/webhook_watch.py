"""What Telegram says about delivering to our webhook, asked every few minutes: it is the first to know of an outage."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import structlog
from django.conf import settings
from telegram import WebhookInfo

from config.database import database_now
from payments.channels.base import ChannelError
from telegram_bot.gateway import gateway
from telegram_bot.models import WebhookState

MOST_PENDING = 50  # updates that may wait at Telegram
RECENT = timedelta(minutes=15)  # within which a failed delivery is of concern

logger = structlog.get_logger(__name__)


def look_at_webhook() -> None:
    """Keep what Telegram says, for the metrics, and raise an alarm in the log while something is wrong with it."""
    if not settings.TELEGRAM_BOT_TOKEN:
        return
    try:
        info = gateway.webhook_info()
    except ChannelError as error:
        logger.warning("webhook not looked at", why=str(error))
        return
    now = database_now()
    WebhookState.keep(pending=info.pending_update_count, last_error_at=info.last_error_date, now=now)
    if troubles := list(troubles_of(info, now=now)):
        logger.error("updates are not delivered", troubles=troubles, pending=info.pending_update_count)


def troubles_of(info: WebhookInfo, *, now: datetime) -> Iterator[str]:
    """What keeps updates from arriving, each in words."""
    if info.pending_update_count > MOST_PENDING:
        yield f"{info.pending_update_count} updates wait at Telegram"
    if info.last_error_date and now - info.last_error_date < RECENT:
        yield f"the last delivery failed at {info.last_error_date:%Y-%m-%d %H:%M} UTC: {info.last_error_message}"
