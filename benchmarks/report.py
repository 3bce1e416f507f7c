"""What the samples amount to: medians, ratios, the goals, a table for people and JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, NamedTuple

UNITS = {"per_second": "/s", "ms": " ms"}


class Sample(NamedTuple):
    """One figure of one round."""

    measure: str
    unit: str  # a key of UNITS
    side: str
    customers: int
    value: float


@dataclass(frozen=True, slots=True)
class Goal:
    """A ratio or figure and what it should be; without bounds, it is only told."""

    what: str
    value: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def met(self) -> bool:
        above = self.at_least is None or self.value >= self.at_least
        return above and (self.at_most is None or self.value <= self.at_most)

    def __str__(self) -> str:
        bounds = [
            f"{sign} {bound:g}" for sign, bound in ((">=", self.at_least), ("<=", self.at_most)) if bound is not None
        ]
        verdict = f"goal {' '.join(bounds)}: {'met' if self.met else 'missed'}" if bounds else ""
        return f"{self.what:<62}{self.value:>8.2f}   {verdict}".rstrip()


class Samples:
    """All figures of a run, and what is asked of them."""

    def __init__(self) -> None:
        self._by_key: dict[tuple[str, str, str, int], list[float]] = {}

    def add(self, sample: Sample) -> None:
        self._by_key.setdefault(sample[:4], []).append(sample.value)

    def values(self, measure: str, side: str, customers: int) -> list[float]:
        """The rounds' figures in their order; empty when it was not measured."""
        return next((v for (m, _, s, c), v in self._by_key.items() if (m, s, c) == (measure, side, customers)), [])

    def sizes(self) -> list[int]:
        return sorted({customers for *_, customers in self._by_key})

    def rows(self) -> Iterator[dict[str, Any]]:
        for (measure, unit, side, customers), values in self._by_key.items():
            yield {
                "measure": measure,
                "unit": unit,
                "side": side,
                "customers": customers,
                "median": median(values),
                "spread": spread(values),
                "rounds": values,
            }

    def goals(self) -> list[Goal]:
        """What can be judged from what was measured. A ratio is the median of the rounds' own ratios."""
        found = []
        for customers in self.sizes():
            at = f"at {customers:,} customers"
            for measure, opponent, bound in [
                ("payments", "fastapi", 3.0),
                ("payments", "ptb", None),
                ("payments", "pgbench", 0.30),
                ("me/entitlements", "textbook", 2.0),
                ("entitlements/check", "textbook", 2.0),
            ]:
                ratio = self._ratio(measure, ("starledger", customers), (opponent, customers))
                if ratio is not None:
                    found.append(Goal(f"{measure}: starledger / {opponent} {at}", ratio, at_least=bound))
            if p99 := self.values("pre-checkout p99", "starledger", customers):
                found.append(Goal(f"pre-checkout p99 in ms {at}", median(p99), at_most=50.0))
        if len(sizes := self.sizes()) > 1:
            for measure in ("payments", "me/entitlements", "entitlements/check"):
                small, large = sizes[0], sizes[-1]
                ratio = self._ratio(measure, ("starledger", small), ("starledger", large))
                if ratio is not None:
                    found.append(Goal(f"cost of {measure} at {large:,} / {small:,} customers", ratio, at_most=1.2))
        return found

    def _ratio(self, measure: str, ours: tuple[str, int], theirs: tuple[str, int]) -> float | None:
        pairs = list(zip(self.values(measure, *ours), self.values(measure, *theirs), strict=False))
        return median(a / b for a, b in pairs) if pairs else None


def spread(values: list[float]) -> float:
    """How far the rounds lie apart: (largest - smallest) / median."""
    return (max(values) - min(values)) / median(values)


def print_report(samples: Samples, *, memory: Mapping[str, list[int]], calibration: list[float]) -> None:
    print(f"\n{'measure':<22}{'side':<14}{'customers':>10}{'median':>14}{'spread':>9}")
    for row in samples.rows():
        value = f"{row['median']:,.1f}{UNITS[row['unit']]}"
        print(f"{row['measure']:<22}{row['side']:<14}{row['customers']:>10,}{value:>14}{row['spread']:>9.0%}")
    print(f"\n{'peak memory by process':<46}{'MiB':>8}")
    for name, peaks in memory.items():
        print(f"{name:<46}{' + '.join(f'{peak / 1024:.0f}' for peak in peaks):>8}")
    print(
        f"\nmachine: a fixed calculation took {median(calibration) * 1000:.0f} ms, spread {spread(calibration):.0%}\n"
    )
    for goal in samples.goals():
        print(goal)


def report_of(
    samples: Samples, *, about: Mapping[str, Any], memory: Mapping[str, list[int]], calibration: list[float]
) -> dict[str, Any]:
    """All that was found, for JSON."""
    return {
        "about": about,
        "goals": [{**asdict(goal), "met": goal.met} for goal in samples.goals()],
        "measures": list(samples.rows()),
        "peak_memory_kib": memory,
        "calibration_seconds": calibration,
    }
