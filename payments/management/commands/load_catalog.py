"""Puts a catalogue file into force."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.database import database_now
from payments import catalog, currencies
from payments.catalog_file import CatalogRefused, read


class Command(BaseCommand):
    help = "Put the plans of a catalogue file (TOML) on sale, and withdraw those that are not in it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--dry-run", action="store_true", help="only say what would change")

    def handle(self, *args: Any, file: Path, dry_run: bool, **options: Any) -> None:
        try:
            plans = read(str(file), file.read_bytes(), table=currencies.in_force())
        except OSError as error:
            message = f"{file} cannot be read: {error.strerror}."
            raise CommandError(message) from error
        except CatalogRefused as error:
            raise CommandError(str(error)) from error
        changes = catalog.compare(plans) if dry_run else catalog.put_into_force(plans, now=database_now())
        for change in changes:
            self.stdout.write(change.code)
            for words in change.words:
                self.stdout.write(f"    {words}")
        if not changes:
            self.stdout.write("Nothing to change.")
        elif dry_run:
            self.stdout.write("This was a dry run: nothing has been changed.")
