"""Recomputes what the books derive from their facts."""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from payments.invariants import Progress, checks

SECONDS_OF_SILENCE = 5


class Command(BaseCommand):
    help = "Recompute every derived figure from the facts. Says each difference, and fails if there is one."

    def handle(self, *args: Any, **options: Any) -> None:
        found = 0
        for check in checks():
            self.stderr.write(f"Checking {check.what} …")
            for difference in check.differences(self.progress()):
                self.stdout.write(difference)
                found += 1
        if found:
            message = f"The books differ from their facts in {found} places."
            raise CommandError(message)
        self.stdout.write("The books are sound.")

    def progress(self) -> Progress:
        """Says now and then how far a long check has come."""
        said = time.monotonic()

        def say(rows: int) -> None:
            nonlocal said
            if time.monotonic() - said >= SECONDS_OF_SILENCE:
                said = time.monotonic()
                self.stderr.write(f"    {rows:,} rows so far")

        return say
