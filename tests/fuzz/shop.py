"""Good customers: after each hundred bodies one of them buys, and must have what he paid for."""

from __future__ import annotations

from dataclasses import dataclass

import httpx

from tests import updates
from tests.flows.house import House


@dataclass(frozen=True)
class Payer:
    telegram_user_id: int


@dataclass(frozen=True)
class Quote:
    """An invoice for one person, as `tests.updates` wants it, and what signs that person in."""

    payload: str
    amount: int
    currency: str
    payer: int
    init_data: str

    @property
    def customer(self) -> Payer:
        return Payer(self.payer)


class NotSold(Exception):
    """A good payment did not do what it should; the message says at which step."""


def quoted(house: House) -> Quote:
    """An invoice for somebody new, asked for as a Mini App does."""
    person = house.telegram.person("Alice")
    with house.sign_in(person) as buyer:
        order = {"plan_code": "gold_1m", "delivery": "link"}
        sent = buyer.post("/api/v1/telegram/payment/send-invoice", json=order)
    if sent.status_code != 200:
        message = f"send-invoice was answered {sent.status_code}: {sent.text[:300]}"
        raise NotSold(message)
    invoice = person.opens(sent.json()["invoice_link"])
    return Quote(invoice.payload, invoice.total_amount, invoice.currency, person.id, person.init_data())


def sell(house: House, *, charge_id: str) -> None:
    """A whole good sale: quoted, let through, paid, and open to its buyer.

    :raises NotSold:
    """
    quote = quoted(house)
    query = updates.pre_checkout(quote, query_id=charge_id)
    answered = house.post_update(updates.body(query))
    _must(answered.status_code == 200 and answered.json().get("ok") is True, "the checkout", answered)
    paid = house.post_update(updates.body(updates.payment(quote, charge_id=charge_id)))
    _must((paid.status_code, paid.content) == (200, b""), "the payment", paid)
    with house.client_of(quote.init_data) as buyer:
        mine = buyer.get("/api/v1/me/entitlements")
    active = mine.status_code == 200 and [each["active"] for each in mine.json()["entitlements"]]
    _must(active == [True], "the access", mine)


def _must(holds: bool, what: str, answer: httpx.Response) -> None:
    if not holds:
        message = f"{what}: {answer.status_code} {answer.text[:300]}"
        raise NotSold(message)
