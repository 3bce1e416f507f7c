"""Long polling instead of a webhook."""

from __future__ import annotations

import signal
import threading
from contextlib import suppress
from typing import Any

from django.core.management.base import BaseCommand

from config.management.starting import require_database, require_production_settings
from telegram_bot.bot_settings import introduce
from telegram_bot.gateway import gateway
from telegram_bot.management.plain_words import failures_in_plain_words
from telegram_bot.polling import poll


class Command(BaseCommand):
    help = (
        "Fetch the bot's updates by long polling instead of a webhook, which is removed. Ends with Ctrl-C or SIGTERM."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        require_database()
        require_production_settings()
        stop = threading.Event()

        def end(*_: object) -> None:
            """Now, and if whatever runs at this moment swallows that, after the request that is open.

            An interruption is harmless anywhere: what is not stored is not confirmed, so Telegram brings it again.
            """
            stop.set()
            raise KeyboardInterrupt

        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)
        with suppress(KeyboardInterrupt), failures_in_plain_words():
            gateway.delete_webhook()
            introduce()
            self.stdout.write(f"Polling for @{gateway.username()}. Press Ctrl-C to stop.")
            poll(stop)
        self.stdout.write("Stopped.")
