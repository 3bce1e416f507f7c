"""A run from its first payment to its verdict, on one event loop with the local Telegram."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from telegram_bot.sandbox.server import HOST, Server
from telegram_bot.sandbox.world import Options as TelegramOptions
from tests.chaos import plan
from tests.chaos.books import LEFT_OVER, UNSOUND, books, left_over, sales, unsound
from tests.chaos.database import CrashingPostgres
from tests.chaos.house import House
from tests.chaos.plan import DATABASE, Deal, Options, Refunder, Repeat
from tests.chaos.processes import TOKEN
from tests.chaos.report import Progress, Report, Settled
from tests.chaos.settling import settle
from tests.chaos.shop import Shop
from tests.chaos.verdict import CHECKED, Difference, compare, told_again
from tests.chaos.waiting import until
from tests.chaos.watch import Watch

PACE = 0.1  # Telegram's pauses between its tries, shortened: a long run has many outages
WEBHOOK_SECONDS = 20
REMEMBERED = 500  # of what went over the wire; the watch has counted it by then
AHEAD = 0.05  # of all payments may begin while a fault that was due before them has not come yet, and at most
MOST_AHEAD = 50
MOST_OWED = 1_000  # messages that buyers may be waiting for: nobody can be told faster than the workers' pace
LAST_FAULTS = 10.0  # seconds in which those that were ordered must befall somebody
TELL_EVERY = 0.5  # seconds
RIGHT_ANSWERS = {"200", "503"}

KILLS, CRASHES = "processes killed", "database crashes"
CUT, SAME, DISGUISED = "answers cut after the effect", "payments repeated", "payments under another id"
CALLS, REFUNDS = "Bot API calls failed", "refunds"

ANSWERS, ENDED = "webhook answers wrong", "processes ended by themselves"
SURPRISES = "surprises of buyers"
ALL_CHECKED = (*CHECKED, *LEFT_OVER, ANSWERS, ENDED, UNSOUND, SURPRISES)


class Run:
    """What is done to the house, and what was seen of it."""

    def __init__(self, options: Options, database: CrashingPostgres, logs: Path) -> None:
        self._options = options
        self._database = database
        self._deals = plan.deals(options)
        self._strikes = plan.strikes(options)
        self._struck = 0
        self._injected: Counter[str] = Counter()
        self._began = time.monotonic()
        telegram = TelegramOptions(token=TOKEN, pace=PACE, webhook_seconds=WEBHOOK_SECONDS, wire=REMEMBERED)
        self._telegram = Server(telegram)
        self._world = self._telegram.world
        self._watch = Watch(self._world)
        self._logs = logs
        self._house: House
        self._shop: Shop

    async def to_the_end(self) -> Report:
        """Sell and strike, let it settle, and compare."""
        address = f"http://{HOST}:{await self._telegram.start()}"
        self._house = House(self._database, address, self._logs, workers=self._options.workers)
        try:
            async with self._house.open() as api:
                self._shop = Shop(self._world, self._watch, self._database, api=api, may_begin=self._may_begin)
                await self._shop.open(self._deals)
                async with self._telling():
                    sold_in = await self._sell_and_strike()
                    settled = await settle(self._world, self._database)
                return await asyncio.to_thread(self._report, sold_in, settled)
        finally:
            await self._telegram.stop()

    async def _sell_and_strike(self) -> float:
        """Seconds until all is sold and all faults have come."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._strike())
            tasks.create_task(self._shop.sell(self._deals))
        await self._use_up_orders()
        return time.monotonic() - began

    async def _strike(self) -> None:
        for strike in self._strikes:
            await until(lambda after=strike.after: self._shop.paid >= after)
            kind = CRASHES if strike.victim == DATABASE else KILLS
            self._injected[kind] += await self._house.strike(strike)
            self._struck += 1

    async def _may_begin(self, deal: Deal) -> None:
        await until(lambda: not self._is_ahead_of_the_faults(deal) and self._owed() <= MOST_OWED)

    def _is_ahead_of_the_faults(self, deal: Deal) -> bool:
        ahead = min(MOST_AHEAD, AHEAD * len(self._deals))
        return self._struck < len(self._strikes) and deal.number > self._strikes[self._struck].after + ahead

    def _owed(self) -> int:
        return self._shop.paid - len(self._watch.told)

    async def _use_up_orders(self) -> None:
        """Let the last faults befall what is still on its way, and count those that found nothing."""
        planned, faults = self._planned(), self._world.faults
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_FAULTS):
                await until(lambda: not faults.calls and not faults.updates)
        left = Counter[str]()
        for order in faults.updates:
            left[order.fault] += order.times
        self._injected[CUT] = planned[CUT] - left["unheard"]
        self._injected[SAME] = planned[SAME] - left["duplicate"]
        self._injected[CALLS] = planned[CALLS] - sum(fault.times for fault in faults.calls)
        faults.clear()

    def _planned(self) -> Mapping[str, int]:
        return {
            KILLS: self._options.kills,
            CRASHES: self._options.crashes,
            CUT: sum(deal.answer_is_cut for deal in self._deals),
            SAME: sum(deal.repeat is Repeat.SAME for deal in self._deals),
            DISGUISED: sum(deal.repeat is Repeat.DISGUISED for deal in self._deals),
            CALLS: sum(deal.call_fails is not None for deal in self._deals),
            REFUNDS: sum(deal.refunder is not Refunder.NOBODY for deal in self._deals),
        }

    @asynccontextmanager
    async def _telling(self) -> AsyncIterator[None]:
        progress = Progress(sys.stderr)

        async def tell() -> None:
            while True:
                hit = f"{self._injected[KILLS]} kills, {self._injected[CRASHES]} crashes"
                waiting = f"{len(self._world.truth.updates)} updates on their way, {max(0, self._owed())} messages owed"
                elapsed = f"{time.monotonic() - self._began:.0f} s"
                progress.tell(self._shop.paid, len(self._deals), (hit, waiting, elapsed))
                await asyncio.sleep(TELL_EVERY)

        telling = asyncio.create_task(tell())
        try:
            yield
        finally:
            telling.cancel()
            progress.end()

    # What came of it

    def _report(self, sold_in: float, settled: list[Settled]) -> Report:
        made = sales(self._world.truth)
        self._injected[REFUNDS] = sum(sale.refunded for sale in made)
        self._injected[DISGUISED] = self._watch.disguised
        differences = [
            *compare(made, books(self._database), self._watch.told),
            *left_over(self._database),
            *self._never_allowed(),
            *unsound(self._house.environment),
        ]
        facts: dict[str, Any] = {
            "payments made": len(made),
            "payments a second": round(len(made) / sold_in, 1),
            "messages repeated": told_again(self._watch.told),
            "of these, answers lost": self._watch.answers_lost,
            "webhook answers": dict(self._watch.answers.most_common()),
            "seconds": round(time.monotonic() - self._began),
        }
        return Report(
            options=self._options,
            planned=self._planned(),
            injected=self._injected,
            settled=settled,
            checked=ALL_CHECKED,
            differences=differences,
            facts=facts,
        )

    def _never_allowed(self) -> Iterator[Difference]:
        for answer, times in self._watch.answers.items():
            if answer.isdecimal() and answer not in RIGHT_ANSWERS:
                yield Difference(ANSWERS, f"{answer}, {times} times")
        yield from (Difference(ENDED, last_words) for last_words in self._house.ended_themselves)
        yield from (Difference(SURPRISES, f"{what}, {times} times") for what, times in self._shop.surprises.items())
