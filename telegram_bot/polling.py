"""Long polling: the bot asks Telegram for updates, for places that Telegram cannot reach by a webhook.

Each update takes the same way as one of the webhook. It is confirmed, by asking for those after it, only when it is
stored and a checkout is answered; whatever interrupts this brings it again, and storing it twice is storing it once.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import structlog
from structlog.contextvars import clear_contextvars

from config.logging import milliseconds_since
from payments.channels.base import ChannelError, Refused
from telegram_bot.bot_settings import ALLOWED_UPDATES
from telegram_bot.gateway import TokenRefused, gateway
from telegram_bot.receiving import NotStored, receive

logger = structlog.get_logger(__name__)

WAIT = 25  # seconds that Telegram keeps a request for updates open
LONGEST_PAUSE = 30  # seconds


def poll(stop: threading.Event, *, wait: int = WAIT) -> None:
    """Fetch and store updates until `stop` is set. A webhook must not be set meanwhile.

    :raises TokenRefused: Telegram does not know the bot
    """
    offset, failures = None, 0
    while not stop.is_set():
        try:
            for update_id, body in gateway.updates(offset=offset, allowed_updates=ALLOWED_UPDATES, wait=wait):
                take(body)
                offset = update_id + 1
        except TokenRefused:
            raise
        except (ChannelError, NotStored) as error:
            # A refusal too: one request that Telegram did not like must not end the bot.
            failures += 1
            pause = max(getattr(error, "retry_after", 1), min(2**failures, LONGEST_PAUSE))
            logger.warning("polling interrupted", why=type(error).__name__, detail=str(error), pause=pause)
            stop.wait(pause)
        else:
            failures = 0


def take(body: bytes) -> None:
    """Store one update, and tell of it; what the webhook would say in its response becomes a call of its own."""
    began = time.perf_counter()
    clear_contextvars()
    try:
        answer = receive(body)
        if answer is not None:
            _answer_checkout(answer)
    finally:
        logger.info("update", duration_ms=milliseconds_since(began))
        clear_contextvars()


def _answer_checkout(answer: dict[str, Any]) -> None:
    query_id = answer["pre_checkout_query_id"]
    try:
        in_time = gateway.answer_pre_checkout(
            query_id=query_id, ok=answer["ok"], error_message=answer.get("error_message", "")
        )
    except Refused as refusal:
        logger.error("checkout not answered", query_id=query_id, why=refusal.description)
    else:
        if not in_time:
            logger.warning("checkout answered too late", query_id=query_id)
