from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    help = "Runs the local Telegram: a Bot API server with people who chat and pay, for development."
    requires_system_checks: list[str] = []  # it needs neither the database nor the rest of the project

    def add_arguments(self, parser: ArgumentParser) -> None:
        self._refuse_in_production()
        from telegram_bot.sandbox import console

        console.add_arguments(parser)

    def handle(self, *args: Any, port: int, token: str, state: Path | None, **options: Any) -> None:
        self._refuse_in_production()
        from telegram_bot.sandbox import console

        if exit_code := console.run(port=port, token=token, state=state):
            raise SystemExit(exit_code)

    def _refuse_in_production(self) -> None:
        """aiohttp, which the local Telegram is made of, is installed for development only."""
        if not settings.DEBUG:
            raise CommandError("The local Telegram is for development: set DEBUG=true to run it.")
