"""Compares the ledger with the report of the payment provider behind Telegram."""

from __future__ import annotations

from argparse import ArgumentParser
from dataclasses import replace
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.management.starting import require_database
from payments.models import ReconciliationRun, RunOutcome
from payments.provider_reconciling import Window, compare, reconcile, window_of
from payments.provider_reports import COLUMNS, Format, Layout, Report, ReportRefused, read
from payments.runs import COUNTS, ReconcilingError


class Command(BaseCommand):
    help = (
        "Compare the payments by Telegram's payment provider with the provider's own report (CSV), by the provider's"
        " ids of the charges, and record the refunds that are missing here. Fails when something needs a person."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--dry-run", action="store_true", help="only say what would come of it")
        parser.add_argument(
            "--format", choices=[each.name.lower() for each in Format], default="generic", help="(%(default)s)"
        )
        for column in COLUMNS:
            parser.add_argument(f"--{column.replace('_', '-')}-column", metavar="NAME", help="which column says it")
        parser.add_argument("--paid", metavar="STATUS", action="append", help="a status of charges that were paid")
        parser.add_argument("--unpaid", metavar="STATUS", action="append", help="a status of charges that were not")
        parser.add_argument("--delimiter", help="between the columns, like ;")
        parser.add_argument("--smallest-unit", action="store_true", help="amounts are written as 2500, not as 25.00")
        parser.add_argument("--decimal-comma", action="store_true", help="amounts are written as 1.234,56")
        parser.add_argument("--since", type=_day, metavar="DAY", help="the first day that the report covers, of UTC")
        parser.add_argument("--until", type=_day, metavar="DAY", help="its last day")

    def handle(self, *args: Any, file: Path, dry_run: bool, **options: Any) -> None:
        require_database()
        report = _read(file, _layout(options))
        window = _window(report, options)
        if window is None:
            self.stderr.write("The report tells no times: what it lacks is looked for with --since and --until only.")
        for compared in compare(report, window=window):
            if not compared.agrees:
                self.stdout.write(compared.in_words)
        if dry_run:
            self.stdout.write("This was a dry run: nothing has been changed.")
            return
        try:
            run = reconcile(report, asked_by="command", window=window)
        except ReconcilingError as error:
            raise CommandError(str(error)) from error
        self.show(run)
        if run.outcome == RunOutcome.ATTENTION:
            message = "Something needs a person. See Discrepancies in the admin."
            raise CommandError(message)
        self.stdout.write("Everything is accounted for.")

    def show(self, run: ReconciliationRun) -> None:
        for name in COUNTS:
            words = str(ReconciliationRun._meta.get_field(name).verbose_name)  # type: ignore[union-attr]  # noqa: SLF001 - Django's API
            self.stdout.write(f"{words:<20}{getattr(run, name):>10,}")


def _day(text: str) -> datetime:
    return datetime.combine(datetime.fromisoformat(text).date(), time(), UTC)


def _layout(options: dict[str, Any]) -> Layout:
    """That of the format, with what else is said."""
    layout = Format[options["format"].upper()].value
    said: dict[str, Any] = {column: name for column in COLUMNS if (name := options[f"{column}_column"])}
    said["optional"] = tuple(column for column in layout.optional if column not in said)
    for kind in ("paid", "unpaid"):
        if options[kind]:
            said[kind] = tuple(status.strip().lower() for status in options[kind])
    if options["delimiter"]:
        said["delimiter"] = options["delimiter"]
    return replace(layout, **said, smallest_unit=options["smallest_unit"], decimal_comma=options["decimal_comma"])


def _read(file: Path, layout: Layout) -> Report:
    try:
        return read(str(file), file.read_bytes(), layout)
    except OSError as error:
        message = f"{file} cannot be read: {error.strerror}."
        raise CommandError(message) from error
    except ReportRefused as error:
        raise CommandError(str(error)) from error


def _window(report: Report, options: dict[str, Any]) -> Window | None:
    told = window_of(report)
    since, until = options["since"], options["until"]
    if since and until:
        return Window(since, until.replace(hour=23, minute=59, second=59, microsecond=999_999))
    if since or until:
        message = "--since and --until go together."
        raise CommandError(message)
    return told
