"""HTTP to the Bot API, and the only file that knows it: synchronous calls, each limited in time, with typed errors.

One daemon thread per process owns one event loop and one `telegram.Bot` with its connections, so that no invoice
pays for a new loop and TLS handshake. It starts at the first call, anew after a fork, and ends with the process.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import math
import os
import threading
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from concurrent.futures import CancelledError
from contextlib import suppress
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, TypeVar, cast
from urllib.parse import urlencode

import httpx
from django.conf import settings
from django.db import connections
from telegram import (
    AffiliateInfo,
    Bot,
    InlineKeyboardMarkup,
    LabeledPrice,
    LinkPreviewOptions,
    StarTransaction,
    TransactionPartnerUser,
    WebhookInfo,
)
from telegram.error import (
    BadRequest,
    ChatMigrated,
    Conflict,
    EndPointNotFound,
    Forbidden,
    InvalidToken,
    RetryAfter,
    TelegramError,
)
from telegram.request import HTTPXRequest

from config.database import release_connection
from payments.channels.base import (
    AlreadyRefunded,
    ChannelError,
    ChatUnavailable,
    ListedTransaction,
    NotRenewing,
    Refused,
    Unavailable,
    Unclear,
)
from payments.money import NANOSTARS, Money
from telegram_bot import keyboards, texts

# Seconds, per call: to connect, to wait for the next bytes, and for the whole call whatever happens.
CONNECT_LIMIT, READ_LIMIT, CALL_LIMIT = 2.0, 5.0, 7.0
CONNECTIONS = 16
NOT_FOUND = ("chat not found", "peer_id_invalid", "user not found")
NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
NO_PREVIEW = LinkPreviewOptions(is_disabled=True)

# What PTB will make of a time span in its next major version; without it every 429 comes with a warning.
os.environ.setdefault("PTB_TIMEDELTA", "true")

T = TypeVar("T")


class TokenRefused(Unavailable):
    """Telegram does not know the bot's token. Nothing works until TELEGRAM_BOT_TOKEN is right."""


class AnotherPoller(Unavailable):
    """Another process is fetching the bot's updates, or a webhook is set."""


class CallInsideTransaction(Exception):
    """Telegram was to be called while a database transaction was open, which would hold its locks for seconds."""


def typed(error: TelegramError) -> ChannelError:
    """Our error for PTB's: whether it happened, and whether asking again can help."""
    # TimedOut and BadRequest are NetworkErrors in PTB: what is left after all these is one, or an unreadable answer.
    match error:
        case RetryAfter(retry_after=timedelta() as pause):
            return Unavailable(retry_after=math.ceil(pause.total_seconds()))
        case InvalidToken() | EndPointNotFound():
            return TokenRefused(retry_after=60)
        case Conflict():
            return AnotherPoller(retry_after=5)
        case Forbidden():
            return ChatUnavailable(error.message)
        case BadRequest() if any(words in error.message.lower() for words in NOT_FOUND):
            return ChatUnavailable(error.message)
        case BadRequest() | ChatMigrated():
            return Refused(error.message)
    if isinstance(error.__cause__, NEVER_SENT):
        return Unavailable()
    return Unclear(error.message[:200] if error.__cause__ is None else type(error.__cause__).__name__)


class Line:
    """A thread with an event loop, and the bot that belongs to that loop."""

    def __init__(self, *, token: str, base_url: str) -> None:
        request = partial(
            HTTPXRequest,
            connect_timeout=CONNECT_LIMIT,
            read_timeout=READ_LIMIT,
            pool_timeout=CONNECT_LIMIT,
            # Over plain http there is no certificate to check; to load the authorities takes a twentieth of a second.
            httpx_kwargs={} if base_url.startswith("https:") else {"verify": False},
        )
        self.updates, self.calls = request(connection_pool_size=1), request(connection_pool_size=CONNECTIONS)
        self.bot = Bot(token, base_url=f"{base_url}/bot", request=self.calls, get_updates_request=self.updates)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="telegram-gateway", daemon=True)
        self.thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T], *, limit: float) -> T:
        """Run it on the loop and wait for its end, for at most `limit` seconds."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result(limit)
        finally:
            future.cancel()

    def close(self) -> None:
        with suppress(TimeoutError):
            self.run(self._hang_up(), limit=CONNECT_LIMIT)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(CONNECT_LIMIT)
        if not self.thread.is_alive():
            self.loop.close()

    async def _hang_up(self) -> None:
        await self.updates.shutdown()
        await self.calls.shutdown()


class TelegramGateway:
    """The Bot API as the settings name it. Every call but the four of the life cycle raises a ChannelError."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._line: Line | None = None
        os.register_at_fork(after_in_child=self._forget)
        atexit.register(self.close)

    def __repr__(self) -> str:
        return f"<TelegramGateway of bot {settings.TELEGRAM_BOT_ID}>"

    def close(self) -> None:
        """End the thread and its connections; the next call starts them anew, with the settings of that moment."""
        with self._lock:
            line, self._line = self._line, None
        if line is not None:
            line.close()

    def _forget(self) -> None:
        """After a fork the thread is the parent's, and so are the connections."""
        self._lock, self._line = threading.Lock(), None

    def _open(self) -> Line:
        with self._lock:
            if self._line is None:
                self._line = Line(token=settings.TELEGRAM_BOT_TOKEN, base_url=settings.TELEGRAM_API_BASE_URL)
            return self._line

    def _call(self, call: Callable[[Line], Coroutine[Any, Any, T]], *, wait: float = 0) -> T:
        if any(connection.in_atomic_block for connection in connections.all(initialized_only=True)):
            message = "A transaction is open in this thread. Commit first, then call Telegram."
            raise CallInsideTransaction(message)
        release_connection()  # who waits for Telegram must not keep one from those who record payments
        line = self._open()
        failure: ChannelError
        try:
            return line.run(call(line), limit=CALL_LIMIT + wait)
        except TelegramError as error:
            failure = typed(error)
        except (TimeoutError, CancelledError):
            failure = Unclear("no answer in time")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            failure = Unclear(f"not an answer of Telegram's: {type(error).__name__}")
        # Raised here rather than above, so that no exception that carries the address, and in it the token, hangs on.
        raise failure

    # --- Invoices (payments.channels.base.InvoiceGateway) -----------------------------------------------------------

    def send_invoice(
        self,
        *,
        chat_id: int,
        title: str,
        description: str,
        payload: str,
        money: Money,
        provider_token: str,
        needs: Collection[str] = (),
    ) -> int:
        message = self._call(
            lambda line: line.bot.send_invoice(
                chat_id=chat_id,
                title=title,
                description=description,
                payload=payload,
                currency=money.currency,
                prices=[LabeledPrice(title, money.amount)],
                provider_token=provider_token,
                need_name="name" in needs or None,
                need_phone_number="phone_number" in needs or None,
                need_email="email" in needs or None,
            )
        )
        return message.message_id

    def create_invoice_link(
        self,
        *,
        title: str,
        description: str,
        payload: str,
        money: Money,
        provider_token: str,
        subscription_days: int | None,
        needs: Collection[str] = (),
    ) -> str:
        return self._call(
            lambda line: line.bot.create_invoice_link(
                title=title,
                description=description,
                payload=payload,
                currency=money.currency,
                prices=[LabeledPrice(title, money.amount)],
                provider_token=provider_token,
                subscription_period=None if subscription_days is None else timedelta(days=subscription_days),
                need_name="name" in needs or None,
                need_phone_number="phone_number" in needs or None,
                need_email="email" in needs or None,
            )
        )

    def send_link(self, *, chat_id: int, title: str, link: str, money: Money, renews: bool, language_code: str) -> int:
        with texts.speaking(language_code):
            text = texts.pay_by_link(title=title, money=money, renews=renews)
            keyboard = keyboards.pay_by_link(link=link, money=money)
        return self.send_message(chat_id=chat_id, text=text, keyboard=keyboard)

    # --- Refunds (payments.channels.base.RefundGateway) -------------------------------------------------------------

    def refund(self, *, telegram_user_id: int, charge_id: str) -> None:
        try:
            self._call(lambda line: line.bot.refund_star_payment(telegram_user_id, charge_id))
        except Refused as refusal:
            if "charge_already_refunded" in refusal.description.lower():
                raise AlreadyRefunded(refusal.description) from refusal
            raise

    def cancel_subscription(self, *, telegram_user_id: int, first_charge_id: str) -> None:
        self._edit_subscription(telegram_user_id, first_charge_id, is_canceled=True)

    def allow_subscription(self, *, telegram_user_id: int, first_charge_id: str) -> None:
        self._edit_subscription(telegram_user_id, first_charge_id, is_canceled=False)

    def _edit_subscription(self, telegram_user_id: int, first_charge_id: str, *, is_canceled: bool) -> None:
        try:
            self._call(
                lambda line: line.bot.edit_user_star_subscription(
                    telegram_user_id, first_charge_id, is_canceled=is_canceled
                )
            )
        except Refused as refusal:
            if "subscription_not_active" in refusal.description.lower():
                raise NotRenewing(refusal.description) from refusal
            raise

    def transactions(self, *, offset: int, limit: int) -> list[ListedTransaction]:
        listed = self._call(lambda line: line.bot.get_star_transactions(offset, limit))
        return [_listed(row) for row in listed.transactions]

    def balance(self) -> int:
        stars = self._call(lambda line: line.bot.get_my_star_balance())
        return stars.amount * NANOSTARS + (stars.nanostar_amount or 0)

    # --- Chats ------------------------------------------------------------------------------------------------------

    def send_message(self, *, chat_id: int, text: str, keyboard: InlineKeyboardMarkup | None = None) -> int:
        """Send a plain text of 1–4096 characters and return the message's id."""
        message = self._call(
            lambda line: line.bot.send_message(
                chat_id=chat_id, text=text, reply_markup=keyboard, link_preview_options=NO_PREVIEW
            )
        )
        return message.message_id

    def edit_message(
        self, *, chat_id: int, message_id: int, text: str, keyboard: InlineKeyboardMarkup | None = None
    ) -> None:
        """Put another text and keyboard into a message of ours; one that says this already is left as it is."""
        try:
            self._call(
                lambda line: line.bot.edit_message_text(
                    chat_id=chat_id,
                    message_id=message_id,
                    text=text,
                    reply_markup=keyboard,
                    link_preview_options=NO_PREVIEW,
                )
            )
        except Refused as refusal:
            if "message is not modified" not in refusal.description.lower():
                raise

    def answer_button(self, *, query_id: str, text: str = "", alert: bool = False) -> bool:
        """End the waiting sign on a pressed button, with a text of at most 200 characters or none.

        False when the press is too old to be answered, which nobody can help.
        """
        return self._answer(
            lambda line: line.bot.answer_callback_query(query_id, text=text or None, show_alert=alert or None)
        )

    def answer_pre_checkout(self, *, query_id: str, ok: bool, error_message: str = "") -> bool:
        """Let a checkout go on, or refuse it with a text for the buyer; False when it is too late for either."""
        return self._answer(
            lambda line: line.bot.answer_pre_checkout_query(query_id, ok=ok, error_message=error_message or None)
        )

    def refuse_shipping(self, *, query_id: str, error_message: str) -> bool:
        """Say to who asks for delivery that there is none; False when it is too late to say so."""
        return self._answer(
            lambda line: line.bot.answer_shipping_query(query_id, ok=False, error_message=error_message)
        )

    def _answer(self, call: Callable[[Line], Coroutine[Any, Any, bool]]) -> bool:
        try:
            return self._call(call)
        except Refused as refusal:
            if "query is too old" in refusal.description.lower():
                return False
            raise

    # --- Updates and the bot itself ---------------------------------------------------------------------------------

    def username(self) -> str:
        """The bot's name in Telegram, without the @."""
        me = self._call(lambda line: line.bot.get_me())
        return me.username or ""

    def set_webhook(self, *, url: str, secret: str, allowed_updates: Iterable[str], max_connections: int) -> None:
        self._call(
            lambda line: line.bot.set_webhook(
                url, secret_token=secret, allowed_updates=list(allowed_updates), max_connections=max_connections
            )
        )

    def delete_webhook(self) -> None:
        """Have updates kept for getUpdates; those that wait go on waiting."""
        self._call(lambda line: line.bot.delete_webhook())

    def webhook_info(self) -> WebhookInfo:
        return self._call(lambda line: line.bot.get_webhook_info())

    def clock(self) -> datetime:
        """What time it is at Telegram, to the second, as its web server says without being told who asks."""
        failure: ChannelError
        try:
            answer = httpx.head(
                settings.TELEGRAM_API_BASE_URL, timeout=httpx.Timeout(READ_LIMIT, connect=CONNECT_LIMIT)
            )
            return parsedate_to_datetime(answer.headers["Date"])
        except httpx.HTTPError as error:
            failure = Unclear(type(error).__name__)
        except (KeyError, ValueError):
            failure = Unclear("no Date in the answer")
        raise failure

    def updates(self, *, offset: int | None, allowed_updates: Iterable[str], wait: int) -> list[tuple[int, bytes]]:
        """The updates from `offset` on as `(update_id, JSON)`, within `wait` seconds; those before it are confirmed.

        They do not go through PTB's types, which lose what they do not know. The JSON is written anew, in ASCII: the
        values and their order are Telegram's, only bytes that are no UTF-8 come as U+FFFD.
        """
        query = {"timeout": wait, "allowed_updates": json.dumps(list(allowed_updates)), "offset": offset}
        address = urlencode({name: value for name, value in query.items() if value is not None})
        answer = self._call(
            lambda line: line.updates.post(f"{line.bot.base_url}/getUpdates?{address}", read_timeout=wait + READ_LIMIT),
            wait=wait,
        )
        return [(update["update_id"], json.dumps(update).encode()) for update in cast(list[dict[str, Any]], answer)]

    def describe(
        self, *, commands: Mapping[str, str], description: str, short_description: str, language_code: str = ""
    ) -> None:
        """Register what people see of the bot before they use it; without a language for those of any other."""
        language = language_code or None
        self._call(lambda line: line.bot.set_my_commands(list(commands.items()), language_code=language))
        self._call(lambda line: line.bot.set_my_description(description, language_code=language))
        self._call(lambda line: line.bot.set_my_short_description(short_description, language_code=language))


def _listed(row: StarTransaction) -> ListedTransaction:
    partner = row.receiver or row.source
    person = partner if isinstance(partner, TransactionPartnerUser) else None
    return ListedTransaction(
        transaction_id=row.id,
        incoming=row.receiver is None,
        amount=row.amount,
        nanostar_amount=row.nanostar_amount or 0,
        date=row.date,
        telegram_user_id=person.user.id if person else None,
        payload=(person.invoice_payload or "") if person else "",
        raw=row.to_json().encode(),
        renews=person is not None and person.subscription_period is not None,
        commission=_commission(person.affiliate) if person and person.affiliate else 0,
    )


def _commission(affiliate: AffiliateInfo) -> int:
    return abs(affiliate.amount * NANOSTARS + (affiliate.nanostar_amount or 0))


gateway = TelegramGateway()
