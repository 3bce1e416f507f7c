"""T37: the Bot API is down. Payments are recorded as before, and their buyers told when it is back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from telegram_bot.notices import SENDERS
from telegram_bot.sandbox.faults import ANY, Fault
from telegram_bot.sandbox.server import HOST
from tests.chaos.database import CrashingPostgres
from tests.chaos.plan import Deal, plain_deals
from tests.chaos.verdict import told_again
from tests.faults.wire import Wire
from tests.trials.figures import Figure, Findings, percentile
from tests.trials.stage import Stage

WAYS = ("refuses", "says nothing", "answers 502")
GROWTH = 1.5
TOLD_WITHIN = 120.0  # seconds after it is back: a message's pauses double with each of its tries
ALWAYS = 10**9


@dataclass(frozen=True)
class BotApiDown:
    """For each way to be down, a round while it is up and one while it is down, with the same payments."""

    name: ClassVar[str] = "T37"
    about: ClassVar[str] = "the Bot API refuses, says nothing, or answers 502"

    payments: int = 600
    rate: int = 20
    workers: int = 2

    async def carry_out(self, database: CrashingPostgres, logs: Path) -> Findings:
        stage = Stage(database, logs)
        deals = plain_deals(2 * self.payments * len(WAYS), seed=37)
        rounds = [deals[start : start + self.payments] for start in range(0, len(deals), self.payments)]
        figures: list[Figure] = []

        async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            return await asyncio.open_connection(HOST, int(stage.address.rpartition(":")[2]))

        with closing(Wire(connect)) as wire:
            bot_api = f"http://{HOST}:{wire.port}"
            async with stage.open(deals, workers=self.workers, rate=self.rate, telegram_url=bot_api):
                for number, way in enumerate(WAYS):
                    stage.say("while it is up")
                    up = await self._round(stage, rounds[2 * number])
                    await stage.told(within=TOLD_WITHIN)
                    stage.say(f"while it {way}")
                    with down(way, stage, wire):
                        told_before = len(stage.watch.told)
                        without = await self._round(stage, rounds[2 * number + 1])
                        told_meanwhile = len(stage.watch.told) - told_before
                    stage.say("while it is back")
                    seconds = await stage.told(within=TOLD_WITHIN)
                    figures += [
                        Figure(f"{way}: payment → 200, p99 while it was up, s", up),
                        Figure(f"{way}: payment → 200, p99 while it was down, s", without),
                        Figure(f"{way}: down : up", without / up, at_most=GROWTH),
                        Figure(f"{way}: buyers told meanwhile", told_meanwhile, at_most=0),
                        Figure(f"{way}: seconds after it was back until all were told", seconds, TOLD_WITHIN),
                    ]
                failures = sum(times for answer, times in stage.watch.answers.items() if answer != "200")
                figures += [
                    Figure("deliveries that failed", failures, at_most=0),
                    # Those that were under way when the line was cut: done there, and not known here.
                    Figure(
                        "messages that came twice", told_again(stage.watch.told), len(WAYS) * self.workers * SENDERS
                    ),
                ]
                return stage.findings(figures)

    async def _round(self, stage: Stage, deals: Sequence[Deal]) -> float:
        """The p99 of these payments, in seconds from the post to the 200."""
        stage.watch.begin_anew()
        await stage.shop.sell(deals)
        await stage.delivered(within=TOLD_WITHIN)
        return percentile(list(stage.watch.recorded.values()), 99)


@contextmanager
def down(way: str, stage: Stage, wire: Wire) -> Iterator[None]:
    """The Bot API out of reach of the house until the end of the block."""
    if way == "answers 502":
        stage.world.faults.order(Fault(ANY, "502", times=ALWAYS))
        yield
        stage.world.faults.clear()
        return
    with wire.refusing() if way == "refuses" else wire.swallowing():
        yield
