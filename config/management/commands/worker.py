"""Runs a worker."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.db import connections

from config.management.starting import require_database, require_production_settings
from config.worker import work


class Command(BaseCommand):
    help = "Do the jobs: answers to commands, confirmations, upkeep. Stops gracefully on SIGTERM."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--concurrency", type=int, default=8, help="jobs at a time (default %(default)s)")

    def handle(self, *args: Any, concurrency: int, **options: Any) -> None:
        require_database()
        require_production_settings()
        connections.close_all()
        asyncio.run(work(concurrency=concurrency))
