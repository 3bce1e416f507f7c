"""Reads Telegram's table of currencies anew."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import httpx
from django.core.management.base import BaseCommand, CommandError

from config.database import database_now
from config.management.starting import require_database
from payments import currencies
from payments.models import PaymentMethod, Price

SECONDS = 10


class Command(BaseCommand):
    help = (
        "Read which currencies Telegram's payment providers take, and from what to what amount, from Telegram's own"
        " table. The limits follow the rates of exchange."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "source", nargs="?", default=currencies.ADDRESS, help="an address or a file (%(default)s)", metavar="SOURCE"
        )

    def handle(self, *args: Any, source: str, **options: Any) -> None:
        require_database()
        content = _fetched(source) if source.startswith(("https://", "http://")) else _content(Path(source))
        try:
            ranges = currencies.read(content)
        except currencies.BadTable as error:
            raise CommandError("\n".join(f"{source}: {problem}" for problem in error.problems)) from error
        currencies.put_into_force(ranges, now=database_now())
        self.stdout.write(f"{len(ranges)} currencies.")
        table = currencies.in_force()
        prices = Price.objects.filter(payment_method=PaymentMethod.TELEGRAM_PROVIDER, plan__withdrawn_at__isnull=True)
        for price in prices.order_by("plan_id", "position"):
            if refusal := table.refusal(price.money):
                self.stderr.write(f"{price} is not sold any more: {refusal}")


def _fetched(address: str) -> bytes:
    try:
        answer = httpx.get(address, timeout=SECONDS, follow_redirects=True)
        answer.raise_for_status()
    except httpx.HTTPError as error:
        message = f"{address} cannot be read: {error}. A copy of it as a file will do."
        raise CommandError(message) from error
    return answer.content


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        message = f"{file} cannot be read: {error.strerror}."
        raise CommandError(message) from error
