from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    help = "Runs the local Telegram: a Bot API server with people who chat and pay, for development."
    requires_system_checks: list[str] = []  # it needs neither the database nor the rest of the project

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=8081, help="of 127.0.0.1 (8081); 0: a free one")
        parser.add_argument("--token", default=settings.TELEGRAM_BOT_TOKEN, help="the bot's (TELEGRAM_BOT_TOKEN)")
        parser.add_argument("--state", type=Path, metavar="FILE", help="keep people, chats and payments in this file")

    def handle(self, *args: Any, port: int, token: str, state: Path | None, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError("The local Telegram is for development: set DEBUG=true to run it.")
        from telegram_bot.sandbox import console  # aiohttp, which it is made of, is not installed in production

        if exit_code := console.run(port=port, token=token, state=state):
            raise SystemExit(exit_code)
