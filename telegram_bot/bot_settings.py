"""What Telegram is told about the bot: which updates it wants, and how it introduces itself."""

from __future__ import annotations

from django.conf import settings
from django.utils import translation

from telegram_bot import texts
from telegram_bot.gateway import gateway

# PTB's own list lacks `subscription`, and Telegram keeps the last list it was given when none is.
ALLOWED_UPDATES = ("message", "callback_query", "pre_checkout_query", "subscription", "my_chat_member")


def introduce() -> None:
    """Register the commands and the descriptions in every language; those of our first are also for all others."""
    for language, _ in settings.LANGUAGES:
        with translation.override(language):
            gateway.describe(
                commands=texts.commands(),
                description=texts.description(),
                short_description=texts.short_description(),
                language_code="" if language == settings.LANGUAGE_CODE else language,
            )
