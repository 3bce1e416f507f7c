"""The pages of the admin, and what is done about the books by the clock, with few payments in them and with many."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from benchmarks.cluster import Cluster
from benchmarks.starledger import MANAGE, PRODUCTION

GOAL = 1.5  # a page's time with many payments, as a multiple of its time with few


class PagesFailed(Exception):
    """The books could not be filled, or a page did not open."""


@dataclass
class Times:
    """A page's milliseconds in all rounds, and the most queries it took."""

    ms: list[float] = field(default_factory=list)
    queries: int = 0


class Books:
    """A database with so many payments, besides those of a fifth as many subscriptions, and somebody at its admin."""

    def __init__(self, cluster: Cluster, *, payments: int, visits: int, bot_api: str) -> None:
        """
        :param visits: of a page in each round, the first of several only warms it
        :param bot_api: the address of what stands for it
        """
        self.payments, self.subscriptions, self.visits = payments, payments // 5, visits
        self._bot_api = bot_api
        self.times: dict[str, Times] = {}
        self._cluster, self.database = cluster, f"pages_{payments}"
        self._visitor: subprocess.Popen[str] | None = None

    def fill(self, *, beginning_with: Books | None = None) -> Iterator[str]:
        """Write the payments, perhaps on top of what other books have; yields how far that is."""
        if beginning_with is None:
            self._cluster.create(self.database)
            self._manage("migrate", "-v0")
            self._manage("load_catalog", str(MANAGE.parent / "payments" / "demo_catalog.toml"))
        else:
            self._cluster.create(self.database, template=beginning_with.database)
        payments, subscriptions = self.payments, self.subscriptions
        if beginning_with is not None:
            payments, subscriptions = payments - beginning_with.payments, subscriptions - beginning_with.subscriptions
        more = (f"--payments={payments}", f"--subscriptions={subscriptions}")
        filling = self._start(str(MANAGE), "seed_demo", *more, DEBUG="true")
        yield from output_of(filling)
        if filling.wait():
            raise PagesFailed(f"The books with {self.payments:,} payments could not be filled.")
        self._cluster.settle(self.database)

    def open(self) -> None:
        """Let somebody sign in, who tells which pages there are."""
        self._visitor = self._start("-m", "benchmarks.visitor")
        self.times = {name: Times() for name in self._told()}

    def visit(self, page: str) -> None:
        """Open it some times, and keep how long it took."""
        times = self.times[page]
        for number in range(self.visits):
            print(page, file=self._open_visitor.stdin, flush=True)
            seen = self._told()
            if number or self.visits == 1:
                times.ms.append(seen["ms"])
            times.queries = max(times.queries, seen["queries"])

    def end(self) -> None:
        if self._visitor is not None:
            self._visitor.kill()
            self._visitor.wait()

    @property
    def _open_visitor(self) -> subprocess.Popen[str]:
        assert self._visitor is not None, "nobody has signed in yet"
        return self._visitor

    def _told(self) -> Any:
        for line in output_of(self._open_visitor):
            return json.loads(line)
        raise PagesFailed(f"A page did not open with {self.payments:,} payments; what is above says why.")

    def _manage(self, *command: str) -> None:
        process = self._start(str(MANAGE), *command, DEBUG="true")
        told, _ = process.communicate()
        if process.returncode:
            raise PagesFailed(f"manage.py {command[0]} failed: {told}")

    def _start(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        about = {
            "DATABASE_URL": self._cluster.url(self.database),
            "TELEGRAM_API_BASE_URL": self._bot_api,
            "LOG_LEVEL": "WARNING",
            **environment,
        }
        return subprocess.Popen(
            [sys.executable, *command],
            env={**os.environ, **PRODUCTION, **about},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )


def output_of(process: subprocess.Popen[str]) -> Iterator[str]:
    """Its lines, as they come."""
    assert process.stdout is not None
    yield from iter(process.stdout.readline, "")


@dataclass(frozen=True, slots=True)
class Pages:
    """What was seen in books with few payments and in books with many."""

    few: Books
    many: Books

    def rows(self) -> list[dict[str, Any]]:
        """One for each page: medians in milliseconds, their ratio, and the most queries it took with many."""
        return [self._row(page) for page in self.few.times]

    def _row(self, page: str) -> dict[str, Any]:
        few, many = self.few.times[page], self.many.times[page]
        ratio = median(many.ms) / median(few.ms)
        return {
            "page": page,
            "ms_with_few": median(few.ms),
            "ms_with_many": median(many.ms),
            "ratio": ratio,
            "queries_with_few": few.queries,
            "queries_with_many": many.queries,
            "met": ratio <= GOAL,
        }

    def print(self) -> None:
        print(f"\n{'page, by payments':<34}{self.few.payments:>12,}{self.many.payments:>14,}{'ratio':>7}{'queries':>9}")
        for row in self.rows():
            print(
                f"{row['page']:<34}{row['ms_with_few']:>9.1f} ms{row['ms_with_many']:>11.1f} ms{row['ratio']:>7.2f}"
                f"{row['queries_with_few']:>5}/{row['queries_with_many']}{'' if row['met'] else '   not met'}"
            )
        print(f"Goal: no page takes more than {GOAL} times as long with many.")
