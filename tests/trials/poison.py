"""T08: chats whose updates always fail in the worker must not slow down those who pay."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import ClassVar

from telegram_bot.sandbox.faults import Fault
from tests.chaos.database import CrashingPostgres
from tests.chaos.plan import FIRST_BUYER, plain_deals
from tests.trials.figures import Figure, Findings, percentile
from tests.trials.stage import Stage

FIRST_CHATTER = 2 * FIRST_BUYER  # none of these buys
EVERY = 20.0  # seconds, at which each of them writes
GROWTH = 1.10
TOLD_WITHIN = 120.0  # seconds after a round
ALWAYS = 10**9
# So that the next round begins without the further tries of this one's poison.
TAKE_OUT = "UPDATE telegram_bot_incomingupdate SET status = 'done', done_at = now() WHERE status = 'pending'"
FAILED = "SELECT count(*), coalesce(sum(attempts), 0) FROM telegram_bot_incomingupdate WHERE error <> ''"


@dataclass(frozen=True)
class Poison:
    """Rounds in turns, with the same payments and the same questions: in one they are answered, in the next each of
    their answers fails, and is tried again by the clock."""

    name: ClassVar[str] = "T08"
    about: ClassVar[str] = "chats whose updates always fail, beside good payments"

    payments: int = 10_000
    chats: int = 200
    rounds: int = 4
    rate: int = 30
    workers: int = 3

    async def carry_out(self, database: CrashingPostgres, logs: Path) -> Findings:
        stage = Stage(database, logs)
        each = max(1, self.payments // self.rounds)
        deals = plain_deals(2 * each * self.rounds, seed=8)
        recorded: dict[bool, list[float]] = {False: [], True: []}
        told: dict[bool, list[float]] = {False: [], True: []}
        ratios: dict[str, list[float]] = {"recorded": [], "told": []}
        async with stage.open(deals, workers=self.workers, rate=self.rate):
            self._let_in(stage)
            for number in range(self.rounds):
                p99 = {}
                for poisonous in (False, True):
                    stage.say(f"round {number + 1}, {'with' if poisonous else 'without'} poison")
                    start = (2 * number + poisonous) * each
                    stage.watch.begin_anew()
                    chatting = asyncio.create_task(self._chat(stage, poisonous=poisonous))
                    await stage.shop.sell(deals[start : start + each])
                    await stage.told(within=TOLD_WITHIN)
                    chatting.cancel()
                    with suppress(asyncio.CancelledError):
                        await chatting
                    await stage.delivered(within=TOLD_WITHIN)
                    if poisonous:
                        stage.do(TAKE_OUT)
                    now = {
                        "recorded": list(stage.watch.recorded.values()),
                        "told": list(stage.watch.told_after.values()),
                    }
                    recorded[poisonous] += now["recorded"]
                    told[poisonous] += now["told"]
                    p99[poisonous] = {what: percentile(values, 99) for what, values in now.items()}
                for what, values in ratios.items():
                    values.append(p99[True][what] / p99[False][what])
            ((updates, tries),) = stage.ask(FAILED)
            return stage.findings(
                [
                    Figure("updates that always failed", updates, at_least=self.chats),
                    Figure("tries of these", tries, at_least=updates),
                    Figure("payment → 200, p99 without poison, s", percentile(recorded[False], 99)),
                    Figure("payment → 200, p99 with poison, s", percentile(recorded[True], 99)),
                    Figure("payment → 200, with : without, of each pair's p99", median(ratios["recorded"]), GROWTH),
                    Figure("payment → told, p99 without poison, s", percentile(told[False], 99)),
                    Figure("payment → told, p99 with poison, s", percentile(told[True], 99)),
                    Figure("payment → told, with : without, of each pair's p99", median(ratios["told"]), GROWTH),
                ],
                inbox=False,
            )

    def _let_in(self, stage: Stage) -> None:
        """Half of them write to a bot that cannot answer them, ever; the others are like anybody else."""
        for number in range(2 * self.chats):
            person = stage.world.buyers.add(f"Chatter {number}", user_id=FIRST_CHATTER + number)
            person.started = True
            if number % 2:
                stage.world.faults.order(Fault("sendMessage", "500", times=ALWAYS, person=person.id))

    async def _chat(self, stage: Stage, *, poisonous: bool) -> None:
        people = [stage.world.truth.people[FIRST_CHATTER + 2 * n + poisonous] for n in range(self.chats)]
        while True:
            for person in random.sample(people, len(people)):
                stage.world.buyers.say(person, "/plans")
                await asyncio.sleep(EVERY / len(people))
