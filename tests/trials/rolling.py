"""T40: restart after restart under load, as a process manager makes them behind the proxy of deploy/."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tests.chaos.database import CrashingPostgres
from tests.chaos.house import Stop
from tests.chaos.plan import Deal, plain_deals
from tests.chaos.verdict import told_again
from tests.chaos.waiting import until
from tests.ports import free_port
from tests.trials.figures import Figure, Findings, percentile
from tests.trials.stage import Rate, Stage

STOP_LIMIT = 10.0  # seconds that process managers wait before they kill
TOLD_WITHIN = 300.0
# By the proxy, which says this for a server that is not there; Telegram brings the update again.
GATEWAY = ("502", "504")


@dataclass(frozen=True)
class Rolling:
    """Two web servers behind the proxy and two workers. A restart stops each of them in turn, waits until it has ended,
    and starts it anew. Each has its share of the payments, which begin with its stop."""

    name: ClassVar[str] = "T40"
    about: ClassVar[str] = "rolling restarts under load"

    restarts: int = 20
    payments: int = 6_000
    rate: int = 30
    webs: int = 2
    workers: int = 2

    async def carry_out(self, database: CrashingPostgres, logs: Path) -> Findings:
        stage, front = Stage(database, logs), free_port()
        deals, rate = plain_deals(self.payments, seed=40), Rate(self.rate)
        stops: list[Stop] = []
        share = self.payments / (self.restarts * (self.webs + self.workers))

        async def may_begin(deal: Deal) -> None:
            await until(lambda: deal.number < (len(stops) + 1) * share)
            await rate.may_begin(deal)

        async def restart_all() -> None:
            for number in range(self.restarts):
                for name in stage.house.names:
                    stage.say(f"restart {number + 1} of {self.restarts}, {name}")
                    await until(lambda: stage.shop.paid >= int(len(stops) * share))
                    stop = await stage.house.stop(name)
                    await stage.house.start(name)
                    stops.append(stop)

        async with stage.open(deals, workers=self.workers, webs=self.webs, front=front, may_begin=may_begin):
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(stage.shop.sell(deals))
                tasks.create_task(restart_all())
            stage.say("settling")
            await stage.delivered(within=TOLD_WITHIN)
            await stage.told(within=TOLD_WITHIN)
            return stage.findings(self._figures(stage, stops))

    def _figures(self, stage: Stage, stops: Sequence[Stop]) -> list[Figure]:
        answers = stage.watch.answers
        by_proxy = sum(answers[status] for status in GATEWAY)
        known = {"200", "503", *GATEWAY}
        recorded = list(stage.watch.recorded.values())
        return [
            Figure("processes stopped", len(stops), at_least=self.restarts * (self.webs + self.workers)),
            Figure("slowest stop, s", max(stop.seconds for stop in stops), at_most=STOP_LIMIT),
            Figure("stops with an error, or by a kill", sum(stop.code != 0 for stop in stops), at_most=0),
            Figure("deliveries answered 200", answers["200"]),
            Figure("deliveries answered 503", answers["503"]),
            Figure("deliveries answered 502 or 504 by the proxy", by_proxy),
            Figure("deliveries answered 500", answers["500"], at_most=0),
            Figure("deliveries that failed otherwise", sum(answers.values()) - sum(answers[one] for one in known)),
            Figure("payment → 200, p99 with Telegram's further tries, s", percentile(recorded, 99)),
            Figure("messages that came twice", told_again(stage.watch.told), at_most=0),
        ]
