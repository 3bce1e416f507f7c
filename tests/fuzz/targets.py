"""Where bodies go, what a good one looks like there, who sends them, and what may be answered."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any
from urllib.parse import quote, urlencode

import jwt

from tests import updates
from tests.fuzz import bodies
from tests.fuzz.oracle import Answer, faults_of_api, faults_of_webhook
from tests.fuzz.shop import Quote

WEBHOOK = "/api/v1/telegram/webhook"
SECRET_HEADER = "X-Telegram-Bot-Api-Secret-Token"
GOOD, SHARE_OF_GOOD = "good", 0.8
TYPES = ("text/plain", "multipart/form-data; boundary=x", "application/json; charset=utf-16", "application/xml", "x")
FORGED = (
    "", "Bearer", "Bearer x", "Bearer a.b.c", "Bearer eyJhbGciOiJub25lIn0.e30.", "Basic YTpi", "Api-Key", "Api-Key x",
    f"Api-Key abcd1234.{'x' * 43}", f"Bearer {'x' * 9_000}", "Token \xff", "bearer",
)  # fmt: skip
WITH_BODY, READ = {400, 413, 415, 422}, {404, 422}


@dataclass(frozen=True)
class Request:
    target: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    faults: Callable[[Answer], Iterator[str]]
    """What is wrong with an answer to it."""


@dataclass(frozen=True)
class Keys:
    """What opens the house."""

    webhook_secret: str
    jwt_key: str
    api_key: str

    def token(self, quote: Quote) -> str:
        now = int(time.time())
        claims = {"iss": "starledger", "aud": "starledger", "iat": now, "exp": now + 900, "sub": str(quote.payer)}
        return jwt.encode(claims | {"telegram_user_id": quote.payer}, self.jwt_key, algorithm="HS256")


Good = Callable[[Random, Quote], dict[str, Any]]


def make(dice: Random, keys: Keys, quotes: list[Quote]) -> Request:
    """The next request: half of them updates of Telegram, the others calls of the API."""
    quote = dice.choice(quotes)
    kind = dice.random()
    if kind < 0.5:
        return _update(dice, keys, quote)
    return _call(dice, keys, quote) if kind < 0.85 else _read(dice, keys, quote)


# --- From Telegram --------------------------------------------------------------------------------------------------


def _payment(dice: Random, quote: Quote) -> dict[str, Any]:
    return updates.payment(quote, charge_id=f"stx{dice.randrange(10**9)}")


def _refund(dice: Random, quote: Quote) -> dict[str, Any]:
    return updates.refund(quote, charge_id=f"stx{dice.randrange(10**9)}")


def _button(dice: Random, quote: Quote) -> dict[str, Any]:
    message = updates.message(quote.payer, text="Choose")["message"]
    pressed = {"id": str(dice.randrange(10**9)), "from": updates.person(quote.payer), "message": message}
    return {"update_id": dice.randrange(2**31), "callback_query": pressed | {"chat_instance": "1", "data": "buy:gold"}}


def _membership(dice: Random, quote: Quote) -> dict[str, Any]:
    member = {"user": updates.person(1), "status": dice.choice(("member", "kicked"))}
    changed = {"chat": {"id": quote.payer, "type": "private"}, "from": updates.person(quote.payer), "date": 1}
    changed |= {"old_chat_member": member, "new_chat_member": member}
    return {"update_id": dice.randrange(2**31), "my_chat_member": changed}


UPDATES: tuple[Good, ...] = (
    _payment,
    _payment,
    _refund,
    lambda dice, quote: updates.pre_checkout(quote, query_id=str(dice.randrange(10**9))),
    lambda dice, quote: updates.pre_checkout(quote, query_id=str(dice.randrange(10**9))),
    lambda dice, quote: updates.message(quote.payer, text=dice.choice(("/start", "/buy gold_1m", "/status", "hello"))),
    _button,
    _membership,
)


def _update(dice: Random, keys: Keys, quote: Quote) -> Request:
    body = bodies.spoilt(dice.choice(UPDATES)(dice, quote), dice)
    is_telegram = dice.random() < 0.95
    secret = keys.webhook_secret if is_telegram else dice.choice(("", "x", keys.webhook_secret + "x", "\xff\xfe"))
    headers = {"Content-Type": dice.choice(("application/json", *TYPES)), SECRET_HEADER: secret}
    if dice.random() < 0.1:
        headers["Content-Encoding"] = dice.choice(("gzip", "br", "identity", "x"))
    return Request(
        "webhook",
        "POST",
        WEBHOOK,
        headers,
        body,
        lambda answer: faults_of_webhook(answer, body=body, is_telegram=is_telegram),
    )


# --- Calls with a body ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    path: str
    good: Good
    asks_for: str  # nothing, a buyer's token or a program's key
    statuses: set[int]


CALLS = (
    Call(
        "/api/v1/miniapp/exchange-initdata",
        lambda dice, quote: {"init_data": quote.init_data},
        "",
        {200, 401, 403, 429, *WITH_BODY},
    ),
    Call(
        "/api/v1/telegram/payment/send-invoice",
        lambda dice, quote: {
            "plan_code": dice.choice(("gold_1m", "silver_3m")),
            "currency": dice.choice(("XTR", "GBP")),
            "payment_method": dice.choice(("telegram_stars", "telegram_provider")),
            "delivery": dice.choice(("chat", "link")),
        },
        "buyer",
        {200, 403, 409, 429, *WITH_BODY},
    ),
    Call(
        "/api/v1/telegram/payment/validate",
        lambda dice, quote: {
            "invoice_payload": quote.payload,
            "telegram_user_id": quote.payer,
            "total_amount": quote.amount,
            "currency": quote.currency,
        },
        "program",
        {200, *WITH_BODY},
    ),
    Call(
        "/webhook/telegram/successful_payment",
        lambda dice, quote: {
            "user_id": str(dice.randrange(10**6)),
            "entitlement_type": "gold_1m",
            "invoice_id": str(uuid.UUID(int=dice.getrandbits(128))),
            "telegram_payment_charge_id": f"stxIngest{dice.randrange(10**6)}",
            "provider_payment_charge_id": "",
            "total_amount": 500,
            "currency": "XTR",
        },
        "program",
        {200, *WITH_BODY},
    ),
    Call(
        "/webhook/telegram/refund",
        lambda dice, quote: {
            "user_id": str(dice.randrange(10**6)),
            "entitlement_type": "gold_1m",
            "telegram_payment_charge_id": f"stxIngest{dice.randrange(10**6)}",
            "refund_reason": "why not",
        },
        "program",
        {200, *WITH_BODY},
    ),
    Call(
        "/api/v1/entitlements/check",
        lambda dice, quote: {
            "entitlement": "gold",
            "user_ids": [str(quote.payer), *(str(dice.randrange(10**6)) for _ in range(dice.choice((0, 3, 1_000))))],
        },
        "program",
        {200, *WITH_BODY},
    ),
    Call(
        "/api/v1/payments/0190b5b1-3a4e-7000-8000-000000000000/refund",
        lambda dice, quote: {"reason": "why not"},
        "program",
        {202, 404, 409, *WITH_BODY},
    ),
)


def _call(dice: Random, keys: Keys, quote: Quote) -> Request:
    call = dice.choice(CALLS)
    headers, is_let_in = _credentials(dice, keys, quote, call.asks_for)
    headers["Content-Type"] = "application/json" if dice.random() < 0.95 else dice.choice(TYPES)
    if dice.random() < 0.1:
        headers["Idempotency-Key"] = _plain(bodies.text(dice))
    return Request(
        call.path,
        "POST",
        call.path,
        headers,
        bodies.spoilt(call.good(dice, quote), dice),
        lambda answer: faults_of_api(answer, statuses=call.statuses, is_let_in=is_let_in),
    )


# --- Reads ----------------------------------------------------------------------------------------------------------

READS = (
    ("/api/v1/catalog", "", ()),
    ("/api/v1/me/entitlements", "buyer", ("If-None-Match",)),
    ("/api/v1/me/payments", "buyer", ("cursor",)),
    ("/api/v1/customers/{}/entitlements", "program", ()),
    ("/api/v1/customers/{}/entitlements/gold/explain", "program", ()),
    ("/api/v1/customers/7/entitlements/{}/explain", "program", ()),
    ("/api/v1/customers/{}/payments", "program", ("cursor",)),
    ("/api/v1/payments/{}", "program", ()),
    ("/api/v1/refunds/{}", "program", ()),
    ("/api/v1/revenue", "program", ("from", "to", "group_by")),
)


def _read(dice: Random, keys: Keys, quote_: Quote) -> Request:
    template, asks_for, names = dice.choice(READS)
    headers, is_let_in = _credentials(dice, keys, quote_, asks_for)
    odd = quote(bodies.text(dice).encode(errors="surrogatepass")[:2_000], safe="" if dice.random() < 0.8 else "/.")
    path = template.format(odd or "x")
    query = {name: bodies.text(dice)[:1_000].encode(errors="surrogatepass") for name in names if dice.random() < 0.7}
    if query:
        path += f"?{urlencode(query)}"
    if "If-None-Match" in query:
        headers["If-None-Match"] = _plain(bodies.text(dice))
    return Request(
        template,
        "GET",
        path,
        headers,
        b"",
        lambda answer: faults_of_api(answer, statuses={200, 304, 429, *READ}, is_let_in=is_let_in),
    )


def _credentials(dice: Random, keys: Keys, quote_: Quote, asks_for: str) -> tuple[dict[str, str], bool]:
    """The headers, and whether they must let the caller in."""
    if not asks_for:
        return {}, True
    if dice.random() > SHARE_OF_GOOD:
        return {"Authorization": dice.choice(FORGED)}, False
    return {"Authorization": f"Bearer {keys.token(quote_)}" if asks_for == "buyer" else f"Api-Key {keys.api_key}"}, True


def _plain(value: str) -> str:
    """As it can be in a header at all."""
    return "".join(character for character in value if " " <= character <= "ÿ" and character != "\x7f")[:4_000]
