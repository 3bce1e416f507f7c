"""Buttons under messages, and what comes back when they are pressed.

Callback data has at most 64 bytes and anybody can forge it: it only names what is wanted, the catalogue says the price.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from telegram import InlineKeyboardButton, InlineKeyboardMarkup

from payments.models import PaymentMethod, Plan, Price
from payments.money import Money
from telegram_bot import texts

PLANS_PER_PAGE = 8
METHOD_LETTERS = {PaymentMethod.TELEGRAM_STARS: "s", PaymentMethod.TELEGRAM_PROVIDER: "p", PaymentMethod.STRIPE: "w"}
METHODS = {letter: method for method, letter in METHOD_LETTERS.items()}


class Wish(Protocol):
    """What somebody wants who presses a button, as callback data."""

    @property
    def data(self) -> str: ...


@dataclass(frozen=True, slots=True)
class SeePlans:
    page: int = 0

    @property
    def data(self) -> str:
        return f"plans:{self.page}"


@dataclass(frozen=True, slots=True)
class SeePlan:
    plan_code: str

    @property
    def data(self) -> str:
        return f"plan:{self.plan_code}"


@dataclass(frozen=True, slots=True)
class BuyPlan:
    plan_code: str
    payment_method: PaymentMethod
    currency: str

    @property
    def data(self) -> str:
        return f"buy:{self.plan_code}:{METHOD_LETTERS[self.payment_method]}{self.currency}"


@dataclass(frozen=True, slots=True)
class OpenPortal:
    data = "portal"


@dataclass(frozen=True, slots=True)
class Remind:
    """To be reminded of subscriptions, or no more."""

    wanted: bool

    @property
    def data(self) -> str:
        return f"reminders:{'on' if self.wanted else 'off'}"


WISHES = re.compile(
    r"plans:(?P<page>\d{1,4})"
    r"|(?P<portal>portal)"
    r"|plan:(?P<plan>[a-z0-9_]{1,50})"
    r"|buy:(?P<bought>[a-z0-9_]{1,50}):(?P<method>[spw])(?P<currency>[A-Z]{3})"
    r"|reminders:(?P<reminders>on|off)",
    re.ASCII,
)


def wish_of(data: str) -> SeePlans | SeePlan | BuyPlan | OpenPortal | Remind | None:
    """What callback data asks for; None when it is not ours, or no longer."""
    match = WISHES.fullmatch(data)
    if match is None:
        return None
    if match["page"] is not None:
        return SeePlans(int(match["page"]))
    if match["portal"] is not None:
        return OpenPortal()
    if match["plan"] is not None:
        return SeePlan(match["plan"])
    if match["reminders"] is not None:
        return Remind(match["reminders"] == "on")
    return BuyPlan(match["bought"], METHODS[match["method"]], match["currency"])


def _button(text: str, wish: Wish) -> InlineKeyboardButton:
    return InlineKeyboardButton(text, callback_data=wish.data)


def see_plans() -> InlineKeyboardMarkup:
    return InlineKeyboardMarkup([[_button(texts.see_plans(), SeePlans())]])


def no_reminders() -> InlineKeyboardMarkup:
    return InlineKeyboardMarkup([[_button(texts.no_reminders(), Remind(wanted=False))]])


def reminders(*, wanted: bool) -> InlineKeyboardMarkup:
    """The way to what is not so now."""
    words = texts.no_reminders() if wanted else texts.remind_me()
    return InlineKeyboardMarkup([[_button(words, Remind(wanted=not wanted))]])


def plans(offers: Sequence[tuple[Plan, Sequence[Price]]], *, page: int) -> InlineKeyboardMarkup:
    """One button for each plan of the page, then the ways to the pages beside it."""
    first, last = page * PLANS_PER_PAGE, (page + 1) * PLANS_PER_PAGE
    rows = [[_button(texts.plan_button(plan, prices), SeePlan(plan.code))] for plan, prices in offers[first:last]]
    turn = [_button("«", SeePlans(page - 1))] if page else []
    turn += [_button("»", SeePlans(page + 1))] if last < len(offers) else []
    return InlineKeyboardMarkup([*rows, turn] if turn else rows)


def plan(plan: Plan, prices: Sequence[Price]) -> InlineKeyboardMarkup:
    """One button for each way to pay, and the way back."""
    rows = [
        [_button(texts.pay_button(price), BuyPlan(plan.code, PaymentMethod(price.payment_method), price.currency))]
        for price in prices
    ]
    return InlineKeyboardMarkup([*rows, [_button(texts.all_plans(), SeePlans())]])


def open_portal() -> InlineKeyboardMarkup:
    return InlineKeyboardMarkup([[_button(texts.open_portal(), OpenPortal())]])


def portal(link: str) -> InlineKeyboardMarkup:
    return InlineKeyboardMarkup([[InlineKeyboardButton(texts.open_portal(), url=link)]])


def pay_by_link(*, link: str, money: Money) -> InlineKeyboardMarkup:
    return InlineKeyboardMarkup([[InlineKeyboardButton(texts.pay(money), url=link)]])
