"""The parts of the local Telegram put together, without their HTTP faces."""

import asyncio
import re
import secrets
import string
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from telegram_bot.sandbox.bot_api import BotApi
from telegram_bot.sandbox.buyers import Buyers
from telegram_bot.sandbox.checkout import ANSWER_SECONDS, Checkout
from telegram_bot.sandbox.clock import Clock
from telegram_bot.sandbox.delivery import Deliveries
from telegram_bot.sandbox.faults import Faults
from telegram_bot.sandbox.methods import Methods
from telegram_bot.sandbox.schema import Json, Schema
from telegram_bot.sandbox.store import Store
from telegram_bot.sandbox.subscriptions import Subscriptions
from telegram_bot.sandbox.truth import Bot, Truth, Webhook

TOKEN = re.compile(r"[1-9][0-9]{5,11}:[A-Za-z0-9_-]{30,64}")
DEMO_TOKEN = "100000001:local-telegram-takes-any-token-of-this-form"  # noqa: S105 it opens nothing


def new_token(bot_id: int | None = None) -> str:
    letters = string.ascii_letters + string.digits
    return f"{bot_id or secrets.randbelow(9 * 10**9) + 10**9}:AA{''.join(secrets.choice(letters) for _ in range(33))}"


@dataclass(frozen=True)
class Options:
    """``pace`` shortens the pauses between delivery attempts; ``checkout_seconds`` is how long a bot has to answer a
    pre-checkout, ``webhook_seconds`` how long any webhook has. ``wire`` bounds what is remembered of past traffic.
    ``follow`` has others go along with the clock: it is told how many seconds ahead of the machine's this is to be."""

    token: str = DEMO_TOKEN
    state: Path | None = None
    pace: float = 1.0
    checkout_seconds: float = ANSWER_SECONDS
    webhook_seconds: float = 60.0
    wire: int | None = None
    follow: Callable[[float], None] | None = None

    def __post_init__(self) -> None:
        if not TOKEN.fullmatch(self.token):
            raise ValueError("a bot token is a number, a colon and at least 30 letters, digits, '_' or '-'")


class World:
    def __init__(self, options: Options) -> None:
        self.truth = Truth(Bot(id=int(options.token.partition(":")[0]), token=options.token), wire=options.wire)
        self.store = Store(self.truth, options.state) if options.state else None
        if self.store is not None:
            self.store.load()
        self.clock = Clock(pace=options.pace, ahead=self.truth.ahead)
        self.faults = Faults()
        self.deliveries = Deliveries(self.truth, self.clock, self.faults, answer_seconds=options.webhook_seconds)
        self.checkout = Checkout(self.truth, self.clock, self.deliveries, answer_seconds=options.checkout_seconds)
        self.follow = options.follow
        self.subscriptions = Subscriptions(
            self.truth, self.clock, self.deliveries, self.checkout, follow=options.follow
        )
        self.methods = Methods(self.truth, self.clock, self.deliveries, self.checkout, self.subscriptions)
        self.buyers = Buyers(self.truth, self.clock, self.deliveries, self.checkout)
        self.bot_api = BotApi(self.truth, self.clock, self.faults, self.methods)
        self.deliveries.call = self.bot_api.call_in_answer

    async def start(self) -> None:
        if self.follow is not None:
            await asyncio.to_thread(self.follow, self.clock.ahead)
        await self.deliveries.start()
        if self.store is not None:
            self.store.start()

    async def stop(self) -> None:
        await self.deliveries.stop()
        if self.store is not None:
            await self.store.stop()

    def add_transaction(self, row: Json) -> None:
        """A row of the list that no purchase made: a withdrawal, an advertisement, a chargeback.

        :raises ValueError: when it is no ``StarTransaction``
        """
        problem = Schema.load().problem("StarTransaction", row)
        if problem or ("source" in row) == ("receiver" in row):
            raise ValueError(problem or "a transaction has either a source or a receiver")
        self.truth.transactions.append(row)
        self.truth.touch()

    def charge_back(self, stars: int) -> None:
        self.truth.charged_back += stars
        self.truth.touch()

    def revoke_token(self) -> str:
        """What /revoke does at @BotFather, and the new token: the old one opens nothing any more, and with its session
        went the webhook and the updates that waited for it.
        """
        self.truth.bot.token = new_token(self.truth.bot.id)
        self.deliveries.set_webhook(Webhook(), drop_pending=True)
        return self.truth.bot.token
