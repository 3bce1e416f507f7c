"""Telegram's truth beside the books: what is lost, doubled or wrong, each named. Pure comparison of plain facts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

DAY = 86_400
PAID, RETURNED = "paid", "returned"


@dataclass(frozen=True, slots=True)
class Sale:
    """What Telegram knows of a payment. `paid_at` in Unix seconds; `days` are what was bought, `amount` Stars."""

    charge_id: str
    buyer: int
    plan: str
    title: str
    amount: int
    days: int
    paid_at: int
    refunded: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the ledger."""

    charge_id: str
    is_refund: bool
    buyer: int
    plan: str | None
    amount: int
    status: str


class Message(NamedTuple):
    """A kind of message to a buyer about one thing he bought."""

    buyer: int
    title: str
    kind: str


@dataclass(frozen=True, slots=True)
class Books:
    """`access` is until when each buyer has what all passes give, in Unix seconds."""

    ledger: Sequence[Entry]
    access: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Difference:
    what: str
    about: str


CHECKED = (
    "payments lost",
    "payments doubled",
    "payments of nobody",
    "payments recorded wrongly",
    "refunds lost",
    "refunds doubled",
    "refunds of nobody",
    "access wrong",
    "buyers not told",
    "buyers told of nothing",
)


def compare(sales: Sequence[Sale], books: Books, told: Mapping[Message, int]) -> Iterator[Difference]:
    """Everything in which the books, or what buyers were told, differ from what Telegram knows."""
    payments = [entry for entry in books.ledger if not entry.is_refund]
    refunds = [entry for entry in books.ledger if entry.is_refund]
    yield from _same("payments", (sale.charge_id for sale in sales), payments)
    yield from _same("refunds", (sale.charge_id for sale in sales if sale.refunded), refunds)
    yield from _recorded_rightly(sales, books.ledger)
    yield from _access(sales, books.access)
    yield from _messages(sales, told)


def _same(what: str, known: Iterable[str], entries: Iterable[Entry]) -> Iterator[Difference]:
    expected, found = set(known), Counter(entry.charge_id for entry in entries)
    for charge_id in expected - found.keys():
        yield Difference(f"{what} lost", charge_id)
    for charge_id, times in found.items():
        if charge_id not in expected:
            yield Difference(f"{what} of nobody", charge_id)
        elif times > 1:
            yield Difference(f"{what} doubled", f"{charge_id} is there {times} times")


def _recorded_rightly(sales: Iterable[Sale], ledger: Iterable[Entry]) -> Iterator[Difference]:
    by_charge = {sale.charge_id: sale for sale in sales}
    for entry in ledger:
        sale = by_charge.get(entry.charge_id)
        if sale is None:
            continue
        right = (sale.buyer, sale.plan, sale.amount, "processed")
        if (entry.buyer, entry.plan, entry.amount, entry.status) != right:
            yield Difference("payments recorded wrongly", f"{entry} and not {right}")


def _access(sales: Iterable[Sale], access: Mapping[int, float]) -> Iterator[Difference]:
    bought: defaultdict[int, list[Sale]] = defaultdict(list)
    for sale in sales:
        bought[sale.buyer].append(sale)
    for buyer, theirs in bought.items():
        end = access_until(theirs)
        if access.get(buyer) != end:
            yield Difference("access wrong", f"buyer {buyer} has it until {access.get(buyer)}, bought it until {end}")
    for buyer in access.keys() - bought.keys():
        yield Difference("access wrong", f"buyer {buyer} bought nothing")


def access_until(sales: Sequence[Sale]) -> float:
    """The end of what one buyer bought: each pass goes on where the one before ends, those given back never were."""
    end = min(sale.paid_at for sale in sales)
    for sale in sorted(sales, key=lambda sale: sale.paid_at):
        if not sale.refunded:
            end = max(end, sale.paid_at) + sale.days * DAY
    return end


def told_again(told: Mapping[Message, int]) -> int:
    """How many messages came more than once: a kill or a lost answer between sending and marking repeats them."""
    return sum(told.values()) - len(told)


def _messages(sales: Iterable[Sale], told: Mapping[Message, int]) -> Iterator[Difference]:
    """What is given back before its confirmation was sent needs none any more."""
    owed: set[Message] = set()
    allowed: set[Message] = set()
    for sale in sales:
        confirmation = Message(sale.buyer, sale.title, PAID)
        allowed.add(confirmation)
        owed.add(Message(sale.buyer, sale.title, RETURNED) if sale.refunded else confirmation)
    for message in owed - told.keys():
        yield Difference("buyers not told", f"{message}")
    for message in told.keys() - owed - allowed:
        yield Difference("buyers told of nothing", f"{message}")
