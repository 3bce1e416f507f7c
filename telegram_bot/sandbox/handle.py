"""The Python face for tests: people who do things, facts to look at, faults to order.

Every call crosses into the local Telegram's own thread; what comes back is a copy.
"""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, TypeVar

from telegram_bot.sandbox import mini_app
from telegram_bot.sandbox.buyers import buttons_of
from telegram_bot.sandbox.checkout import Outcome
from telegram_bot.sandbox.errors import NotPossible
from telegram_bot.sandbox.faults import ANY, Fault, FaultKind, UpdateOrder
from telegram_bot.sandbox.schema import Json
from telegram_bot.sandbox.truth import (
    Bot,
    Call,
    CallbackQuery,
    Charge,
    Delivery,
    Invoice,
    Person,
    PreCheckout,
    Subscription,
    Truth,
    Update,
    Webhook,
)
from telegram_bot.sandbox.world import World

T = TypeVar("T")
PATIENCE = 20.0


class Loop:
    """The way into the event loop on which everything in the local Telegram happens."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        async def copied() -> T:
            return deepcopy(await work)

        return asyncio.run_coroutine_threadsafe(copied(), self._loop)

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self.begin(work).result()

    def now(self, work: Callable[[], T]) -> T:
        async def at_once() -> T:
            return work()

        return self.wait(at_once())


@dataclass(frozen=True)
class Pressed:
    """What pressing an inline button led to: a query to the bot, an invoice to pay, or an address in ``button``."""

    button: Json
    query: CallbackQuery | None = None
    invoice: Invoice | None = None


class PersonHandle:
    """One person with Telegram on the phone. Everything they do, they do at once, without waiting for the bot."""

    def __init__(self, person_id: int, world: World, loop: Loop) -> None:
        self.id = person_id
        self._world = world
        self._loop = loop
        self._record = world.truth.people[person_id]
        self._seen = 0

    def __repr__(self) -> str:
        return f"<{self._record.first_name} {self.id}>"

    @property
    def record(self) -> Person:
        return self._loop.now(lambda: self._record)

    # In the chat

    def says(self, text: str) -> Json:
        """Write to the bot."""
        message = self._loop.now(lambda: self._world.buyers.say(self._record, text))
        self._seen = message["message_id"]
        return message

    def presses(self, label: str, *, message_id: int | None = None) -> Pressed:
        """Press the newest inline button with this text, or with a text that holds it.

        :raises LookupError: the chat shows no such button; says which it shows
        """
        found_in, button = self._loop.now(lambda: self._button(label, message_id))
        self._seen = self._loop.now(lambda: self._world.truth.last.get("message", 0))
        if "callback_data" in button:
            press = self._world.buyers.press
            query = self._loop.now(lambda: press(self._record, found_in, button["callback_data"]))
            return Pressed(button, query=query)
        if button.get("pay"):
            return Pressed(button, invoice=self.opens(message_id=found_in))
        if button.get("url", "").startswith("https://t.me/$"):
            return Pressed(button, invoice=self.opens(button["url"]))
        return Pressed(button)

    def _button(self, label: str, message_id: int | None) -> tuple[int, Json]:
        messages = [one for one in self._messages() if message_id in (None, one["message_id"])]
        shown = [(one["message_id"], button) for one in reversed(messages) for button in buttons_of(one)]
        exact = [pair for pair in shown if pair[1]["text"] == label]
        close = [pair for pair in shown if label in pair[1]["text"]]
        if not (exact or close):
            raise LookupError(f"no button {label!r} among {[button['text'] for _, button in shown]}")
        return (exact or close)[0]

    def answer_to(self, pressed: Pressed, *, timeout: float = PATIENCE) -> Json:
        """What the bot answers to a pressed button. :raises TimeoutError: it has not"""
        if pressed.query is None:
            raise NotPossible("this button does not ask the bot")
        live = self._world.truth.callbacks[pressed.query.id]
        if not self._loop.wait(self._world.truth.until(lambda: live.answer is not None, within=timeout)):
            raise TimeoutError(f"the bot has not answered the button {pressed.button['text']!r} in {timeout} s")
        return self._loop.now(lambda: live.answer or {})

    def messages(self) -> list[Json]:
        """The chat, oldest first, each as the Bot API writes it."""
        return self._loop.now(self._messages)

    def _messages(self) -> list[Json]:
        return list(self._world.truth.messages.get(self.id, {}).values())

    def hears(self, text: str = "", *, timeout: float = PATIENCE) -> Json:
        """The bot's first message with this text since the person last wrote or pressed, however long it takes.

        :raises TimeoutError: says what the bot wrote instead
        """
        return self._awaits(lambda message: text in message.get("text", ""), f"a message with {text!r}", timeout)

    def last_invoice(self, *, timeout: float = PATIENCE) -> Invoice:
        """The invoice the bot sends in answer to what the person last wrote or pressed. :raises TimeoutError:"""
        message = self._awaits(lambda message: "invoice" in message, "an invoice", timeout)
        return self.opens(message_id=message["message_id"])

    def _awaits(self, wanted: Callable[[Json], bool], what: str, timeout: float) -> Json:
        def answers() -> list[Json]:
            bot = self._world.truth.bot.id
            recent = [one for one in self._messages() if one["message_id"] > self._seen or "edit_date" in one]
            return [one for one in recent if one["from"]["id"] == bot]

        def found() -> Json | None:
            return next(filter(wanted, answers()), None)

        self._loop.wait(self._world.truth.until(lambda: found() is not None, within=timeout))
        message = self._loop.now(found)
        if message is None:
            said = [one.get("text", "(no text)") for one in self._loop.now(answers)]
            raise TimeoutError(f"{what} has not come in {timeout} s; the bot wrote {said}")
        return message

    # Paying

    def opens(self, link: str | None = None, *, message_id: int | None = None) -> Invoice:
        """The invoice behind a link or in a message. :raises LookupError:"""
        return self._loop.now(lambda: self._world.buyers.invoice(self._record, link=link, message_id=message_id))

    def pays(self, invoice: Invoice) -> Outcome:
        """Press Pay and confirm, and wait for how it ends."""
        return self.starts_paying(invoice).result()

    def starts_paying(self, invoice: Invoice) -> Future[Outcome]:
        """The same without waiting: rapid taps, two people at once."""
        return self._loop.begin(self._world.buyers.pay(self._record, invoice.id))

    def forwards(self, invoice: Invoice, *, to: "PersonHandle") -> None:
        recipient = self._world.truth.people[to.id]
        self._loop.now(lambda: self._world.buyers.forward(self._record, invoice.id, recipient))

    def charges(self) -> list[Charge]:
        return self._loop.now(lambda: list(self._world.truth.charges_of(self.id)))

    def subscriptions(self) -> list[Subscription]:
        subscriptions = self._world.truth.subscriptions
        return self._loop.now(lambda: [one for one in subscriptions.values() if one.person_id == self.id])

    def cancels(self, subscription: Subscription) -> None:
        live = self._world.truth.subscriptions[subscription.id]
        self._loop.now(lambda: self._world.subscriptions.cancel(live))

    def reenables(self, subscription: Subscription) -> None:
        live = self._world.truth.subscriptions[subscription.id]
        self._loop.now(lambda: self._world.subscriptions.reenable(live))

    # Beside the chat

    def blocks(self) -> None:
        """Block the bot."""
        self._loop.now(lambda: self._world.buyers.block(self._record))

    def unblocks(self) -> None:
        self._loop.now(lambda: self._world.buyers.unblock(self._record))

    def init_data(self, *, age: int = 0) -> str:
        """What a Mini App gets; ``age`` in seconds, below zero for one from the future."""
        auth_date = self._world.clock.unmoved() - age
        return mini_app.init_data(self.record, token=self._world.truth.bot.token, auth_date=auth_date)


class TruthView:
    """Copies of what is so, each taken at one moment."""

    def __init__(self, truth: Truth, loop: Loop) -> None:
        self._truth = truth
        self._loop = loop

    @property
    def bot(self) -> Bot:
        return self._loop.now(lambda: self._truth.bot)

    @property
    def webhook(self) -> Webhook:
        return self._loop.now(lambda: self._truth.webhook)

    @property
    def people(self) -> list[Person]:
        return self._loop.now(lambda: list(self._truth.people.values()))

    @property
    def messages(self) -> dict[int, list[Json]]:
        """By chat."""
        return self._loop.now(lambda: {chat: list(one.values()) for chat, one in self._truth.messages.items()})

    @property
    def invoices(self) -> list[Invoice]:
        return self._loop.now(lambda: list(self._truth.invoices.values()))

    @property
    def links(self) -> list[str]:
        return [invoice.link for invoice in self.invoices if invoice.link]

    @property
    def checkouts(self) -> list[PreCheckout]:
        return self._loop.now(lambda: list(self._truth.checkouts.values()))

    @property
    def charges(self) -> list[Charge]:
        return self._loop.now(lambda: list(self._truth.charges.values()))

    @property
    def refunds(self) -> list[Charge]:
        """The charges that were given back."""
        return [charge for charge in self.charges if charge.refunded_at is not None]

    @property
    def subscriptions(self) -> list[Subscription]:
        return self._loop.now(lambda: list(self._truth.subscriptions.values()))

    @property
    def transactions(self) -> list[Json]:
        """``StarTransaction`` objects, oldest first."""
        return self._loop.now(lambda: self._truth.transactions)

    @property
    def balance(self) -> int:
        stars: int = self._loop.now(self._truth.balance)["amount"]
        return stars

    @property
    def callbacks(self) -> list[CallbackQuery]:
        return self._loop.now(lambda: list(self._truth.callbacks.values()))

    @property
    def calls(self) -> list[Call]:
        """Bot API requests, oldest first."""
        return self._loop.now(lambda: list(self._truth.calls))

    def calls_of(self, method: str) -> list[Call]:
        return self._loop.now(lambda: [call for call in self._truth.calls if call.method == method])

    @property
    def deliveries(self) -> list[Delivery]:
        """Requests to the webhook, oldest first."""
        return self._loop.now(lambda: list(self._truth.deliveries))

    @property
    def updates(self) -> list[Update]:
        """All that were made, oldest first, with what became of each."""
        every = self._loop.now(lambda: [*self._truth.past_updates, *self._truth.updates.values()])
        return sorted(every, key=lambda update: update.number)

    @property
    def pending(self) -> list[Update]:
        return self._loop.now(lambda: list(self._truth.updates.values()))


class FaultsHandle:
    """What shall go wrong next. Orders stay until they are used up."""

    def __init__(self, world: World, loop: Loop) -> None:
        self._world = world
        self._loop = loop

    def order(
        self,
        method: str,
        kind: FaultKind,
        *,
        times: int = 1,
        retry_after: int = 3,
        seconds: float = 3600.0,
        description: str = "refused by order",
        person: int | None = None,
    ) -> None:
        """For the next ``times`` calls of ``method`` (``*``: of any). See ``faults.Fault``."""
        fault = Fault(method, kind, times, retry_after, seconds, description, person)
        self._loop.now(lambda: self._world.faults.order(fault))

    def order_any(self, kind: FaultKind, *, times: int = 1) -> None:
        self.order(ANY, kind, times=times)

    def updates(
        self, *, duplicate: int = 0, reorder: int = 0, lose: int = 0, unheard: int = 0, kind: str | None = None
    ) -> None:
        """For the next so many updates, of one ``kind`` or of any. See ``faults.UpdateFault``."""
        orders = [
            UpdateOrder("duplicate", duplicate, kind),
            UpdateOrder("reorder", reorder, kind),
            UpdateOrder("lose", lose, kind),
            UpdateOrder("unheard", unheard, kind),
        ]
        self._loop.now(lambda: self._world.faults.order_updates(orders))

    @property
    def ordered(self) -> list[Fault | UpdateOrder]:
        """What has not happened yet."""
        return self._loop.now(lambda: [*self._world.faults.calls, *self._world.faults.updates])

    def clear(self) -> None:
        """Take all orders back, and send what was held back for reordering."""

        def clear() -> None:
            self._world.faults.clear()
            self._world.deliveries.release_held()

        self._loop.now(clear)
