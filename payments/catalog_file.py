"""Reading a catalogue file, TOML as the contract describes it: every value checked, every fault told with its line."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from babel.numbers import is_currency
from django.db.models import TextChoices

from entitlements.models import ENTITLEMENT_CODE
from payments import currencies
from payments.catalog import PlanTerms, PriceTerms
from payments.models import PaymentMethod, WhenActive
from payments.models.catalogue import LONGEST_DAYS, MOST_STARS, MOST_STARS_RECURRING, RECURRING_DAYS
from payments.money import CURRENCY, LARGEST_AMOUNT, STARS, Money

Choice = TypeVar("Choice", bound=TextChoices)

PLAN_KEYS = [
    "code",
    "title",
    "description",
    "entitlement",
    "duration_days",
    "recurring",
    "when_active",
    "need_name",
    "need_phone_number",
    "need_email",
    "features",
    "price",
]
NEEDS = ("need_name", "need_phone_number", "need_email")
# Source: docs.stripe.com/currencies, “zero-decimal”, “three-decimal” and “special cases”, beside payments.money.
COUNTED_OTHERWISE_BY_STRIPE = {"CLF", "IQD", "ISK", "LYD", "MGA", "UGX", "UYI", "UYW"}
PRICE_KEYS = ["payment_method", "currency", "amount", "stripe_price_id"]


class CatalogRefused(Exception):
    """The file is no catalogue; `problems` has one sentence for each fault, with file and line."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def read(name: str, content: bytes, *, table: currencies.Table | None = None) -> list[PlanTerms]:
    """The plans of a catalogue file.

    :param name: the file's name, for the sentences
    :param table: what Telegram's providers take; by default as this release knows it
    :raises CatalogRefused: with every fault that was found
    """
    try:
        text = content.decode()
        document = tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise CatalogRefused([f"{name}:{line}: This is not UTF-8 text."]) from error
    except tomllib.TOMLDecodeError as error:
        raise CatalogRefused([_syntax_fault(name, text, error)]) from error
    except RecursionError as error:
        raise CatalogRefused([f"{name}:1: This is nested too deeply."]) from error
    reader = _Reader(_Lines(text), table or currencies.released())
    catalog = reader.catalog(document)
    if reader.problems:
        raise CatalogRefused([f"{name}:{line}: {sentence}" for line, sentence in sorted(reader.problems)])
    return catalog


def _syntax_fault(name: str, text: str, error: tomllib.TOMLDecodeError) -> str:
    """tomllib says where at the end: `… (at line 3, column 7)` or `… (at end of document)`."""
    sentence, _, place = str(error).rpartition(" (at ")
    number = re.match(r"line (\d+)", place)
    line = int(number[1]) if number else len(text.splitlines()) or 1
    return f"{name}:{line}: {sentence}."


class _Lines:
    """Where the tables and keys are. tomllib does not tell; we look for them as people write them."""

    HEADER = re.compile(r"^\s*\[\[?\s*([A-Za-z_.\s]+?)\s*\]")
    KEY = re.compile(r"""^\s*["']?([A-Za-z0-9_-]+)["']?\s*[.=]""")

    def __init__(self, text: str) -> None:
        self.found: dict[tuple[int, int, str], int] = {}
        plan, price, inside = -1, -1, ""
        for number, line in enumerate(text.splitlines(), start=1):
            if header := self.HEADER.match(line):
                inside = header[1].replace(" ", "")
                if inside == "plan":
                    plan, price = plan + 1, -1
                elif inside == "plan.price":
                    price += 1
                self._note(plan, price if inside == "plan.price" else -1, "", number)
                self._note(plan, -1, inside.partition(".")[2], number)
            elif (key := self.KEY.match(line)) and inside in {"", "plan", "plan.price"}:
                self._note(plan, price if inside == "plan.price" else -1, key[1], number)

    def _note(self, plan: int, price: int, key: str, line: int) -> None:
        self.found.setdefault((plan, price, key), line)

    def of(self, plan: int, price: int = -1, key: str = "") -> int:
        """The line of a key, else of its table, else of the plan."""
        places = [(plan, price, key), (plan, price, ""), (plan, -1, "")]
        return next((self.found[place] for place in places if place in self.found), 1)


@dataclass(slots=True)
class _Table:
    """One table of the file, whose values are asked for by name; what is wrong with them goes to `reader`."""

    reader: _Reader
    values: Mapping[str, Any]
    plan: int
    price: int = -1

    def refuse(self, key: str, sentence: str) -> None:
        self.reader.problems.append((self.reader.lines.of(self.plan, self.price, key), sentence))

    def only(self, known: Iterable[str]) -> None:
        known = list(known)
        for key in self.values:
            if key not in known:
                self.refuse(key, f"Nobody knows what {key!r} means; there are {', '.join(known)}.")

    def text(self, key: str, longest: int, *, multiline: bool = False) -> str:
        value = self.values.get(key, "")
        if not isinstance(value, str) or not value.strip():
            self.refuse(key, f"{key} must be a text of 1 to {longest} characters.")
            return ""
        if len(value) > longest:
            self.refuse(key, f"{key} has {len(value)} characters; {longest} are allowed.")
        if not (value.replace("\n", " ") if multiline else value).isprintable():
            self.refuse(key, f"{key} holds characters that cannot be shown.")
        return value

    def word(self, key: str) -> str:
        value = self.values.get(key)
        if not isinstance(value, str) or not ENTITLEMENT_CODE.fullmatch(value):
            self.refuse(key, f"{key} must be 1 to 50 of a-z, 0-9 and _.")
            return ""
        return value

    def number(self, key: str, most: int) -> int:
        value = self.values.get(key)
        if type(value) is not int or not 1 <= value <= most:
            self.refuse(key, f"{key} must be a whole number from 1 to {most}.")
            return 1
        return value

    def flag(self, key: str) -> bool:
        value = self.values.get(key, False)
        if not isinstance(value, bool):
            self.refuse(key, f"{key} must be true or false.")
        return value is True

    def one_of(self, key: str, choices: type[Choice], default: Choice | None = None) -> str:
        value = self.values.get(key, default)
        if value not in choices.values:
            self.refuse(key, f"{key} must be one of {', '.join(choices.values)}.")
            return ""
        return str(value)

    def tables(self, key: str) -> list[Mapping[str, Any]]:
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value) or not value:
            header = "[[plan.price]]" if key == "price" else "[[plan]]"
            self.refuse(key, f"There must be at least one {header} here.")
            return []
        return value


class _Reader:
    def __init__(self, lines: _Lines, currencies_taken: currencies.Table) -> None:
        self.lines = lines
        self.currencies_taken = currencies_taken
        self.problems: list[tuple[int, str]] = []

    def catalog(self, document: Mapping[str, Any]) -> list[PlanTerms]:
        top = _Table(self, document, plan=-1)
        top.only(["plan"])
        plans = [self.plan(_Table(self, values, plan), plan) for plan, values in enumerate(top.tables("plan"))]
        seen: set[str] = set()
        for terms in plans:
            if terms.code and terms.code in seen:
                self.problems.append(
                    (self.lines.of(terms.position, key="code"), f"There is another plan {terms.code}.")
                )
            seen.add(terms.code)
        return plans

    def plan(self, table: _Table, position: int) -> PlanTerms:
        table.only(PLAN_KEYS)
        recurring = table.flag("recurring")
        duration = RECURRING_DAYS if recurring else None
        if "duration_days" in table.values:
            duration = table.number("duration_days", LONGEST_DAYS)
            if recurring and duration != RECURRING_DAYS:
                table.refuse("duration_days", f"A recurring plan is renewed every {RECURRING_DAYS} days.")
        prices = [
            self.price(_Table(self, values, position, price), recurring=recurring)
            for price, values in enumerate(table.tables("price"))
        ]
        for price, terms in enumerate(prices):
            if (terms.payment_method, terms.currency) in {(p.payment_method, p.currency) for p in prices[:price]}:
                again = f"There is another price in {terms.currency} by {terms.payment_method}."
                self.problems.append((self.lines.of(position, price), again))
        needs = {need: table.flag(need) for need in NEEDS}
        if not any(terms.payment_method == PaymentMethod.TELEGRAM_PROVIDER for terms in prices):
            for need in (need for need, is_asked in needs.items() if is_asked):
                table.refuse(need, f"{need} goes with a price by telegram_provider: nobody else asks the buyer.")
        return PlanTerms(
            code=table.word("code"),
            title=table.text("title", 32),
            description=table.text("description", 255, multiline=True),
            entitlement=table.word("entitlement"),
            features=self.features(table),
            duration_days=duration,
            recurring=recurring,
            when_active=table.one_of("when_active", WhenActive, WhenActive.REJECT),
            **needs,
            position=position,
            prices=tuple(prices),
        )

    def features(self, table: _Table) -> dict[str, Any]:
        features = table.values.get("features", {})
        if not isinstance(features, dict):
            table.refuse("features", "features must be a table, like { max_devices = 3 }.")
            return {}
        if not _fits_json(features):
            table.refuse("features", "features may hold texts, numbers, true, false, lists and tables.")
        return features

    def price(self, table: _Table, *, recurring: bool) -> PriceTerms:
        table.only(PRICE_KEYS)
        method = table.one_of("payment_method", PaymentMethod)
        currency = table.values.get("currency")
        if not isinstance(currency, str) or not (CURRENCY.match(currency) and _exists(currency)):
            table.refuse("currency", "currency must be XTR or a currency of ISO 4217, like GBP.")
            currency = STARS if method == PaymentMethod.TELEGRAM_STARS else "GBP"
        if method and (method == PaymentMethod.TELEGRAM_STARS) != (currency == STARS):
            table.refuse(
                "currency", f"{PaymentMethod.TELEGRAM_STARS.value} goes with {STARS}, and {STARS} with nothing else."
            )
        if method == PaymentMethod.STRIPE and currency in COUNTED_OTHERWISE_BY_STRIPE:
            table.refuse("currency", f"Stripe counts {currency} in another unit than we do; choose another currency.")
        most = LARGEST_AMOUNT
        if currency == STARS:
            most = MOST_STARS_RECURRING if recurring else MOST_STARS
        if recurring and method == PaymentMethod.TELEGRAM_PROVIDER:
            table.refuse("payment_method", f"A recurring plan cannot be paid by {method}.")
        stripe_price_id = ""
        if "stripe_price_id" in table.values:
            stripe_price_id = table.text("stripe_price_id", 255)
            if method != PaymentMethod.STRIPE:
                table.refuse("stripe_price_id", "stripe_price_id goes with prices by stripe.")
        amount = table.number("amount", most)
        if method == PaymentMethod.TELEGRAM_PROVIDER and (currency, amount) == (
            table.values.get("currency"),
            table.values.get("amount"),
        ):
            self.by_provider(table, Money(amount, currency))
        return PriceTerms(method, currency, amount, stripe_price_id)

    def by_provider(self, table: _Table, money: Money) -> None:
        """What Telegram would refuse when it is too late: each invoice of such a price."""
        if refusal := self.currencies_taken.refusal(money):
            table.refuse("amount" if money.currency in self.currencies_taken.ranges else "currency", refusal)


def _exists(currency: str) -> bool:
    return currency == STARS or is_currency(currency)


def _fits_json(value: Any) -> bool:
    match value:
        case dict():
            return all("\0" not in key and _fits_json(each) for key, each in value.items())
        case list():
            return all(map(_fits_json, value))
        case float():
            return math.isfinite(value)
        case str():
            return "\0" not in value
        case _:
            return isinstance(value, (bool, int))
