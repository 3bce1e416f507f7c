"""One row of Telegram's list beside the ledger: it says the same, or the ledger is mended, or they disagree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from django.db import DataError, IntegrityError

from payments import mirror, payloads
from payments.discrepancies import Difference
from payments.models import (
    Direction,
    DiscrepancyKind,
    EventType,
    Invoice,
    Origin,
    PaymentEvent,
    PaymentMethod,
    Refund,
    StarTransaction,
)
from payments.money import NANOSTARS, STARS, Money, stars_in_words
from payments.recording import Outcome, ReceivedPayment, ReceivedRefund, Recorded, record_payment, record_refund

OUTSIDE = "Given back in Telegram, and not by us."
EVENTS = {Direction.IN: EventType.STARS_PAYMENT, Direction.OUT: EventType.STARS_REFUND}


class Result(StrEnum):
    """What came of comparing a row; each is a count of the run."""

    MATCHED = "matched"
    RECORDED = "recorded"
    HELD = "held"
    REFUNDED = "refunded"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Compared:
    """What came of a row: either a result or a disagreement, which only a person can settle."""

    result: Result | None = None
    difference: Difference | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger has under the ids of some rows: loaded at once, and as of that moment."""

    events: Mapping[tuple[str, str], PaymentEvent]

    @classmethod
    def of(cls, rows: Iterable[StarTransaction]) -> Known:
        charges = {row.transaction_id for row in rows}
        events = PaymentEvent.objects.filter(event_id__in=charges, event_type__in=EVENTS.values())
        return cls({(event.event_id, event.event_type): event for event in events.select_related("customer")})

    def event(self, row: StarTransaction, direction: Direction) -> PaymentEvent | None:
        return self.events.get((row.transaction_id, EVENTS[direction]))


def compare(row: StarTransaction, known: Known, *, ours_since: datetime) -> Compared:
    """Compare a row with the ledger, and record what is missing there. Repeating it changes nothing.

    :param ours_since: what was sold before, by invoices that are not ours, was sold by another program
    """
    event = known.event(row, Direction(row.direction))
    if event is not None:
        return _compared(row, event)
    payment = known.event(row, Direction.IN)
    if payment is None and not (row.is_of_a_sale and _is_ours(row, ours_since)):
        return Compared(Result.OTHER)
    try:
        return _record_payment(row) if row.direction == Direction.IN else _record_refund(row, payment)
    except (ValueError, DataError, IntegrityError) as error:
        # One row that cannot be recorded must not keep the others from it. It is tried again by each run.
        why = f"Nothing. Recording it failed: {str(error).strip() or type(error).__name__}"
        return Compared(difference=_difference(DiscrepancyKind.NOT_RECORDED, row, None, why))


def unlisted(events: Iterable[PaymentEvent]) -> list[Difference]:
    """Those of the ledger's events that the mirrored list does not have."""
    events = list(events)
    listed = set(
        StarTransaction.objects.filter(transaction_id__in={event.event_id for event in events}).values_list(
            "transaction_id", "direction"
        )
    )
    return [
        Difference(
            kind=DiscrepancyKind.MISSING_THERE,
            transaction_id=event.event_id,
            direction=direction,
            event=event,
            telegram_says="Nothing.",
            we_have=_of_event(event),
        )
        for event in events
        if (event.event_id, direction := _direction_of(event)) not in listed
    ]


def _compared(row: StarTransaction, event: PaymentEvent) -> Compared:
    """The same charge on both sides."""
    buyer = event.customer.telegram_user_id
    if buyer is not None and buyer != row.telegram_user_id:  # a program may have named a buyer of no account
        return Compared(difference=_difference(DiscrepancyKind.USER_DIFFERS, row, event, _of_event(event)))
    if not row.is_of(event.money):
        return Compared(difference=_difference(DiscrepancyKind.AMOUNT_DIFFERS, row, event, _of_event(event)))
    return Compared(Result.MATCHED)


def _record_payment(row: StarTransaction) -> Compared:
    """The same operation as when Telegram tells us itself; access counts from the day of the payment."""
    invoice = Invoice.objects.filter(payload=row.payload).first()
    recorded = record_payment(
        ReceivedPayment(
            method=PaymentMethod.TELEGRAM_STARS,
            charge_id=row.transaction_id,
            money=_paid(row, invoice),
            occurred_at=row.date,
            origin=Origin.RECONCILIATION,
            raw=bytes(row.raw),
            payer=row.telegram_user_id or 0,
            payload=row.payload,
            recurring=row.renews,
        )
    )
    return _recorded(recorded, row, Result.RECORDED)


def _record_refund(row: StarTransaction, payment: PaymentEvent | None) -> Compared:
    """One that nobody asked us for was made outside; an intent of ours that is still open is confirmed by it."""
    if payment is not None:
        differs = _compared(row, payment)
        if differs.difference is not None:
            return differs
    asked = Refund.objects.open().filter(payment=payment).first() if payment else None
    recorded = record_refund(
        ReceivedRefund(
            method=PaymentMethod.TELEGRAM_STARS,
            charge_id=row.transaction_id,
            money=payment.money if payment else _paid(row, Invoice.objects.filter(payload=row.payload).first()),
            occurred_at=row.date,
            origin=Origin.RECONCILIATION,
            raw=bytes(row.raw),
            payer=payment.customer if payment else row.telegram_user_id or 0,
            payload=row.payload,
            reason=asked.reason if asked else OUTSIDE,
        )
    )
    return _recorded(recorded, row, Result.REFUNDED)


def _recorded(recorded: Recorded, row: StarTransaction, result: Result) -> Compared:
    match recorded:
        case Recorded(outcome=Outcome.PROCESSED):
            return Compared(result)
        case Recorded(outcome=Outcome.DUPLICATE, event=PaymentEvent() as event):
            return _compared(row, event)  # the webhook was quicker
        case Recorded(outcome=Outcome.DUPLICATE):
            return Compared(Result.MATCHED)  # a refund that waits for its payment already
    return Compared(Result.HELD)


def _is_ours(row: StarTransaction, ours_since: datetime) -> bool:
    if Invoice.objects.filter(payload=row.payload).exists():
        return True
    sale = mirror.row_of(row.transaction_id, Direction.IN) or row
    return sale.date >= ours_since or any(
        payloads.is_ours(row.payload, payer=row.telegram_user_id, price=Money(amount, STARS))
        for amount in _amounts(row)
    )


def _paid(row: StarTransaction, invoice: Invoice | None) -> Money:
    """What the buyer paid: the price of the invoice where it may have been, else the row's amount.

    :raises ValueError: the row has no amount of whole Stars
    """
    if invoice is not None and invoice.currency == STARS and row.is_of(invoice.price):
        return invoice.price
    return Money(row.amount, STARS)


def _amounts(row: StarTransaction) -> set[int]:
    """Whole Stars above nothing that the buyer may have paid."""
    return {amount for amount in (row.amount, (row.nanostars + row.commission) // NANOSTARS) if amount > 0}


def _difference(kind: DiscrepancyKind, row: StarTransaction, event: PaymentEvent | None, we_have: str) -> Difference:
    return Difference(
        kind=kind,
        transaction_id=row.transaction_id,
        direction=row.direction,
        event=event,
        difference=row.nanostars - event.amount * NANOSTARS if event else 0,
        telegram_says=f"{stars_in_words(row.nanostars)}, user {row.telegram_user_id}, {row.date:%Y-%m-%d %H:%M} UTC.",
        we_have=we_have,
    )


def _of_event(event: PaymentEvent) -> str:
    customer = event.customer.telegram_user_id or event.customer.user_id
    return f"{event}, user {customer}, {event.occurred_at:%Y-%m-%d %H:%M} UTC, by {event.get_origin_display()}."


def _direction_of(event: PaymentEvent) -> Direction:
    return Direction.OUT if event.event_type == EventType.STARS_REFUND else Direction.IN
