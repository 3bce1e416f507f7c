"""The payload of an invoice: the one thing of ours that comes back with a payment.

`1.<invoice id>.<plan code>.<MAC>`, at most 98 of Telegram's 128 bytes. An invoice is found by the whole string;
the MAC tells, when the invoice itself is lost, whether this payer was once quoted this price by us.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings

from payments.money import Money

VERSION = "1"
MAC_BYTES = 16


def encode(*, invoice_id: UUID, plan_code: str, payer: int | None, price: Money) -> str:
    """The payload of a new invoice. `payer` is the customer's Telegram id, where it is known."""
    head = f"{VERSION}.{_base64(invoice_id.bytes)}.{plan_code}"
    return f"{head}.{_mac(settings.PAYLOAD_KEYS[0], head, payer, price)}"


@dataclass(frozen=True, slots=True)
class Quoted:
    """What a payload says of its invoice."""

    invoice_id: UUID
    plan_code: str


def read(payload: str, *, payer: int | None, price: Money) -> Quoted | None:
    """What it says, if we once made it for this payer and price."""
    if not is_ours(payload, payer=payer, price=price):
        return None
    _, invoice_id, plan_code, _ = payload.split(".")
    return Quoted(UUID(bytes=base64.urlsafe_b64decode(f"{invoice_id}==")), plan_code)


def is_ours(payload: str, *, payer: int | None, price: Money) -> bool:
    """Whether we once made this payload for this payer and price."""
    head, _, mac = payload.rpartition(".")
    given = mac.encode(errors="replace")
    return any(hmac.compare_digest(given, _mac(key, head, payer, price).encode()) for key in settings.PAYLOAD_KEYS)


def _mac(key: bytes, head: str, payer: int | None, price: Money) -> str:
    bound = f"{head}.{payer or ''}.{price.amount}.{price.currency}"
    digest = hmac.digest(key, bound.encode(errors="surrogateescape"), hashlib.sha256)
    return _base64(digest[:MAC_BYTES])


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
