"""Money: an integer of the currency's smallest unit and its code. Never a float, never two currencies in one sum."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from babel.numbers import format_currency

STARS = "XTR"
NANOSTARS = 1_000_000_000  # in a Star; whole ones are paid, fractions come from commissions and the like
CURRENCY = re.compile(r"^[A-Z]{3}\Z")
LARGEST_AMOUNT = 2**63 - 1

# Digits after the point; every currency not named here has two. Source: ISO 4217; Telegram's currencies.json agrees.
EXPONENTS = {
    STARS: 0,
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF"), 0),
    **dict.fromkeys(("UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}


def exponent(currency: str) -> int:
    return EXPONENTS.get(currency, 2)


@dataclass(frozen=True, slots=True)
class Money:
    """An amount above zero in the smallest unit of a currency: `Money(2500, "GBP")` is twenty-five pounds."""

    amount: int
    currency: str

    def __post_init__(self) -> None:
        if type(self.amount) is not int or not 0 < self.amount <= LARGEST_AMOUNT:
            message = "An amount of money is an integer from 1 to 2⁶³−1."
            raise ValueError(message)
        if not CURRENCY.match(self.currency):
            message = "A currency is three capital letters."
            raise ValueError(message)

    def __str__(self) -> str:
        return self.in_words("en")

    def in_words(self, locale: str) -> str:
        """As people write it: `500 ⭐`, `£25.00`, `25,00 £`."""
        if self.currency == STARS:
            return f"{self.amount} ⭐"
        return _written(self.amount, self.currency, locale)


def sum_in_words(amount: int, currency: str) -> str:
    """A sum, which may be nothing or less than that: `12,500 ⭐`, `£0.00`, `-£25.00`."""
    return f"{amount:,} ⭐" if currency == STARS else _written(amount, currency, "en")


def stars_in_words(nanostars: int) -> str:
    """A sum of Stars and fractions of them: `12,500 ⭐`, `-0.25 ⭐`."""
    return f"{Decimal(nanostars).scaleb(-9):,.9f}".rstrip("0").rstrip(".") + " ⭐"


def _written(amount: int, currency: str, locale: str) -> str:
    digits = exponent(currency)
    value = Decimal(amount).scaleb(-digits)
    pattern = "¤#,##0" if digits == 0 else f"¤#,##0.{'0' * digits}"
    if locale == "ru":
        pattern = pattern.removeprefix("¤") + "\N{NO-BREAK SPACE}¤"
    return format_currency(value, currency, format=pattern, locale=locale, currency_digits=False)
