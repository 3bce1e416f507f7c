"""What goes wrong on order: the next calls of a method, the next updates of a kind."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from telegram_bot.sandbox.schema import Json

FaultKind = Literal[
    "refuse",  # answered with an error, nothing done
    "refuse_after_effect",  # done, and answered with an error all the same
    "hang",  # no answer, nothing done
    "hang_after_effect",  # done, no answer
    "slow",  # done at once, answered after `seconds`: what follows from it may arrive before the answer
    "cut_before",  # connection closed, nothing done
    "cut_after_effect",  # done, connection closed instead of the answer
    "500",
    "500_after_effect",
    "502",  # answered by a proxy, in HTML
    "429",  # with `retry_after`
    "half_json",  # done, the answer breaks off in the middle
]
KINDS: tuple[str, ...] = get_args(FaultKind)
WITH_EFFECT = {"refuse_after_effect", "hang_after_effect", "slow", "cut_after_effect", "500_after_effect", "half_json"}
ANY = "*"

UpdateFault = Literal[
    "duplicate",  # arrives twice under one update_id (webhook only)
    "reorder",  # the next so many arrive the last one first
    "lose",  # never arrives: what was paid then is only in the list of transactions
    "unheard",  # arrives, but the webhook's answer is lost on the way, so it comes again
]


@dataclass
class Fault:
    """An order for the next ``times`` calls of ``method``, of all or of those about one ``person`` (a Telegram id).

    ``seconds`` is how long slow and hanging ones take.
    """

    method: str
    kind: FaultKind
    times: int = 1
    retry_after: int = 3
    seconds: float = 3600.0
    description: str = "refused by order"
    """Telegram's words after ``Bad Request:``, for the refusing kinds."""
    person: int | None = None

    @property
    def has_effect(self) -> bool:
        return self.kind in WITH_EFFECT

    def befalls(self, method: str, given: Json) -> bool:
        about = {str(given[name]) for name in ("user_id", "chat_id") if name in given}
        return self.method in (method, ANY) and (self.person is None or str(self.person) in about)


@dataclass
class UpdateOrder:
    fault: UpdateFault
    times: int
    kind: str | None = None
    """An update's kind, or ``successful_payment`` or ``refunded_payment``; None: any."""


class Faults:
    """Orders are taken oldest first, each as often as it says."""

    def __init__(self) -> None:
        self.calls: list[Fault] = []
        self.updates: list[UpdateOrder] = []

    def order(self, fault: Fault) -> None:
        if fault.kind not in KINDS:
            raise ValueError(f"unknown fault {fault.kind!r}: one of {', '.join(KINDS)}")
        self.calls.append(fault)

    def order_updates(self, orders: Iterable[UpdateOrder]) -> None:
        self.updates += [order for order in orders if order.times > 0]

    def clear(self) -> None:
        self.calls.clear()
        self.updates.clear()

    def take(self, method: str, given: Json) -> Fault | None:
        """The fault that befalls this call."""
        fault = next((one for one in self.calls if one.befalls(method, given)), None)
        if fault is not None:
            fault.times -= 1
            if fault.times <= 0:
                self.calls.remove(fault)
        return fault

    def take_update(self, fault: UpdateFault, kind: str) -> bool:
        """Whether this fault befalls an update of this kind."""
        order = next((one for one in self.updates if one.fault == fault and one.kind in (None, kind)), None)
        if order is None:
            return False
        order.times -= 1
        if order.times <= 0:
            self.updates.remove(order)
        return True

    def still_ordered(self, fault: UpdateFault) -> bool:
        return any(one.fault == fault for one in self.updates)
