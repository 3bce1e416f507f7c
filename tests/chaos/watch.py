"""What the local Telegram sees, counted as it happens and let go of, so that a long run does not fill the memory."""

from __future__ import annotations

import asyncio
import re
from collections import Counter

from telegram_bot.sandbox.faults import WITH_EFFECT
from telegram_bot.sandbox.truth import Call, Delivery
from telegram_bot.sandbox.world import World
from tests.chaos.verdict import PAID, RETURNED, Message

TOLD = (
    (PAID, re.compile(r"✅ Paid: (.+), .+\.")),
    (RETURNED, re.compile(r"↩️ Returned: .+ for (.+)\.")),
)
OTHER = "other"


class Watch:
    """Hears of every change of the truth, on the local Telegram's own event loop."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.answers: Counter[str] = Counter()
        """Of the webhook: the status, or why there was none."""
        self.told: Counter[Message] = Counter()
        self.answers_lost = 0
        """Calls of sendMessage whose effect happened, and whose caller cannot know."""
        self.disguised = 0
        """Payments that came again under another update id."""
        self._to_disguise = 0
        world.truth.listeners.append(self._look)

    def disguise_next(self) -> None:
        """Have the next payment that arrives come again under another update id."""
        self._to_disguise += 1

    def _look(self) -> None:
        truth = self._world.truth
        while truth.deliveries:
            self._note_delivery(truth.deliveries.popleft())
        while truth.calls:
            self._note_call(truth.calls.popleft())
        truth.messages.clear()

    def _note_delivery(self, delivery: Delivery) -> None:
        self.answers[str(delivery.status or delivery.error)] += 1
        if self._to_disguise and delivery.kind == "successful_payment" and delivery.error is None:
            self._to_disguise -= 1
            self.disguised += 1
            again = self._world.deliveries.redeliver
            asyncio.get_running_loop().call_soon(lambda: again(delivery.update_id, under_new_id=True))

    def _note_call(self, call: Call) -> None:
        if call.method != "sendMessage" or call.code != 200:
            return
        self.answers_lost += call.fault in WITH_EFFECT
        text = call.arguments["text"]
        for kind, pattern in TOLD:
            if found := pattern.match(text):
                self.told[Message(call.arguments["chat_id"], found[1], kind)] += 1
                return
        self.told[Message(call.arguments["chat_id"], text, OTHER)] += 1
