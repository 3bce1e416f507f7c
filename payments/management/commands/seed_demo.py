"""Fills the books with customers, payments and subscriptions to look at."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from payments import seeding, seeding_subscriptions

PAYMENTS = 10_000


class Command(BaseCommand):
    help = (
        "Add demo customers with their payments of the last two years, for the plans on sale, and with subscriptions of"
        " the last year. In development only."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--payments", type=int, default=PAYMENTS, metavar="N", help=f"how many ({PAYMENTS:,})")
        parser.add_argument("--subscriptions", type=int, default=0, metavar="N", help="how many besides (none)")

    def handle(self, *args: Any, payments: int, subscriptions: int, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError("The ledger forgets nothing: demo payments are for development (DEBUG=true) alone.")
        if payments < 1:
            raise CommandError("Say how many payments: 1 or more.")
        if not seeding.offers().exists():
            raise CommandError("Nothing is on sale that is paid once: load a catalogue first (manage.py load_catalog).")
        if subscriptions and not seeding_subscriptions.offers().exists():
            raise CommandError("Nothing is on sale for Stars that renews by itself: load such a catalogue first.")
        began = time.monotonic()
        for written in seeding.seed_payments(payments):
            self.stdout.write(f"{written:,} of {payments:,} payments, {time.monotonic() - began:.0f} s")
        for written in seeding_subscriptions.seed_subscriptions(subscriptions):
            self.stdout.write(f"{written:,} of {subscriptions:,} subscriptions, {time.monotonic() - began:.0f} s")
        seeding.sum_up()
        self.stdout.write("The figures are summed up; `manage.py recheck_ledger` checks them.")
