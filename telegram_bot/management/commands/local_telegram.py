from argparse import ArgumentParser
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from config import movable_clock
from config.database import release_connection


class Command(BaseCommand):
    help = "Runs the local Telegram: a Bot API server with people who chat and pay, for development."
    requires_system_checks: list[str] = []  # by itself it needs neither the database nor the rest of the project

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=8081, help="of 127.0.0.1 (8081); 0: a free one")
        parser.add_argument("--token", default=settings.TELEGRAM_BOT_TOKEN, help="the bot's (TELEGRAM_BOT_TOKEN)")
        parser.add_argument("--state", type=Path, metavar="FILE", help="keep people, chats and payments in this file")
        parser.add_argument(
            "--followed",
            action="store_true",
            help="when its clock is moved on, the database's and the local Stripe's go along",
        )

    def handle(self, *args: Any, port: int, token: str, state: Path | None, followed: bool, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError("The local Telegram is for development: set DEBUG=true to run it.")
        from telegram_bot.sandbox import console  # aiohttp, which it is made of, is not installed in production

        if exit_code := console.run(port=port, token=token, state=state, follow=follow if followed else None):
            raise SystemExit(exit_code)


def follow(ahead: float) -> None:
    """Let the shop, and the local Stripe if it sells by that, be so many seconds ahead of the machine's clock."""
    movable_clock.move_to(timedelta(seconds=ahead))
    release_connection()
    if settings.STRIPE_SECRET_KEY:
        httpx.post(f"{settings.STRIPE_API_BASE}/local/clock", json={"ahead": ahead}).raise_for_status()
