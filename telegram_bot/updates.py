"""Telegram's JSON, translated into our words: the one file that knows the shape of an update.

`read_update` never raises: what cannot be understood becomes `Unreadable`, because its bytes are kept all the same.
Numbers are taken as they are written, never coerced. Source: Bot API 10.3, type Update.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

from payments.checkout import PreCheckout
from payments.models import Origin, PaymentMethod
from payments.money import STARS, Money
from payments.recording import Details, ReceivedPayment, ReceivedRefund

LARGEST_ID = 2**52
LARGEST_KEY = 1024  # bytes; the longest charge id reported has 255, and an index holds no more than 2700
# The fields of an update that we act on. They are looked for first: a field that Telegram adds must not hide one.
READ = ("message", "pre_checkout_query", "callback_query", "my_chat_member", "subscription", "shipping_query")


@dataclass(frozen=True, slots=True)
class Person:
    """A Telegram user."""

    id: int
    first_name: str = ""
    last_name: str = ""
    username: str = ""
    language_code: str = ""

    @property
    def display_name(self) -> str:
        return f"{self.first_name} {self.last_name}".strip()


@dataclass(frozen=True, slots=True)
class Command:
    """`/name argument`, the name in lower case without slash and bot name."""

    chat_id: int
    is_private: bool
    sender: Person
    name: str
    argument: str
    date: datetime


@dataclass(frozen=True, slots=True)
class Text:
    """A message that is no command; the text is empty for photos and the like."""

    chat_id: int
    is_private: bool
    sender: Person
    text: str


@dataclass(frozen=True, slots=True)
class ButtonPress:
    """A press of an inline button. The message is unknown when it is too old for Telegram."""

    query_id: str
    chat_id: int | None
    message_id: int | None
    sender: Person
    data: str


@dataclass(frozen=True, slots=True)
class Membership:
    """The bot was blocked, started again, added somewhere or removed."""

    chat_id: int
    is_private: bool
    sender: Person
    can_write: bool


@dataclass(frozen=True, slots=True)
class SubscriptionChange:
    """A buyer's subscription was canceled, active again, or failed to renew; only the payload says which."""

    subscriber: Person
    payload: str
    state: str


@dataclass(frozen=True, slots=True)
class ShippingQuestion:
    """Somebody wants an invoice delivered to an address, which no invoice of ours offers."""

    query_id: str
    sender: Person


@dataclass(frozen=True, slots=True)
class UnreadableMoney:
    """Money moved, but its amount, currency or id is no such thing. Kept as bytes and held."""

    detail: str


@dataclass(frozen=True, slots=True)
class Other:
    """An update of no concern to us."""


Content: TypeAlias = (
    Command
    | Text
    | ButtonPress
    | Membership
    | SubscriptionChange
    | ShippingQuestion
    | PreCheckout
    | ReceivedPayment
    | ReceivedRefund
    | UnreadableMoney
    | Other
)


@dataclass(frozen=True, slots=True)
class Update:
    """An update that was understood. `kind` is the name of its field."""

    update_id: int
    kind: str
    content: Content

    @property
    def telegram_user_id(self) -> int | None:
        """Whom it is about; None where that is nobody."""
        match self.content:
            case PreCheckout(payer_telegram_id=telegram_user_id):
                return telegram_user_id
            case ReceivedPayment(payer=int(telegram_user_id)) | ReceivedRefund(payer=int(telegram_user_id)):
                return telegram_user_id
            case Command(sender=person) | Text(sender=person) | ButtonPress(sender=person) | Membership(sender=person):
                return person.id
            case SubscriptionChange(subscriber=person) | ShippingQuestion(sender=person):
                return person.id
        return None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A body that is no update, and why; its id where at least that could be read."""

    why: str
    update_id: int | None = None


class UnfitError(ValueError):
    """A field is missing or of another type than the Bot API says."""


def read_update(body: bytes) -> Update | Unreadable:
    """Translate one body of the webhook, or one element of getUpdates."""
    update_id = None
    try:
        # A genuine update may hold bytes that are not UTF-8, which Telegram passes on raw.
        update = _decode(body.decode(errors="surrogateescape"))
        if not isinstance(update, dict):
            return Unreadable("not an object")
        update_id = _integer(update, "update_id")
        kind = next((name for name in (*READ, *update) if name in update and name != "update_id"), "")
        return Update(update_id, _kind(kind), _content(kind, update.get(kind)))
    except (ValueError, RecursionError) as error:
        return Unreadable(_sentence(error), update_id)


def _content(kind: str, value: Any) -> Content:
    if kind == "message":
        return _message(_object(value))
    if kind == "pre_checkout_query":
        return _pre_checkout(_object(value))
    if kind == "callback_query":
        return _button_press(_object(value))
    if kind == "my_chat_member":
        return _membership(_object(value))
    if kind == "subscription":
        change = _object(value)
        return SubscriptionChange(
            _person(_object(change.get("user"))),
            _fit_for_a_column(_text(change, "invoice_payload")),
            _text(change, "state"),
        )
    if kind == "shipping_query":
        query = _object(value)
        return ShippingQuestion(_text(query, "id"), _person(_object(query.get("from"))))
    return Other()


def _message(message: dict[str, Any]) -> Content:
    if "successful_payment" in message:
        return _payment(message, _object(message["successful_payment"]))
    if "refunded_payment" in message:
        return _refund(message, _object(message["refunded_payment"]))
    if "from" not in message:
        return Other()  # a channel speaks, not a person
    chat = _object(message.get("chat"))
    chat_id, is_private = _integer(chat, "id"), chat.get("type") == "private"
    sender = _person(_object(message["from"]))
    text = _fit_for_a_column(_text(message, "text", default=""))
    if text.startswith("/"):
        name, _, argument = text[1:].partition(" ")
        return Command(chat_id, is_private, sender, name.partition("@")[0].lower(), argument.strip(), _date(message))
    return Text(chat_id, is_private, sender, text)


def _payment(message: dict[str, Any], payment: dict[str, Any]) -> ReceivedPayment | UnreadableMoney:
    """The payer is the sender of the message. Only an account may pay: a chat or a bot cannot."""
    payer = _telegram_id(_object(message.get("from")))
    try:
        money, method = _money(payment)
        expires = payment.get("subscription_expiration_date")
        return ReceivedPayment(
            method=method,
            charge_id=_key(payment, "telegram_payment_charge_id"),
            money=money,
            payer=payer,
            payload=_fit_for_a_column(_text(payment, "invoice_payload")),
            occurred_at=_date(message),
            origin=Origin.WEBHOOK,
            raw=_as_bytes({name: value for name, value in payment.items() if name != "order_info"}),
            details=_details(payment.get("order_info")),
            provider_charge_id=_fit_for_a_column(_text(payment, "provider_payment_charge_id", default="")),
            period_ends_at=None if expires is None else _moment(expires),
            renewal=payment.get("is_recurring") is True and payment.get("is_first_recurring") is not True,
        )
    except ValueError as error:
        return UnreadableMoney(_sentence(error))


def _details(entered: Any) -> Details | None:
    """What the buyer entered. It must keep no payment from being recorded, so what is no text is nothing."""
    if not isinstance(entered, dict):
        return None
    texts = {name: _fit_for_a_column(text) for name, text in entered.items() if isinstance(text, str)}
    return Details(texts.get("name", ""), texts.get("phone_number", ""), texts.get("email", ""))


def _refund(message: dict[str, Any], refund: dict[str, Any]) -> ReceivedRefund | UnreadableMoney:
    """The bot appears to say it; the buyer is the chat."""
    payer = _telegram_id(_object(message.get("chat")))
    try:
        money, method = _money(refund)
        return ReceivedRefund(
            method=method,
            charge_id=_key(refund, "telegram_payment_charge_id"),
            money=money,
            payer=payer,
            payload=_fit_for_a_column(_text(refund, "invoice_payload", default="")),
            occurred_at=_date(message),
            origin=Origin.WEBHOOK,
            raw=_as_bytes(refund),
        )
    except ValueError as error:
        return UnreadableMoney(_sentence(error))


def _pre_checkout(query: dict[str, Any]) -> PreCheckout:
    amount = query.get("total_amount")
    payer = _person(_object(query.get("from")))
    return PreCheckout(
        query_id=_key(query, "id"),
        payload=_fit_for_a_column(_text(query, "invoice_payload")),
        payer_telegram_id=payer.id,
        amount=amount if type(amount) is int else None,
        currency=_text(query, "currency"),
        language_code=payer.language_code,
    )


def _button_press(query: dict[str, Any]) -> ButtonPress:
    message = query.get("message")
    message = message if isinstance(message, dict) else {}
    chat = message.get("chat")
    return ButtonPress(
        query_id=_text(query, "id"),
        chat_id=_integer(chat, "id") if isinstance(chat, dict) else None,
        message_id=_integer(message, "message_id") if message else None,
        sender=_person(_object(query.get("from"))),
        data=_text(query, "data", default=""),
    )


def _membership(change: dict[str, Any]) -> Membership:
    chat, member = _object(change.get("chat")), _object(change.get("new_chat_member"))
    return Membership(
        chat_id=_integer(chat, "id"),
        is_private=chat.get("type") == "private",
        sender=_person(_object(change.get("from"))),
        can_write=_text(member, "status") in {"member", "administrator", "creator"},
    )


def _money(payment: dict[str, Any]) -> tuple[Money, PaymentMethod]:
    amount: Any = payment.get("total_amount")  # Money itself says what an amount is
    currency = _text(payment, "currency")
    return Money(
        amount, currency
    ), PaymentMethod.TELEGRAM_STARS if currency == STARS else PaymentMethod.TELEGRAM_PROVIDER


def _key(source: dict[str, Any], name: str) -> str:
    """A text that becomes a unique key, exactly as it came."""
    key = _text(source, name)
    if _fit_for_a_column(key) != key or not 0 < len(key.encode()) <= LARGEST_KEY:
        message = f"{name} is empty, too long or no text"
        raise UnfitError(message)
    return key


def _person(user: dict[str, Any]) -> Person:
    return Person(
        id=_telegram_id(user),
        first_name=_fit_for_a_column(_text(user, "first_name", default="")),
        last_name=_fit_for_a_column(_text(user, "last_name", default="")),
        username=_fit_for_a_column(_text(user, "username", default="")),
        language_code=_fit_for_a_column(_text(user, "language_code", default=""))[:16],
    )


def _telegram_id(user: dict[str, Any]) -> int:
    value = _integer(user, "id")
    if not 0 < value < LARGEST_ID:
        message = f"{value} is no id of a Telegram user"
        raise UnfitError(message)
    return value


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        message = "an object is missing"
        raise UnfitError(message)
    return value


def _integer(source: dict[str, Any], name: str) -> int:
    value = source.get(name)
    if type(value) is not int or abs(value) >= 2**63:
        message = f"{name} is no integer"
        raise UnfitError(message)
    return value


def _text(source: dict[str, Any], name: str, *, default: str | None = None) -> str:
    value = source.get(name, default)
    if not isinstance(value, str):
        message = f"{name} is no text"
        raise UnfitError(message)
    return value


def _date(message: dict[str, Any]) -> datetime:
    return _moment(message.get("date"))


def _moment(seconds: Any) -> datetime:
    if type(seconds) is not int or not 0 < seconds < 2**37:
        message = "a date is no time in seconds"
        raise UnfitError(message)
    return datetime.fromtimestamp(seconds, UTC)


def _fit_for_a_column(text: str) -> str:
    """Without what a text column cannot hold: NUL and lone surrogates. The bytes as they came are kept beside."""
    if text.isprintable():
        return text
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def _as_bytes(answer: dict[str, Any]) -> bytes:
    """The object whole, as JSON in ASCII."""
    return _encode(answer).encode()


def _kind(name: str) -> str:
    return name if name.isidentifier() and len(name) <= 30 else "other"


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        message = "a key is given twice"
        raise UnfitError(message)
    return result


def _sentence(error: Exception) -> str:
    """What was wrong, without what was sent: this goes to the log."""
    if isinstance(error, UnfitError):
        return str(error)
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, json.JSONDecodeError):
        return f"no JSON: {error.msg} at {error.pos}"
    return str(error)[:200]


_decode = json.JSONDecoder(object_pairs_hook=_no_duplicates).decode
_encode = json.JSONEncoder(separators=(",", ":")).encode
