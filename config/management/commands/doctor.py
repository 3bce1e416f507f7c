"""`manage.py doctor`."""

from __future__ import annotations

import logging
from textwrap import wrap
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.checkup import Finding, Health, examine

WIDTH = 100
NAME = 26
MARGIN = " " * (NAME + 1)


class Command(BaseCommand):
    help = (
        "Look whether everything is as it should be: each check ok or fail, and what to do. Exits with 1 on a failure."
    )
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        logging.disable(logging.CRITICAL)  # what goes wrong is told below, in words for a person
        try:
            failed = sum(self._tell(finding) for finding in examine())
        finally:
            logging.disable(logging.NOTSET)
        if failed:
            message = f"{failed} of the checks failed."
            raise CommandError(message)
        self.stdout.write("Everything is as it should be.")

    def _tell(self, finding: Finding) -> bool:
        """A line for what was seen, and beneath a failure what to do. Returns whether it is one."""
        style = {Health.OK: self.style.SUCCESS, Health.FAIL: self.style.ERROR, Health.SKIPPED: self.style.WARNING}
        first, *rest = wrap(f"{finding.what:<{NAME}} {finding.seen}", WIDTH, subsequent_indent=MARGIN)
        rest += wrap(finding.to_do, WIDTH, initial_indent=f"{MARGIN}→ ", subsequent_indent=f"{MARGIN}  ")
        self.stdout.write(f"{style[finding.health](f'{finding.health:<4}')} {first}")
        for line in rest:
            self.stdout.write(f"{'':<4} {line}")
        return finding.health == Health.FAIL
