"""Tell Telegram where to send updates."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from telegram_bot.bot_settings import ALLOWED_UPDATES, introduce
from telegram_bot.gateway import gateway
from telegram_bot.management.plain_words import failures_in_plain_words


class Command(BaseCommand):
    help = "Register the webhook, the commands and the descriptions of the bot, and print what Telegram now says."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--max-connections", type=int, default=40, help="how many updates Telegram may send at once (1-100)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.TELEGRAM_WEBHOOK_SECRETS:
            raise CommandError("TELEGRAM_WEBHOOK_SECRET is not set, so nobody could tell Telegram from a stranger.")
        with failures_in_plain_words():
            gateway.set_webhook(
                url=settings.TELEGRAM_WEBHOOK_URL,
                secret=settings.TELEGRAM_WEBHOOK_SECRETS[0],
                allowed_updates=ALLOWED_UPDATES,
                max_connections=options["max_connections"],
            )
            introduce()
            webhook = gateway.webhook_info()
        self.stdout.write(f"url: {webhook.url}")
        self.stdout.write(f"updates: {', '.join(webhook.allowed_updates)}")
        self.stdout.write(f"at most at once: {webhook.max_connections}")
        self.stdout.write(f"waiting: {webhook.pending_update_count}")
        if webhook.last_error_message:
            self.stdout.write(
                f"last error, at {webhook.last_error_date:%Y-%m-%d %H:%M} UTC: {webhook.last_error_message}"
            )
