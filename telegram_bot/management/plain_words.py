"""What an operator reads when Telegram does not do as a command asks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.core.management.base import CommandError

from payments.channels.base import ChannelError, Refused
from telegram_bot.gateway import TokenRefused


@contextmanager
def failures_in_plain_words() -> Iterator[None]:
    """:raises CommandError: one sentence for each way in which Telegram fails"""
    try:
        yield
    except TokenRefused:
        message = "Telegram does not know this bot. Set TELEGRAM_BOT_TOKEN to the token that @BotFather gave you."
    except Refused as refusal:
        message = f"Telegram refused: {refusal.description}."
    except ChannelError as error:
        message = f"Telegram cannot be reached at {settings.TELEGRAM_API_BASE_URL}: {error}."
    else:
        return
    raise CommandError(message)
