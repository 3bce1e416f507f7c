"""Everything that is so in the local Telegram: who is there, what was said, what was paid.

Facts are changed by ``delivery``, ``methods``, ``checkout``, ``subscriptions`` and ``buyers``, all on one event
loop, so nothing here is locked. Amounts are integers in the smallest unit; times are Unix seconds.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from telegram_bot.sandbox.schema import Json

NANO = 1_000_000_000


@dataclass
class Person:
    id: int
    first_name: str
    last_name: str | None = None
    username: str | None = None
    language_code: str | None = None
    started: bool = False
    """Has written to the bot: until then the bot may not write to them."""
    blocked: bool = False
    """Has blocked the bot."""


@dataclass
class Bot:
    id: int
    token: str
    name: str = "Local shop"
    username: str = "local_shop_bot"
    names: dict[str, str] = field(default_factory=dict)
    """By language code, as the two below; the empty one is for everybody."""
    descriptions: dict[str, str] = field(default_factory=dict)
    short_descriptions: dict[str, str] = field(default_factory=dict)
    commands: list[Json] = field(default_factory=list)
    """``{"scope": …, "language_code": …, "commands": […]}``, one for each pair."""
    menu_buttons: dict[str, Json] = field(default_factory=dict)
    """By chat id; the empty one is for everybody."""


@dataclass
class Invoice:
    """One ``sendInvoice`` or ``createInvoiceLink``. It can be paid any number of times, by anybody who sees it."""

    id: int
    title: str
    description: str
    payload: str
    currency: str
    prices: list[Json]
    date: int
    provider_token: str = ""
    start_parameter: str = ""
    subscription_period: int | None = None
    needs: list[str] = field(default_factory=list)
    """What the buyer's order info must hold: ``name``, ``phone_number``, ``email``."""
    link: str | None = None
    chat_id: int | None = None
    message_id: int | None = None

    @property
    def total_amount(self) -> int:
        return sum(price["amount"] for price in self.prices)


@dataclass
class PreCheckout:
    """A pre-checkout query. ``ok`` is None until the bot has answered, and for ever when it did not in time."""

    id: str
    person_id: int
    invoice_id: int
    date: float
    ok: bool | None = None
    error_message: str | None = None


@dataclass
class Charge:
    """Money that was taken, once and for good, whatever the bot came to know of it."""

    id: str
    person_id: int
    invoice_id: int
    payload: str
    currency: str
    amount: int
    date: int
    provider_charge_id: str = ""
    subscription_id: int | None = None
    subscription_expiration_date: int | None = None
    is_first_recurring: bool = False
    refunded_at: int | None = None


SubscriptionState = Literal["active", "canceled", "failed"]


@dataclass
class Subscription:
    id: int
    person_id: int
    invoice_id: int
    payload: str
    amount: int
    period: int
    first_charge_id: str
    expires_at: int
    state: SubscriptionState = "active"
    canceled_by_bot: bool = False
    """The bot has stopped the renewals, and the person cannot start them again."""
    next_fails: bool = False
    """When it falls due, the person will not have the Stars for it."""

    @property
    def renews(self) -> bool:
        return self.state == "active" and not self.canceled_by_bot


@dataclass
class CallbackQuery:
    id: str
    person_id: int
    message_id: int
    data: str
    date: float
    answer: Json | None = None


@dataclass
class Forward:
    """An invoice message one person has passed on to another. Bots do not see this."""

    id: int
    from_id: int
    to_id: int
    invoice_id: int
    date: int


UpdateState = Literal["pending", "delivered", "confirmed", "expired", "lost", "dropped"]


@dataclass
class Update:
    """An update on its way, or arrived. ``lane`` is the queue in which the webhook gets one at a time."""

    number: int
    update_id: int
    kind: str
    lane: str
    body: bytes
    date: float
    expires_at: float
    state: UpdateState = "pending"
    attempts: int = 0
    repeats: int = 0
    """How many more times it is sent after it has arrived."""


@dataclass
class Webhook:
    url: str = ""
    secret_token: str = ""
    max_connections: int = 40
    has_custom_certificate: bool = False
    ip_address: str | None = None
    last_error_date: int | None = None
    last_error_message: str | None = None


@dataclass(frozen=True)
class Call:
    """A Bot API request. ``answer`` is the whole body; None when the connection was cut instead."""

    number: int
    date: float
    method: str
    arguments: Json
    via: Literal["http", "webhook"]
    code: int | None
    answer: Any
    fault: str | None
    seconds: float


@dataclass(frozen=True)
class Delivery:
    """One request to the webhook. ``status`` is None when no answer came, and ``error`` says why."""

    number: int
    date: float
    update_id: int
    kind: str
    url: str
    attempt: int
    request: bytes
    status: int | None
    reply: bytes
    error: str | None
    seconds: float


@dataclass
class Truth:
    """``wire`` bounds how many past calls, deliveries and updates are remembered; None: all of them."""

    bot: Bot
    wire: int | None = None
    people: dict[int, Person] = field(default_factory=dict)
    messages: dict[int, dict[int, Json]] = field(default_factory=dict)
    """By chat, then by message id: messages as the bot was told them."""
    keyboards: dict[int, Json] = field(default_factory=dict)
    """By chat: the reply keyboard under the input."""
    invoices: dict[int, Invoice] = field(default_factory=dict)
    checkouts: dict[str, PreCheckout] = field(default_factory=dict)
    charges: dict[str, Charge] = field(default_factory=dict)
    subscriptions: dict[int, Subscription] = field(default_factory=dict)
    transactions: list[Json] = field(default_factory=list)
    """``StarTransaction`` objects, oldest first."""
    charged_back: int = 0
    """Stars that Apple or Google have taken back from the balance: no row says so."""
    callbacks: dict[str, CallbackQuery] = field(default_factory=dict)
    forwards: list[Forward] = field(default_factory=list)
    updates: dict[int, Update] = field(default_factory=dict)
    """Pending ones by number, oldest first."""
    webhook: Webhook = field(default_factory=Webhook)
    allowed_updates: list[str] = field(default_factory=list)
    """Empty: all but those that must be asked for by name."""
    ahead: float = 0.0
    """Seconds the clock has been moved on."""
    last: dict[str, int] = field(default_factory=dict)
    """The last number given, by what it counts."""

    def __post_init__(self) -> None:
        self.calls: deque[Call] = deque(maxlen=self.wire)
        self.deliveries: deque[Delivery] = deque(maxlen=self.wire)
        self.past_updates: deque[Update] = deque(maxlen=self.wire)
        self._by_link: dict[str, Invoice] = {}
        self._by_message: dict[tuple[int, int], Invoice] = {}
        self.version = 0
        self.listeners: list[Callable[[], None]] = []

    def touch(self) -> None:
        """Something has changed: whoever shows or saves the truth hears of it."""
        self.version += 1
        for listener in self.listeners:
            listener()

    async def until(self, holds: Callable[[], bool], *, within: float) -> bool:
        """Wait for something to become so; False when it is not so after that many seconds."""
        changed = asyncio.Event()
        self.listeners.append(changed.set)
        try:
            async with asyncio.timeout(within):
                while not holds():
                    changed.clear()
                    await changed.wait()
        except TimeoutError:
            return holds()
        finally:
            self.listeners.remove(changed.set)
        return True

    def number(self, what: str, *, start: int = 1) -> int:
        self.last[what] = self.last.get(what, start - 1) + 1
        return self.last[what]

    def update_id(self) -> int:
        return self.number("update_id", start=100_000_000 + secrets.randbelow(800_000_000))

    def add_invoice(self, invoice: Invoice) -> None:
        self.invoices[invoice.id] = invoice
        if invoice.link:
            self._by_link[invoice.link] = invoice
        if invoice.chat_id is not None and invoice.message_id is not None:
            self._by_message[invoice.chat_id, invoice.message_id] = invoice

    def invoice_by_link(self, link: str) -> Invoice | None:
        return self._by_link.get(link)

    def invoice_of(self, chat_id: int, message_id: int) -> Invoice | None:
        """The invoice a message carries."""
        return self._by_message.get((chat_id, message_id))

    def charges_of(self, person_id: int) -> Iterator[Charge]:
        return (charge for charge in self.charges.values() if charge.person_id == person_id)

    def balance(self) -> Json:
        """The bot's Stars, as a ``StarAmount``."""
        nano = sum(
            (row["amount"] * NANO + row.get("nanostar_amount", 0)) * (1 if "source" in row else -1)
            for row in self.transactions
        )
        nano -= self.charged_back * NANO
        sign = -1 if nano < 0 else 1
        stars, rest = divmod(abs(nano), NANO)
        return {"amount": sign * stars} | ({"nanostar_amount": sign * rest} if rest else {})
