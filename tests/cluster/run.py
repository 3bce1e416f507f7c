"""A run: payments by way of the proxy while one of each is killed, and the books of primary and replica compared."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg

from telegram_bot.sandbox.server import HOST, Server
from telegram_bot.sandbox.world import Options as TelegramOptions
from tests.chaos import plan
from tests.chaos.books import LEFT_OVER, UNSOUND, books, left_over, sales, unsound
from tests.chaos.database import CrashingPostgres
from tests.chaos.plan import Deal, Options
from tests.chaos.processes import TOKEN, manage
from tests.chaos.report import Report
from tests.chaos.run import ANSWERS, ENDED, PACE, REMEMBERED, SURPRISES, WEBHOOK_SECONDS
from tests.chaos.settling import settle
from tests.chaos.shop import Shop
from tests.chaos.verdict import CHECKED, Difference, compare, told_again
from tests.chaos.waiting import until
from tests.chaos.watch import Watch
from tests.cluster.house import VICTIMS, WEBS, WORKERS, ClusteredHouse
from tests.cluster.standby import Standby

# 502 is the proxy's, about a server that died with the request in its hands; 503 is ours. Both mean: bring it again.
RIGHT_ANSWERS = {"200", "502", "503"}
REPLICA_DIFFERS = "rows that the replica lacks or has wrong"
ALL_CHECKED = (*CHECKED, *LEFT_OVER, ANSWERS, ENDED, UNSOUND, SURPRISES, REPLICA_DIFFERS)
LOOK_EVERY = 0.2  # seconds, at the replica's lag
LAG = "SELECT extract(epoch FROM replay_lag)::float FROM pg_stat_replication WHERE replay_lag IS NOT NULL"


class Run:
    """`upgrade`: the web servers and workers are restarted one after the other, and nothing is killed."""

    def __init__(
        self, options: Options, database: CrashingPostgres, replica: Standby, directory: Path, *, upgrade: bool
    ) -> None:
        self._options = options
        self._upgrade = upgrade
        self._database = database
        self._replica = replica
        self._directory = directory
        self._deals = plan.deals(options)
        self._injected: Counter[str] = Counter()
        self._recoveries: defaultdict[str, list[float]] = defaultdict(list)
        self._lags: list[float] = []
        telegram = TelegramOptions(token=TOKEN, pace=PACE, webhook_seconds=WEBHOOK_SECONDS, wire=REMEMBERED)
        self._telegram = Server(telegram)
        self._watch = Watch(self._telegram.world)
        self._house: ClusteredHouse
        self._shop: Shop

    async def to_the_end(self) -> Report:
        world = self._telegram.world
        async with AsyncExitStack() as stack:
            address = f"http://{HOST}:{await self._telegram.start()}"
            stack.push_async_callback(self._telegram.stop)
            self._house = ClusteredHouse(self._database, self._replica, address, self._directory)
            api = await stack.enter_async_context(self._house.open())
            self._shop = Shop(world, self._watch, self._database, api=api, may_begin=self._may_begin)
            await self._shop.open(self._deals)
            began = time.monotonic()
            async with self._looking_at_the_lag(), asyncio.TaskGroup() as tasks:
                tasks.create_task(self._hit_them_all())
                tasks.create_task(self._shop.sell(self._deals))
            sold_in = time.monotonic() - began
            world.faults.clear()
            settled = await settle(world, self._database)
            return await asyncio.to_thread(self._report, sold_in, settled)

    async def _may_begin(self, deal: Deal) -> None:
        """A share of the payments is left for each that has not been hit yet."""
        share = len(self._deals) / (len(self._order()) + 1)
        await until(lambda: deal.number <= share * (self._hits + 1))

    def _order(self) -> list[str]:
        if self._upgrade:
            return [*WORKERS, *WEBS] * self._options.kills
        order = list(VICTIMS) * self._options.kills
        random.Random(f"order {self._options.seed}").shuffle(order)
        return order

    @property
    def _what(self) -> str:
        return "restarted" if self._upgrade else "killed"

    @property
    def _hits(self) -> int:
        return sum(map(len, self._recoveries.values()))

    async def _hit_them_all(self) -> None:
        order = self._order()
        for number, victim in enumerate(order, start=1):
            due = number * len(self._deals) // (len(order) + 1)
            await until(lambda due=due: self._shop.paid >= due - plan.BUYERS_AT_ONCE)
            before = self._shop.paid
            hit, seconds = await (self._house.restart if self._upgrade else self._house.hit)(victim)
            self._injected[f"{victim} {self._what}"] += hit
            self._recoveries[victim].append(seconds)
            print(f"{victim} {self._what} after {before:,} payments, at work again after {seconds:.1f} s")

    @asynccontextmanager
    async def _looking_at_the_lag(self) -> AsyncIterator[None]:
        def look() -> list[float]:
            try:
                with self._database.connect() as connection:
                    return [lag for (lag,) in connection.execute(LAG)]
            except psycopg.Error:  # it was hit
                return []

        async def go_on_looking() -> None:
            while True:
                self._lags += await asyncio.to_thread(look)
                await asyncio.sleep(LOOK_EVERY)

        looking = asyncio.create_task(go_on_looking())
        try:
            yield
        finally:
            looking.cancel()

    def _report(self, sold_in: float, settled: list[Any]) -> Report:
        made = sales(self._telegram.world.truth)
        differences = [
            *compare(made, books(self._database), self._watch.told),
            *left_over(self._database),
            *self._never_allowed(),
            *unsound(self._house.environment),
            *self._replica_differs(),
        ]
        return Report(
            options=self._options,
            planned={f"{victim} {self._what}": times for victim, times in Counter(self._order()).items()},
            injected=self._injected,
            settled=settled,
            checked=ALL_CHECKED,
            differences=differences,
            facts={
                "payments made": len(made),
                "payments a second": round(len(made) / sold_in, 1),
                "messages repeated": told_again(self._watch.told),
                "webhook answers": dict(self._watch.answers.most_common()),
                "seconds to be at work again": ", ".join(
                    f"{victim} {max(all_):.1f}" for victim, all_ in self._recoveries.items()
                ),
                "replica's lag in seconds": f"median {statistics.median(self._lags or [0]):.3f}, "
                f"longest {max(self._lags, default=0):.3f} of {len(self._lags)} looks",
            },
        )

    def _never_allowed(self) -> Iterator[Difference]:
        for answer, times in self._watch.answers.items():
            if answer.isdecimal() and answer not in RIGHT_ANSWERS:
                yield Difference(ANSWERS, f"{answer}, {times} times")
        yield from (Difference(ENDED, last_words) for last_words in self._house.ended_themselves)
        yield from (Difference(SURPRISES, f"{what}, {times} times") for what, times in self._shop.surprises.items())

    def _replica_differs(self) -> Iterator[Difference]:
        """The ledger there beside the ledger here, once it is said to have caught up."""
        said = manage(
            self._house.environment, "shell", "--verbosity=0", "-c", "from config.replica import *; print(reader())"
        )
        if said.splitlines()[-1] != "replica":
            yield Difference(REPLICA_DIFFERS, f"it is not read from: {said}")
        here, there = (Counter(books(one).ledger) for one in (self._database, self._replica))
        for entry in (here - there) + (there - here):
            yield Difference(REPLICA_DIFFERS, str(entry))
