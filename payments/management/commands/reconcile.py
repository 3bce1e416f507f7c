"""Compares the ledger with Telegram's own list."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.management.starting import require_database
from payments.channels.base import ChannelError
from payments.models import Discrepancy, PaymentMethod, ReconciliationRun, RunOutcome
from payments.reconciling import Progress, reconcile
from payments.runs import COUNTS, ReconcilingError

SECONDS_OF_SILENCE = 2
PATIENCE = 600  # seconds that somebody who is looking on may wait for Telegram


class Command(BaseCommand):
    help = (
        "Compare the ledger with Telegram's list of Stars, both ways, and record what is missing."
        " Fails when something needs a person."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--full", action="store_true", help="from the beginning, not from where the last run came")

    def handle(self, *args: Any, full: bool, **options: Any) -> None:
        require_database()
        try:
            run = reconcile(asked_by="command", full=full, patience=PATIENCE, progress=self.progress())
        except ReconcilingError as error:
            raise CommandError(str(error)) from error
        except ChannelError as error:
            message = f"Telegram could not be asked: {error}. What was read is kept; run it again."
            raise CommandError(message) from error
        self.show(run)
        if run.outcome == RunOutcome.ATTENTION:
            waiting = Discrepancy.objects.unresolved().found_with(PaymentMethod.TELEGRAM_STARS).count()
            message = f"Something needs a person: {waiting} open discrepancies, {run.held} held. See the admin."
            raise CommandError(message)
        self.stdout.write("Everything is accounted for.")

    def show(self, run: ReconciliationRun) -> None:
        for name in COUNTS:
            words = str(ReconciliationRun._meta.get_field(name).verbose_name)  # type: ignore[union-attr]  # noqa: SLF001 - Django's API
            self.stdout.write(f"{words:<20}{getattr(run, name):>10,}")

    def progress(self) -> Progress:
        """Says now and then how far it has come."""
        said = time.monotonic()

        def say(words: str) -> None:
            nonlocal said
            if time.monotonic() - said >= SECONDS_OF_SILENCE:
                said = time.monotonic()
                self.stderr.write(f"    {words}")

        return say
