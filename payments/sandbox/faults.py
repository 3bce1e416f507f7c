"""What goes wrong on order: the next calls of an operation, the next events of a type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

FaultKind = Literal[
    "refuse",  # answered with an error, nothing done
    "500",
    "500_after_effect",
    "429",  # with `retry_after`
    "hang",  # no answer, nothing done
    "hang_after_effect",  # done, no answer
    "cut_before",  # connection closed, nothing done
    "cut_after_effect",  # done, connection closed instead of the answer
    "half_json",  # done, the answer breaks off in the middle
]
KINDS: tuple[str, ...] = get_args(FaultKind)
WITH_EFFECT = {"500_after_effect", "hang_after_effect", "cut_after_effect", "half_json"}

EventFault = Literal[
    "duplicate",  # arrives twice
    "reorder",  # arrives after the one that follows it
    "lose",  # never arrives: it is in the list of events alone
]


@dataclass
class Fault:
    """An order for the next `times` calls of an operation, like `POST /v1/refunds`. `seconds` is how long it hangs."""

    operation: str
    kind: FaultKind
    times: int = 1
    retry_after: int = 3
    seconds: float = 3600.0


@dataclass
class EventOrder:
    fault: EventFault
    kind: str | None = None  # None: any
    times: int = 1


class Faults:
    """Orders are taken oldest first, each as often as it says."""

    def __init__(self) -> None:
        self.calls: list[Fault] = []
        self.events: list[EventOrder] = []

    def order(self, operation: str, kind: FaultKind, **facts: float) -> None:
        if kind not in KINDS:
            raise ValueError(f"unknown fault {kind!r}: one of {', '.join(KINDS)}")
        self.calls.append(Fault(operation, kind, **facts))  # type: ignore[arg-type]

    def order_event(self, fault: EventFault, kind: str | None = None, times: int = 1) -> None:
        self.events.append(EventOrder(fault, kind, times))

    def take(self, operation: str) -> Fault | None:
        """The fault that befalls this call."""
        fault = next((one for one in self.calls if one.operation == operation), None)
        if fault is not None:
            fault.times -= 1
            if fault.times <= 0:
                self.calls.remove(fault)
        return fault

    def take_event(self, kind: str) -> EventFault | None:
        """The fault that befalls an event of this type."""
        order = next((one for one in self.events if one.kind in (None, kind)), None)
        if order is None:
            return None
        order.times -= 1
        if order.times <= 0:
            self.events.remove(order)
        return order.fault
