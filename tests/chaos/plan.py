"""What shall happen in a run, and at which payment: drawn from the seed before anything starts."""

from __future__ import annotations

import random
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

from telegram_bot.sandbox.faults import FaultKind

CATALOG = Path(__file__).parent / "catalog.toml"
FIRST_BUYER = 7_000_000_000  # beyond 32 bits, as Telegram's ids are
BUYERS_AT_ONCE = 50  # who buy all their passes between each other, then never again

REFUNDED, REPEATED, CUT, FAILED_CALL = 0.10, 0.10, 0.05, 0.02  # shares of all payments
FAILED_REFUND = 0.3  # of those that go through us
LATEST = 3.0  # seconds after a payment at which it is given back
CALLS_FAIL: tuple[FaultKind, ...] = (
    "429", "500", "502", "cut_before", "cut_after_effect", "500_after_effect", "half_json",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Options:
    payments: int
    kills: int
    crashes: int
    seed: int
    workers: int = 4


@dataclass(frozen=True, slots=True)
class Pass:
    """A plan of the catalogue; `price` in Stars, `days` of access."""

    code: str
    title: str
    price: int
    days: int


@cache
def passes() -> tuple[Pass, ...]:
    plans = tomllib.loads(CATALOG.read_text())["plan"]
    return tuple(Pass(one["code"], one["title"], one["price"][0]["amount"], one["duration_days"]) for one in plans)


class Way(StrEnum):
    """How a process or the database dies."""

    KILL = "kill -9"
    STOP = "immediate stop"


@dataclass(frozen=True, slots=True)
class Strike:
    """A fault that hits `victim` as soon as so many payments were made, `delay` seconds later."""

    after: int
    delay: float
    victim: str
    way: Way


DATABASE, WEB = "database", "web"


def strikes(options: Options) -> list[Strike]:
    """The kills of processes, half of them of the web server, and the crashes of the database, in their order."""
    dice = random.Random(f"strikes {options.seed}")
    victims = [(_any_process(dice, options.workers), Way.KILL) for _ in range(options.kills)]
    victims += [(DATABASE, dice.choice((Way.STOP, Way.STOP, Way.KILL))) for _ in range(options.crashes)]
    dice.shuffle(victims)
    moments = sorted(dice.randrange(options.payments) for _ in victims)
    return [
        Strike(after, dice.uniform(0, 0.1), victim, way) for after, (victim, way) in zip(moments, victims, strict=True)
    ]


def _any_process(dice: random.Random, workers: int) -> str:
    return WEB if dice.random() < 0.5 else worker(dice.randrange(workers))


def worker(number: int) -> str:
    return f"worker {number + 1}"


def web(number: int) -> str:
    return f"{WEB} {number + 1}" if number else WEB


class Refunder(StrEnum):
    NOBODY = "nobody"
    PROGRAM = "program"  # through our API
    TELEGRAM = "telegram"  # without us


class Repeat(StrEnum):
    NEVER = "never"
    SAME = "same update"
    DISGUISED = "other update id"


@dataclass(frozen=True, slots=True)
class Deal:
    """One payment to be, and what befalls it. `call_fails` is a fault of the Bot API and the method it befalls."""

    number: int
    buyer: int
    bought: Pass
    refunder: Refunder
    refund_delay: float
    repeat: Repeat
    answer_is_cut: bool
    call_fails: tuple[str, FaultKind] | None


def deals(options: Options) -> list[Deal]:
    dice = random.Random(f"deals {options.seed}")
    return [_deal(dice, number, *purchase) for number, purchase in enumerate(_purchases(dice, options.payments))]


def plain_deals(count: int, seed: int) -> list[Deal]:
    """Payments that nothing befalls."""
    dice = random.Random(f"plain deals {seed}")
    return [
        Deal(
            number=number,
            buyer=buyer,
            bought=bought,
            refunder=Refunder.NOBODY,
            refund_delay=0.0,
            repeat=Repeat.NEVER,
            answer_is_cut=False,
            call_fails=None,
        )
        for number, (buyer, bought) in enumerate(_purchases(dice, count))
    ]


def _purchases(dice: random.Random, count: int) -> list[tuple[int, Pass]]:
    """Who buys what, in which order: no buyer the same twice, and each all of his within a short time."""
    purchases: list[tuple[int, Pass]] = []
    first = FIRST_BUYER
    while len(purchases) < count:
        some = [(first + number, one) for number in range(BUYERS_AT_ONCE) for one in passes()]
        dice.shuffle(some)
        purchases += some
        first += BUYERS_AT_ONCE
    return purchases[:count]


def _deal(dice: random.Random, number: int, buyer: int, bought: Pass) -> Deal:
    refunder = _some(dice, REFUNDED, (Refunder.PROGRAM, Refunder.TELEGRAM), Refunder.NOBODY)
    by_program = refunder is Refunder.PROGRAM
    method = "refundStarPayment" if by_program else "sendMessage"
    fails = dice.random() < (FAILED_REFUND if by_program else FAILED_CALL)
    return Deal(
        number=number,
        buyer=buyer,
        bought=bought,
        refunder=refunder,
        refund_delay=dice.uniform(0, LATEST),
        repeat=_some(dice, REPEATED, (Repeat.SAME, Repeat.DISGUISED), Repeat.NEVER),
        answer_is_cut=dice.random() < CUT,
        call_fails=(method, dice.choice(CALLS_FAIL)) if fails else None,
    )


def _some(dice: random.Random, share: float, often: Sequence[StrEnum], else_: StrEnum) -> StrEnum:
    return dice.choice(often) if dice.random() < share else else_
