"""Reading the report that a payment provider gives as CSV: a row for each charge, with what was given back of it."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum

from payments.money import CURRENCY, LARGEST_AMOUNT, Money, exponent

COLUMNS = ("charge", "amount", "currency", "refunded", "status", "paid_at", "refunded_at")
NUMBER = re.compile(r"\d+(\.\d+)?\Z")


class ReportRefused(Exception):
    """The file is no report that can be compared; `problems` has one sentence for each fault, with file and line."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Layout:
    """Which column says what. One that is no column of the file is an error, unless `optional` has it.

    Amounts are written as people do, `25.00`; with `smallest_unit` as 2500, with `decimal_comma` as `25,00`.
    A status that is in neither list is an error too: nobody knows whether that charge was paid.
    """

    charge: str = "charge_id"
    amount: str = "amount"
    currency: str = "currency"
    refunded: str = "refunded"
    status: str = "status"
    paid_at: str = "paid_at"
    refunded_at: str = "refunded_at"
    paid: tuple[str, ...] = ("paid", "succeeded", "refunded", "partially refunded")
    unpaid: tuple[str, ...] = ("failed", "canceled", "cancelled", "pending")
    optional: tuple[str, ...] = ("refunded", "status", "paid_at", "refunded_at")
    delimiter: str = ","
    smallest_unit: bool = False
    decimal_comma: bool = False


class Format(Enum):
    """The layouts that are known by name."""

    GENERIC = Layout()
    # Source: the export of payments in Stripe's dashboard, with its standard columns.
    STRIPE = Layout(
        charge="id",
        amount="Amount",
        currency="Currency",
        refunded="Amount Refunded",
        status="Status",
        paid_at="Created date (UTC)",
        refunded_at="Refunded date (UTC)",
        paid=("paid", "refunded", "partial refund", "partially refunded", "disputed"),
        unpaid=("failed", "canceled", "uncaptured", "incomplete", "blocked", "pending"),
        optional=("refunded_at",),
    )


@dataclass(frozen=True, slots=True)
class ReportedCharge:
    """A charge as the provider has it. `refunded` is what was given back of it in all, in the smallest unit."""

    line: int
    charge_id: str
    money: Money
    refunded: int
    paid_at: datetime | None
    refunded_at: datetime | None
    raw: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Report:
    """The charges that were paid, and how many rows are of charges that were not."""

    charges: tuple[ReportedCharge, ...]
    unpaid: int


class Unfit(ValueError):
    """A value is not what its column is for."""


def read(name: str, content: bytes, layout: Layout) -> Report:
    """The charges of a report, in its order.

    :param name: the file's name, for the sentences
    :raises ReportRefused: with every fault that was found
    """
    try:
        rows = csv.DictReader(
            io.StringIO(content.decode("utf-8-sig"), newline=""), delimiter=layout.delimiter, strict=True
        )
        reader = _Reader(name, layout, rows.fieldnames or ())
        for row in rows:
            reader.take(rows.line_num, row)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ReportRefused([f"{name}:{line}: This is not UTF-8 text."]) from error
    except csv.Error as error:
        raise ReportRefused([f"{name}:{rows.reader.line_num}: {error}."]) from error
    if reader.problems:
        raise ReportRefused(reader.problems)
    return Report(tuple(reader.charges.values()), reader.unpaid)


class _Reader:
    def __init__(self, name: str, layout: Layout, columns: Sequence[str]) -> None:
        self.name = name
        self.layout = layout
        self.charges: dict[str, ReportedCharge] = {}
        self.unpaid = 0
        self.problems: list[str] = []
        self.present = {each for each in COLUMNS if getattr(layout, each) in columns}
        for each in COLUMNS:
            if each not in self.present and each not in layout.optional:
                there_are = ", ".join(columns) or "none"
                raise ReportRefused([f"{name}:1: There is no column {getattr(layout, each)!r}; there are {there_are}."])

    def take(self, line: int, row: Mapping[str | None, str | None]) -> None:
        try:
            if None in row or None in row.values():
                raise Unfit("It has another number of columns than the first line.")
            charge = self.charge(line, {str(column): str(value) for column, value in row.items()})
        except Unfit as fault:
            self.problems.append(f"{self.name}:{line}: {fault}")
            return
        if charge is None:
            self.unpaid += 1
        elif charge.charge_id in self.charges:
            first = self.charges[charge.charge_id].line
            self.problems.append(f"{self.name}:{line}: {charge.charge_id} is in line {first} already.")
        else:
            self.charges[charge.charge_id] = charge

    def charge(self, line: int, row: dict[str, str]) -> ReportedCharge | None:
        """None for one that was not paid.

        :raises Unfit:
        """
        layout = self.layout
        if "status" in self.present and not self.is_paid(row[layout.status]):
            return None
        charge_id = row[layout.charge].strip()
        if not charge_id or not charge_id.isprintable():
            raise Unfit(f"{layout.charge} is empty or cannot be shown.")
        currency = row[layout.currency].strip().upper()
        if not CURRENCY.match(currency):
            raise Unfit(f"{layout.currency} {row[layout.currency]!r:.20} is no currency.")
        amount = self.amount(layout.amount, row, currency)
        if amount == 0:
            raise Unfit(f"{layout.amount} is nothing.")
        refunded = self.amount(layout.refunded, row, currency) if self.is_told("refunded", row) else 0
        if refunded > amount:
            raise Unfit(f"{layout.refunded} is more than {layout.amount}.")
        paid_at = self.moment(layout.paid_at, row) if "paid_at" in self.present else None
        refunded_at = self.moment(layout.refunded_at, row) if refunded and self.is_told("refunded_at", row) else None
        raw = json.dumps({"reported": row}, ensure_ascii=True).encode()
        return ReportedCharge(line, charge_id, Money(amount, currency), refunded, paid_at, refunded_at, raw)

    def is_told(self, each: str, row: Mapping[str, str]) -> bool:
        return each in self.present and bool(row[getattr(self.layout, each)].strip())

    def is_paid(self, status: str) -> bool:
        status = status.strip().lower()
        if status not in (*self.layout.paid, *self.layout.unpaid):
            raise Unfit(f"Nobody said whether a charge that is {status!r:.40} was paid: --paid or --unpaid does.")
        return status in self.layout.paid

    def amount(self, column: str, row: Mapping[str, str], currency: str) -> int:
        text = row[column].strip()
        if self.layout.decimal_comma:
            text = text.replace(".", "").replace("\N{NO-BREAK SPACE}", "").replace(" ", "").replace(",", ".")
        if not NUMBER.match(text) or not text.isascii():
            raise Unfit(f"{column} {row[column]!r:.30} is no amount.")
        amount = Decimal(text).scaleb(0 if self.layout.smallest_unit else exponent(currency))
        if amount != amount.to_integral_value() or amount > LARGEST_AMOUNT:
            raise Unfit(f"{column} {row[column]!r:.30} is no amount in {currency}.")
        return int(amount)

    def moment(self, column: str, row: Mapping[str, str]) -> datetime:
        """Of UTC, unless it says otherwise."""
        try:
            moment = datetime.fromisoformat(row[column].strip())
        except ValueError as error:
            raise Unfit(f"{column} {row[column]!r:.30} is no time like 2026-11-21 18:30.") from error
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
