"""T13: the reconciliation and the webhook bring the same charges at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from telegram_bot.sandbox.truth import Webhook
from tests.chaos.database import CrashingPostgres
from tests.chaos.plan import Deal, plain_deals
from tests.chaos.processes import CommandFailed, manage
from tests.chaos.verdict import told_again
from tests.chaos.waiting import until
from tests.trials.figures import Figure, Findings
from tests.trials.stage import Stage

BEGINS_WITHIN, ENDS_WITHIN = 300.0, 600.0  # seconds, also where a process takes a minute to start
BUSY = "is being compared at this moment"
BROUGHT = "SELECT count(*) FILTER (WHERE origin = %s), count(*) FROM payments_paymentevent"
LISTED = "SELECT count(*) FROM payments_startransaction"
SHARE = 0.02  # of all payments that each of the two must have brought first: else they did not meet


@dataclass(frozen=True)
class SideBySide:
    """In each round Telegram holds its updates back until the reconciliation has recorded some of the charges, in each
    round more; then it delivers them all and overtakes the reconciliation, which goes on through the same ones."""

    name: ClassVar[str] = "T13"
    about: ClassVar[str] = "the reconciliation and the webhook with the same charges"

    payments: int = 10_000
    rounds: int = 10
    workers: int = 4

    async def carry_out(self, database: CrashingPostgres, logs: Path) -> Findings:
        stage = Stage(database, logs)
        deals = plain_deals(self.payments, seed=13)
        async with stage.open(deals, workers=self.workers):
            for number in range(self.rounds):
                stage.say(f"round {number + 1}")
                dealt = deals[number :: self.rounds]
                await self._round(stage, dealt, ahead=1 + len(dealt) * number // (2 * self.rounds))
            stage.say("telling everybody")
            await stage.told(within=60 + self.payments / 5)
            ((by_reconciliation, recorded),) = stage.ask(BROUGHT, "reconciliation")
            ((listed,),) = stage.ask(LISTED)
            heard = sum(stage.watch.answers[status] for status in ("200",))
            return stage.findings(
                [
                    Figure("brought by the webhook", heard, at_least=self.payments),
                    Figure("brought by the reconciliation", listed, at_least=self.payments),
                    Figure("where the webhook was first", recorded - by_reconciliation, at_least=self._some),
                    Figure("where the reconciliation was first", by_reconciliation, at_least=self._some),
                    Figure("messages that came twice", told_again(stage.watch.told), at_most=0),
                ]
            )

    @property
    def _some(self) -> float:
        return SHARE * self.payments

    async def _round(self, stage: Stage, deals: Sequence[Deal], *, ahead: int) -> None:
        deliveries, webhook = stage.world.deliveries, stage.world.truth.webhook
        deliveries.set_webhook(Webhook(), drop_pending=False)
        async for quote in stage.shop.quotes(deals):
            stage.shop.charge(*quote)
        ((before, _),) = stage.ask(BROUGHT, "reconciliation")
        reconciling = asyncio.create_task(self._reconcile(stage))
        async with asyncio.timeout(BEGINS_WITHIN):
            await until(lambda: reconciling.done() or stage.ask(BROUGHT, "reconciliation")[0][0] >= before + ahead)
        deliveries.set_webhook(replace(webhook), drop_pending=False)
        async with asyncio.timeout(ENDS_WITHIN):
            await reconciling
        await stage.delivered(within=ENDS_WITHIN)

    async def _reconcile(self, stage: Stage) -> None:
        """Until it was us who did it: the workers do it as well, by the clock and at their start."""
        environment = {**stage.house.environment, "LOG_LEVEL": "ERROR"}
        while True:
            try:
                await asyncio.to_thread(manage, environment, "reconcile")
                return
            except CommandFailed as failure:
                if BUSY not in str(failure):
                    raise
                await asyncio.sleep(1)
