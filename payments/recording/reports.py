"""What channels report of money, in our words, and what becomes of a report."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from entitlements.models import Customer
from payments.channels.base import Cost
from payments.models import EventType, Invoice, Origin, PaymentEvent, PaymentMethod
from payments.money import Money


class Outcome(StrEnum):
    PROCESSED = "processed"
    DUPLICATE = "duplicate"
    HELD = "held"


@dataclass(frozen=True, slots=True)
class Details:
    """What the buyer was asked to enter; each may be empty."""

    name: str = ""
    phone_number: str = ""
    email: str = ""


@dataclass(frozen=True, slots=True)
class ReceivedPayment:
    """A payment as a channel reports it, in our words.

    The payer is a Telegram user or a customer already found. `payload` finds the invoice; a sender that quotes a
    plan of ours without an invoice names it in `plan_code`. `raw` is the provider's whole answer, as bytes, but for
    the personal `details` in it, which are kept where they can be erased.

    Of a subscription: `period_ends_at` and `renewal` where the channel tells them, `recurring` where it tells no more
    than that, and `subscription`, the channel's own name of it, where that is not the payload.

    `costs` are those known yet; the same payment told again brings the others.
    """

    method: PaymentMethod
    charge_id: str
    money: Money
    occurred_at: datetime
    origin: Origin
    raw: bytes = field(repr=False)
    payer: int | Customer
    payload: str = ""
    invoice: Invoice | None = None
    plan_code: str = ""
    provider_charge_id: str = ""
    period_ends_at: datetime | None = None
    renewal: bool = False
    recurring: bool = False
    subscription: str = ""
    details: Details | None = field(default=None, repr=False)
    costs: tuple[Cost, ...] = ()

    @property
    def event_type(self) -> EventType:
        return EventType.payment_by(self.method)


@dataclass(frozen=True, slots=True)
class ReceivedRefund:
    """A refund as a channel reports it. `money` None: the sender did not say, and the whole payment is meant.

    `refund_id` is the channel's own id of the refund, where a payment can be given back in parts; `intent` ours, if it
    was made by our call.
    """

    method: PaymentMethod
    charge_id: str
    money: Money | None
    occurred_at: datetime
    origin: Origin
    raw: bytes = field(repr=False)
    payer: int | Customer
    payload: str = ""
    reason: str = "refunded by the provider"
    refund_id: str = ""
    intent: UUID | None = None
    costs: tuple[Cost, ...] = ()

    @property
    def event_type(self) -> EventType:
        return EventType.refund_by(self.method)

    @property
    def event_id(self) -> str:
        """The refund's own id, or the payment's where that has no other."""
        return self.refund_id or self.charge_id


@dataclass(frozen=True, slots=True)
class FailedRefund:
    """A refund that had succeeded, and whose money came back to us after all."""

    refund_id: str
    occurred_at: datetime
    origin: Origin
    raw: bytes = field(repr=False)
    reason: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a report; `event` is None for a refund that waits for its payment and for a held report."""

    outcome: Outcome
    event: PaymentEvent | None
