"""What a trial found: figures, each beside the limit that was set for it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.chaos.verdict import Difference

WIDTH = 62
EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that was measured; without a limit it only informs."""

    what: str
    value: float
    at_most: float | None = None
    at_least: float | None = None

    @property
    def met(self) -> bool:
        """Whether the limits hold; what is not a number meets none."""
        if self.at_most is None and self.at_least is None:
            return True
        low = -math.inf if self.at_least is None else self.at_least
        high = math.inf if self.at_most is None else self.at_most
        return low <= self.value <= high

    @property
    def limit(self) -> str:
        limits = [("≥", self.at_least), ("≤", self.at_most)]
        return " ".join(f"{sign} {_words(limit)}" for sign, limit in limits if limit is not None)

    def __str__(self) -> str:
        return f"{self.what:<{WIDTH}}{_words(self.value):>12}  {self.limit:<12}{'' if self.met else 'MISSED'}".rstrip()


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that so many percent of them do not exceed; of none it is not a number."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


@dataclass(frozen=True)
class Findings:
    """What came of a trial: `examples` are the first differences of each kind that was found."""

    figures: list[Figure]
    examples: list[Difference]


@dataclass
class Result:
    """A trial that is over, told. `sizes` are its own; `load` is the machine's average of the last minute."""

    name: str
    about: str
    sizes: Mapping[str, int]
    findings: Findings
    seconds: float
    load: float

    @property
    def missed(self) -> list[Figure]:
        return [figure for figure in self.findings.figures if not figure.met]

    def table(self) -> str:
        sizes = ", ".join(f"{name} {size:,}" for name, size in self.sizes.items())
        lines = [
            "",
            f"{self.name}: {self.about}",
            f"{sizes}; {self.seconds:.0f} s, load average {self.load:.1f} on {os.cpu_count()} processors",
            *map(str, self.findings.figures),
            *(f"  {example.what}: {example.about}" for example in self.findings.examples),
        ]
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "about": self.about,
            "sizes": dict(self.sizes),
            "seconds": round(self.seconds, 1),
            "load_average": round(self.load, 2),
            "figures": [
                {
                    "what": figure.what,
                    "value": figure.value if math.isfinite(figure.value) else None,
                    "at_most": figure.at_most,
                    "at_least": figure.at_least,
                    "met": figure.met,
                }
                for figure in self.findings.figures
            ],
            "examples": [f"{example.what}: {example.about}" for example in self.findings.examples],
        }


def counted(differences: Iterable[Difference], *, of: Iterable[str]) -> tuple[list[Figure], list[Difference]]:
    """A figure for each kind of difference, none of which may be there, and some examples of those that are."""
    found: dict[str, list[Difference]] = {what: [] for what in of}
    for difference in differences:
        found.setdefault(difference.what, []).append(difference)
    figures = [Figure(what, len(some), at_most=0) for what, some in found.items()]
    return figures, [example for some in found.values() for example in some[:EXAMPLES]]


def verdict(results: Sequence[Result]) -> str:
    """The last line."""
    missed = [f"{result.name}: {figure.what}" for result in results for figure in result.missed]
    if missed:
        return f"FAILED: {'; '.join(missed)}"
    return f"PASSED: {', '.join(result.name for result in results)}"


def _words(number: float) -> str:
    if isinstance(number, int) or number == int(number if math.isfinite(number) else 0):
        return f"{number:,.0f}"
    return f"{number:,.3f}"
