"""How long things took, as the local Telegram saw it."""

from __future__ import annotations

import json

from telegram_bot.sandbox.truth import Call, Delivery
from telegram_bot.sandbox.world import World
from tests.chaos.verdict import PAID, Message
from tests.chaos.watch import TOLD, Watch

PAYMENT = "successful_payment"


class Stopwatch(Watch):
    """Both series are seconds from the first time a payment was posted: until it was taken, and until the buyer was
    told. What is in neither has not happened yet."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.recorded: dict[Message, float] = {}
        self.told_after: dict[Message, float] = {}
        self.confirmed: set[Message] = set()
        """All payments whose buyers were told, in whatever round."""
        self._posted: dict[Message, float] = {}

    def begin_anew(self) -> None:
        """Forget what was timed, for another round."""
        self.recorded, self.told_after, self._posted = {}, {}, {}

    def _note_delivery(self, delivery: Delivery) -> None:
        super()._note_delivery(delivery)
        if delivery.kind != PAYMENT:
            return
        about = self._confirmation_of(delivery)
        posted = self._posted.setdefault(about, delivery.date)
        if delivery.error is None:
            self.recorded.setdefault(about, delivery.date + delivery.seconds - posted)

    def _confirmation_of(self, delivery: Delivery) -> Message:
        paid = json.loads(delivery.request)["message"][PAYMENT]
        charge = self._world.truth.charges[paid["telegram_payment_charge_id"]]
        return Message(charge.person_id, self._world.truth.invoices[charge.invoice_id].title, PAID)

    def _note_call(self, call: Call) -> None:
        super()._note_call(call)
        if call.method != "sendMessage" or call.code != 200:
            return
        _, pattern = TOLD[0]
        if found := pattern.match(call.arguments["text"]):
            about = Message(call.arguments["chat_id"], found[1], PAID)
            self.confirmed.add(about)
            if about in self._posted:
                self.told_after.setdefault(about, call.date - self._posted[about])
