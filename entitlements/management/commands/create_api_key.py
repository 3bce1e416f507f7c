"""`manage.py create_api_key NAME --scope S … [--expires-in DAYS]`."""

from __future__ import annotations

from argparse import ArgumentTypeError
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from config.api.authentication import create_api_client
from config.database import database_now
from entitlements.models import Scope

LONGEST_NAME = 100
LONGEST_DAYS = 3650


class Command(BaseCommand):
    help = "Make an API key for a program. The key alone goes to standard output; nobody can read it again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", type=name, help="Whose key it is, like the product's name.")
        parser.add_argument(
            "--scope",
            dest="scopes",
            action="append",
            required=True,
            choices=Scope.values,
            metavar="SCOPE",
            help=f"What it may do; may be repeated: {', '.join(Scope.values)}.",
        )
        parser.add_argument("--expires-in", type=days, metavar="DAYS", help="Left out: it does not expire.")

    def handle(self, *_args: Any, name: str, scopes: list[str], expires_in: int | None, **_options: Any) -> str:
        return create_api_client(
            name=name,
            scopes=[Scope(each) for each in dict.fromkeys(scopes)],
            lifetime=None if expires_in is None else timedelta(days=expires_in),
            now=database_now(),
        )


def name(text: str) -> str:
    if not 1 <= len(text) <= LONGEST_NAME:
        message = f"a name has 1 to {LONGEST_NAME} characters"
        raise ArgumentTypeError(message)
    return text


def days(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= LONGEST_DAYS:
        message = f"a number of days from 1 to {LONGEST_DAYS}"
        raise ArgumentTypeError(message)
    return int(text)
