"""What each trial is made on: a database and a local Telegram of its own, the house, and buyers who pay."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

from telegram_bot.sandbox.server import HOST, Server
from telegram_bot.sandbox.world import Options as TelegramOptions
from telegram_bot.sandbox.world import World
from tests.chaos.books import UNSOUND, books, left_over, sales, unsound
from tests.chaos.database import CrashingPostgres
from tests.chaos.house import House
from tests.chaos.plan import Deal
from tests.chaos.processes import TOKEN
from tests.chaos.report import Progress
from tests.chaos.shop import Shop
from tests.chaos.verdict import Difference, Message, compare
from tests.chaos.waiting import until
from tests.chaos.watch import OTHER
from tests.proxy import configured, proxy
from tests.trials.figures import Figure, Findings, counted
from tests.trials.stopwatch import Stopwatch

PACE = 0.1  # Telegram's pauses between its tries, shortened
WEBHOOK_SECONDS = 20
REMEMBERED = 500  # of what went over the wire; the watch has counted it by then
TELL_EVERY = 0.5  # seconds
SURPRISES, ENDED = "surprises of buyers", "processes ended by themselves"
# Told even when there is none; all the others only when they are found.
NAMED = ("payments lost", "payments doubled", "access wrong", "buyers not told", UNSOUND)
Watcher = Callable[[World], Stopwatch]


class Rate:
    """Lets payments begin at so many a second, whoever makes them."""

    def __init__(self, per_second: float) -> None:
        self._between, self._next = 1 / per_second, 0.0

    async def may_begin(self, _: Deal) -> None:
        now = time.monotonic()
        self._next = max(now, self._next + self._between)
        await asyncio.sleep(self._next - now)


class Stage:
    """`watcher` makes what listens to the local Telegram."""

    def __init__(self, database: CrashingPostgres, logs: Path, watcher: Watcher = Stopwatch) -> None:
        self.database = database
        self.logs = logs
        self._telegram = Server(
            TelegramOptions(token=TOKEN, pace=PACE, webhook_seconds=WEBHOOK_SECONDS, wire=REMEMBERED)
        )
        self.world = self._telegram.world
        self.watch = watcher(self.world)
        self.address = ""
        self.house: House
        self.shop: Shop
        self._doing = "opening the house"

    @asynccontextmanager
    async def open(
        self,
        deals: Sequence[Deal],
        *,
        workers: int,
        rate: float = 1e9,
        may_begin: Callable[[Deal], Awaitable[None]] | None = None,
        webs: int = 1,
        front: int | None = None,
        telegram_url: str | None = None,
    ) -> AsyncIterator[None]:
        """The house at work, and everybody in it who is going to buy.

        :param rate: at how many payments a second they buy, unless `may_begin` says when
        :param front: the port of the proxy of deploy/, if there shall be one
        :param telegram_url: where the house finds the Bot API, if not at the local Telegram itself
        """
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._telegram.stop)
            self.address = f"http://{HOST}:{await self._telegram.start()}"
            self.house = House(
                self.database, telegram_url or self.address, self.logs, workers=workers, webs=webs, front=front
            )
            if front is not None:
                stack.enter_context(self._proxy(front))
            api: aiohttp.ClientSession = await stack.enter_async_context(self.house.open())
            self.shop = Shop(
                self.world,
                self.watch,
                self.database,
                api=api,
                may_begin=may_begin or Rate(rate).may_begin,
            )
            await self.shop.open(deals)
            await stack.enter_async_context(self._telling(len(deals)))
            yield

    def _proxy(self, port: int) -> AbstractContextManager[None]:
        """Over plain http: the local Telegram trusts no certificate of ours. It comes from the first local address."""
        upstreams = list(self.house.ports.values())
        here = "127.0.0.1/32"
        return proxy(configured(self.logs, port=port, upstreams=upstreams, certificate=None, telegram=here), port)

    def say(self, doing: str) -> None:
        """What the trial is at, for whoever looks on."""
        self._doing = doing

    async def told(self, *, within: float) -> float:
        """Wait until every buyer who has paid was told, and return the seconds it took, or those it was given."""
        began = time.monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await until(lambda: len(self.watch.confirmed) >= self.shop.paid)
        return time.monotonic() - began

    async def delivered(self, *, within: float) -> None:
        """Wait until every update has arrived or was forgotten."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await until(self.world.deliveries.quiet)

    def findings(self, figures: Iterable[Figure], *, inbox: bool = True) -> Findings:
        """These figures, and all in which the books and what buyers were told differ from what Telegram knows.

        :param inbox: whether every update must have been processed
        """
        found, examples = counted(self._differences(inbox=inbox), of=NAMED)
        return Findings([Figure("payments made", self.shop.paid), *figures, *found], examples)

    def _differences(self, *, inbox: bool) -> Iterator[Difference]:
        made = sales(self.world.truth)
        yield from compare(made, books(self.database), self._told_to({sale.buyer for sale in made}))
        if inbox:
            yield from left_over(self.database)
        yield from unsound(self.house.environment)
        yield from (Difference(SURPRISES, f"{what}, {times} times") for what, times in self.shop.surprises.items())
        yield from (Difference(ENDED, last_words) for last_words in self.house.ended_themselves)

    def _told_to(self, buyers: Collection[int]) -> Mapping[Message, int]:
        """What was said about payments, and all that was said to buyers; others may have asked something."""
        told = self.watch.told.items()
        return {message: times for message, times in told if message.kind != OTHER or message.buyer in buyers}

    def ask(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """The rows of a query of our books."""
        with self.database.connect() as connection:
            return connection.execute(statement, parameters).fetchall()

    def do(self, statement: str) -> None:
        """Change something in our books that no part of the house would."""
        with self.database.connect() as connection:
            connection.execute(statement)

    @asynccontextmanager
    async def _telling(self, total: int) -> AsyncIterator[None]:
        progress, began = Progress(sys.stderr), time.monotonic()

        async def tell() -> None:
            while True:
                waiting = f"{len(self.world.truth.updates)} updates on their way, {len(self.watch.confirmed)} told"
                elapsed = f"{time.monotonic() - began:.0f} s"
                progress.tell(min(total, self.shop.paid), total, (self._doing, waiting, elapsed))
                await asyncio.sleep(TELL_EVERY)

        telling = asyncio.create_task(tell())
        try:
            yield
        finally:
            telling.cancel()
            progress.end()
