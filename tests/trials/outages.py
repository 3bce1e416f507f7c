"""T12: our house is away for hours. Telegram keeps what it could not deliver for a day, and then forgets it.

Nobody waits for hours. Telegram's clock is behind ours by as much as all the outages last, and is moved on while the
house is away, so that payments are made all along the outage and the clocks agree in the end. Our clock is PostgreSQL's
and stays the machine's: the house learns of what was paid hours ago by its date alone, as it would.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from telegram_bot.sandbox.truth import Charge, Invoice
from tests.chaos.database import CrashingPostgres
from tests.chaos.plan import Deal, plain_deals
from tests.chaos.verdict import told_again
from tests.trials.figures import Figure, Findings
from tests.trials.stage import Stage

HOUR = 3600.0
KEPT = 24  # hours, by Telegram
SLICES = 12  # of an outage: payments are made, then time passes
SETTLED_WITHIN = 180.0  # seconds after the house is back
BROUGHT_BY = """
    SELECT origin, count(*) FROM payments_paymentevent WHERE event_id = ANY(%s) GROUP BY origin"""


@dataclass(frozen=True)
class Outages:
    """Each outage: the house is ended, payments are made whose checkouts it had approved, and it comes back."""

    name: ClassVar[str] = "T12"
    about: ClassVar[str] = "our house away for 2, 23 and 30 hours"

    payments: int = 1_000
    workers: int = 2
    hours: ClassVar[tuple[int, ...]] = (2, 23, 30)

    async def carry_out(self, database: CrashingPostgres, logs: Path) -> Findings:
        stage = Stage(database, logs)
        deals = plain_deals(self.payments * len(self.hours), seed=12)
        stage.world.clock.ahead = -HOUR * sum(self.hours)
        figures: list[Figure] = []
        async with stage.open(deals, workers=self.workers):
            for number, hours in enumerate(self.hours):
                quotes = [
                    quote
                    async for quote in stage.shop.quotes(deals[number * self.payments : (number + 1) * self.payments])
                ]
                figures += await self._outage(stage, hours, quotes)
            figures.append(Figure("messages that came twice", told_again(stage.watch.told), at_most=0))
            return stage.findings(figures)

    async def _outage(self, stage: Stage, hours: int, quotes: list[tuple[Deal, Invoice]]) -> list[Figure]:
        house, clock = stage.house, stage.world.clock
        stage.say(f"away for {hours} hours")
        stage.watch.begin_anew()
        await asyncio.gather(*(house.stop(name) for name in house.names))
        charges: list[Charge] = []
        for number in range(SLICES):
            charges += [stage.shop.charge(deal, invoice) for deal, invoice in quotes[number::SLICES]]
            await stage.world.subscriptions.pass_time(hours * HOUR / SLICES)
        to_be_forgotten = sum(charge.date + KEPT * HOUR < clock.now() for charge in charges)
        stage.say(f"back after {hours} hours")
        began = time.monotonic()
        await asyncio.gather(*(house.start(name) for name in house.names))
        await stage.delivered(within=SETTLED_WITHIN)
        await stage.told(within=SETTLED_WITHIN)
        seconds = time.monotonic() - began
        redelivered = len(stage.watch.recorded)
        brought_by = dict(stage.ask(BROUGHT_BY, [charge.id for charge in charges]))
        return [
            Figure(f"{hours} h: payments made meanwhile", len(charges)),
            Figure(f"{hours} h: brought again by Telegram", redelivered, at_least=len(charges) - to_be_forgotten),
            Figure(f"{hours} h: forgotten by Telegram", len(charges) - redelivered, at_least=to_be_forgotten),
            Figure(
                f"{hours} h: healed by reconciliation", brought_by.get("reconciliation", 0), at_least=to_be_forgotten
            ),
            Figure(f"{hours} h: seconds until all were told", seconds, at_most=SETTLED_WITHIN),
        ]
