"""Which currencies Telegram's payment providers take, and from what to what amount, as Telegram's own table says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from django.db import transaction

from payments.models import TelegramCurrency
from payments.money import CURRENCY, LARGEST_AMOUNT, STARS, Money, exponent

ADDRESS = "https://core.telegram.org/bots/payments/currencies.json"
RELEASED = Path(__file__).with_name("telegram_currencies.json")
REFRESH = "`manage.py refresh_currencies` reads it anew"


class BadTable(Exception):
    """It is not Telegram's table, or counts in other units than we do; `problems` has a sentence for each fault."""

    def __init__(self, *problems: str) -> None:
        super().__init__(" ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Range:
    """The least and the most that is taken in one payment, in the smallest unit; both None where nobody knows."""

    least: int | None
    most: int | None


@dataclass(frozen=True, slots=True)
class Table:
    """The currencies by their codes, and when Telegram said so, in words."""

    as_of: str
    ranges: Mapping[str, Range]

    def refusal(self, money: Money) -> str:
        """Why Telegram's providers do not take that much, in a sentence; empty when they do."""
        limits = self.ranges.get(money.currency)
        if limits is None:
            return f"Telegram's providers do not take {money.currency} (its table of {self.as_of}; {REFRESH})."
        if limits.least is None or limits.most is None or limits.least <= money.amount <= limits.most:
            return ""
        least, most = Money(limits.least, money.currency), Money(limits.most, money.currency)
        return (
            f"amount must be from {limits.least} to {limits.most}, {least} to {most}, for Telegram's providers"
            f" (its table of {self.as_of}; {REFRESH})."
        )


@cache
def released() -> Table:
    """The table that comes with this release."""
    document = json.loads(RELEASED.read_text())
    return Table(document["as_of"], _ranges(document["currencies"]))


def in_force() -> Table:
    """The table as it was last read, else the one that comes with this release."""
    rows = list(TelegramCurrency.objects.all())
    if not rows:
        return released()
    as_of = f"{max(row.read_at for row in rows):%Y-%m-%d}"
    return Table(as_of, {row.code: Range(row.least, row.most) for row in rows})


def read(content: bytes) -> Mapping[str, Range]:
    """Telegram's `currencies.json`: an object for each currency, with the amounts as texts or numbers.

    :raises BadTable: with every fault that was found
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadTable("This is not JSON.") from error
    if not isinstance(document, dict) or not document:
        raise BadTable("This is not an object of currencies.")
    return _ranges(document)


@transaction.atomic
def put_into_force(ranges: Mapping[str, Range], *, now: datetime) -> None:
    """Make the table what was read; repeating it changes nothing but the time."""
    TelegramCurrency.objects.bulk_create(
        (
            TelegramCurrency(code=code, least=ranges[code].least, most=ranges[code].most, read_at=now)
            for code in sorted(ranges)
        ),
        update_conflicts=True,
        unique_fields=["code"],
        update_fields=["least", "most", "read_at"],
    )
    TelegramCurrency.objects.exclude(code__in=ranges).delete()


def _ranges(document: Mapping[str, object]) -> dict[str, Range]:
    ranges: dict[str, Range] = {}
    problems: list[str] = []
    for code, row in document.items():
        try:
            if code != STARS:  # which no provider takes
                ranges[code] = _range(code, row)
        except BadTable as fault:
            problems += fault.problems
    if problems:
        raise BadTable(*problems)
    return ranges


def _range(code: str, row: object) -> Range:
    if not CURRENCY.match(code) or not isinstance(row, dict):
        raise BadTable(f"{code!r:.20} is no currency with its limits.")
    if row.get("exp") != exponent(code):
        raise BadTable(
            f"Telegram counts {code} with {row.get('exp')!r:.20} digits after the point, we with {exponent(code)}."
        )
    limits: tuple[Any, Any] = row.get("min_amount"), row.get("max_amount")
    if limits == (None, None):
        return Range(None, None)
    try:
        least, most = map(int, limits)
    except (TypeError, ValueError) as error:
        raise BadTable(f"The limits of {code} are no whole numbers.") from error
    if not 0 < least <= most <= LARGEST_AMOUNT:
        raise BadTable(f"The limits of {code} make no range: {least} to {most}.")
    return Range(least, most)
