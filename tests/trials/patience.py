"""T38: Telegram asks for patience (429), of a chat and of the whole bot, and is not asked again before it is over."""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from telegram_bot.notices import SENDERS
from telegram_bot.sandbox.faults import Fault
from telegram_bot.sandbox.truth import Call
from telegram_bot.sandbox.world import World
from tests.chaos.database import CrashingPostgres
from tests.chaos.plan import Deal, Refunder, plain_deals
from tests.chaos.processes import CommandFailed, manage
from tests.chaos.report import Settled
from tests.chaos.settling import settle
from tests.chaos.verdict import told_again
from tests.trials.figures import Figure, Findings
from tests.trials.stage import Stage
from tests.trials.stopwatch import Stopwatch

MESSAGE, REFUND, LIST = "sendMessage", "refundStarPayment", "getStarTransactions"
# Whom a pause is about; the list of transactions is the bot's.
ABOUT = {MESSAGE: "chat_id", REFUND: "telegram_payment_charge_id"}
ALWAYS = 10**9
LOOK_EVERY = 0.05
# Before a silence is over Telegram says no more of it: else whoever asks as it ends is told of a second too many.
MOMENT = 0.5
# For the news that patience is asked for to reach all who are at work: what they had begun by then is no disobedience.
UNDER_WAY = 2.0
RECONCILED_EVERY = 2.0
DELAY = 3.0  # seconds after a payment, at most, in which it is asked back


class Obedience(Stopwatch):
    """Notes each call that comes before the pause is over that was asked for before: of its chat or, for the list of
    transactions, of the bot. While the whole bot is asked to be silent, its calls are counted as well. What had been
    begun when the news came is counted apart."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.asked: Counter[str] = Counter()
        self.too_early: Counter[str] = Counter()
        self.under_way: Counter[str] = Counter()
        self.while_silent: Counter[str] = Counter()
        self.silence: dict[str, float] = {}
        """Until when the whole bot was asked to be silent."""
        self._pauses: dict[tuple[str, str], tuple[float, float]] = {}
        """Since when it is known that nobody may ask, and until when, by what about whom."""
        self.seconds = 0
        """That a single chat is asked for."""

    def _note_call(self, call: Call) -> None:
        super()._note_call(call)
        if call.method not in (MESSAGE, REFUND, LIST):
            return
        about = (call.method, str(call.arguments.get(ABOUT.get(call.method, ""))))
        known, over = self._pauses.get(about, (0.0, 0.0))
        if call.date < over:
            (self.too_early if call.date > known else self.under_way)[call.method] += 1
        silence = self.silence.get(call.method, 0.0)
        if call.date < silence:
            self.while_silent[call.method] += 1
        if call.fault == "429":
            self.asked[call.method] += 1
            over = silence if call.date < silence else call.date + self.seconds
            self._pauses[about] = (call.date + UNDER_WAY, over)


@dataclass(frozen=True)
class Patience:
    """Single chats and single refunds are asked for a pause all the time; the whole bot is asked in turns for silence
    with messages, with refunds and with the list, which is read by refunds and by one reconciliation after the other.
    """

    name: ClassVar[str] = "T38"
    about: ClassVar[str] = "Telegram asks for patience"

    payments: int = 1_500
    chats: int = 150
    refunds: int = 150
    silences: int = 3
    pause: int = 10
    rate: int = 10
    workers: int = 2

    async def carry_out(self, database: CrashingPostgres, logs: Path) -> Findings:
        stage = Stage(database, logs, Obedience)
        deals = self._deals()
        async with stage.open(deals, workers=self.workers, rate=self.rate):
            self._ask_some(stage, deals)
            reconciling = asyncio.create_task(self._reconcile_again_and_again(stage))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(stage.shop.sell(deals))
                for _ in range(self.silences):
                    for method in (MESSAGE, REFUND, LIST):
                        stage.say(f"silence of {method}")
                        await self._silence(stage, method)
                        stage.say("no silence")
                        await asyncio.sleep(DELAY)
            stage.world.faults.clear()
            stage.say("settling")
            settled = await settle(stage.world, stage.database)
            reconciling.cancel()
            with suppress(asyncio.CancelledError):
                await reconciling
            return stage.findings([*self._figures(stage.watch), *map(_figure, settled)])

    def _deals(self) -> list[Deal]:
        dice = random.Random("patience")
        deals = plain_deals(self.payments, seed=38)
        for number in dice.sample(range(len(deals)), min(self.refunds, len(deals))):
            asked_back = replace(deals[number], refunder=Refunder.PROGRAM, refund_delay=dice.uniform(0, DELAY))
            deals[number] = asked_back
        return deals

    def _ask_some(self, stage: Stage, deals: Sequence[Deal]) -> None:
        """Single chats, and half of the refunds; the answers to some refunds are lost, so that the list is read."""
        assert isinstance(stage.watch, Obedience)
        stage.watch.seconds = self.pause
        order = stage.world.faults.order
        buyers = sorted({deal.buyer for deal in deals})
        for buyer in random.Random("chats").sample(buyers, min(self.chats, len(buyers))):
            order(Fault(MESSAGE, "429", retry_after=self.pause, person=buyer))
        refunded = [deal for deal in deals if deal.refunder is Refunder.PROGRAM]
        for number, deal in enumerate(refunded):
            if number % 2:
                order(Fault(REFUND, "429", retry_after=self.pause, person=deal.buyer))
            elif number % 3 == 0:
                order(Fault(REFUND, "cut_after_effect", person=deal.buyer))

    async def _silence(self, stage: Stage, method: str) -> None:
        """Answer every call of this kind with what is left of the pause."""
        assert isinstance(stage.watch, Obedience)
        clock, faults = stage.world.clock, stage.world.faults
        ends = stage.watch.silence[method] = clock.now() + self.pause
        fault = Fault(method, "429", times=ALWAYS, retry_after=self.pause)
        faults.order(fault)
        while (left := ends - clock.now()) > MOMENT:
            fault.retry_after = math.ceil(left)
            await asyncio.sleep(LOOK_EVERY)
        faults.calls.remove(fault)
        await asyncio.sleep(MOMENT)

    async def _reconcile_again_and_again(self, stage: Stage) -> None:
        while True:
            with suppress(CommandFailed):  # the last one is judged by what the books are in the end
                await asyncio.to_thread(manage, {**stage.house.environment, "LOG_LEVEL": "ERROR"}, "reconcile")
            await asyncio.sleep(RECONCILED_EVERY)

    def _figures(self, watch: Stopwatch) -> list[Figure]:
        assert isinstance(watch, Obedience)
        under_way = self.silences * self.workers * SENDERS
        return [
            Figure("times that patience with messages was asked for", watch.asked[MESSAGE], at_least=1),
            Figure("times that patience with refunds was asked for", watch.asked[REFUND], at_least=1),
            Figure("times that patience with the list was asked for", watch.asked[LIST], at_least=1),
            Figure("messages to a chat before its pause was over", watch.too_early[MESSAGE], at_most=0),
            Figure("calls of a refund before its pause was over", watch.too_early[REFUND], at_most=0),
            Figure("readings of the list before its pause was over", watch.too_early[LIST], at_most=0),
            Figure(f"of all three, begun within {UNDER_WAY:.0f} s of being asked", watch.under_way.total()),
            # As many as were under way when the first of them was told.
            Figure("messages while the bot was asked to be silent", watch.while_silent[MESSAGE], at_most=under_way),
            Figure("refunds while the bot was asked to be silent", watch.while_silent[REFUND]),
            Figure("messages that came twice", told_again(watch.told) - watch.answers_lost, at_most=0),
        ]


def _figure(settled: Settled) -> Figure:
    seconds = math.inf if settled.left else settled.seconds
    return Figure(f"settled after, s: {settled.what}", seconds, at_most=settled.limit)
