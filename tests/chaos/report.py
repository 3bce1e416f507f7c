"""How a run is told: a line that moves on while it lasts, a table and JSON when it is over."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TextIO

from tests.chaos.plan import Options
from tests.chaos.verdict import Difference

ENOUGH = 0.8  # of what was planned, of each kind; else the run shows nothing
EXAMPLES = 5
WIDTH = 30
SELDOM = 15.0  # seconds between two lines where nothing can be rewritten


@dataclass(frozen=True, slots=True)
class Settled:
    """When something was last seen open, in seconds after the last fault and purchase; `left` is open still."""

    what: str
    seconds: float
    limit: float
    left: list[str] = field(default_factory=list)

    @property
    def in_time(self) -> bool:
        return self.seconds <= self.limit and not self.left


@dataclass
class Report:
    """`planned` and `injected` by kind of fault; `checked` are all the differences that were looked for."""

    options: Options
    planned: Mapping[str, int]
    injected: Mapping[str, int]
    settled: list[Settled]
    checked: tuple[str, ...]
    differences: list[Difference]
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def missed(self) -> list[str]:
        """The kinds of fault of which too few were injected."""
        return [kind for kind, count in self.planned.items() if self.injected.get(kind, 0) < ENOUGH * count]

    @property
    def found(self) -> Counter[str]:
        late = [f"{one.what} not settled in {one.limit:.0f} s" for one in self.settled if not one.in_time]
        return Counter([*(difference.what for difference in self.differences), *late])

    @property
    def verdict(self) -> str:
        if self.found:
            return "FAILED"
        return "INVALID" if self.missed else "PASSED"

    def last_line(self) -> str:
        words = {
            "PASSED": "nothing lost, nothing doubled, nothing wrong.",
            "INVALID": f"too few faults were injected of: {', '.join(self.missed)}.",
            "FAILED": "; ".join(f"{what}: {count:,}" for what, count in self.found.items()),
        }
        return f"{self.verdict} (seed {self.options.seed}): {words[self.verdict]}"

    def table(self) -> str:
        rows = ["", f"{'fault':<{WIDTH}}{'planned':>10}{'injected':>10}"]
        rows += [
            f"{kind:<{WIDTH}}{count:>10,}{self.injected.get(kind, 0):>10,}" for kind, count in self.planned.items()
        ]
        rows += ["", f"{'settled after':<{WIDTH}}{'seconds':>10}{'limit':>10}"]
        rows += [f"{one.what:<{WIDTH}}{one.seconds:>10.1f}{one.limit:>10.0f}" for one in self.settled]
        rows += ["", f"{'difference':<{WIDTH}}{'found':>10}"]
        rows += [f"{what:<{WIDTH}}{self.found[what]:>10,}" for what in self.checked]
        rows += ["", *(f"{what:<{WIDTH}}{_words(fact):>10}" for what, fact in self.facts.items())]
        rows += [f"  {one.what}: {left}" for one in self.settled for left in one.left]
        rows += [f"  {example.what}: {example.about}" for example in self.examples()]
        return "\n".join(rows)

    def examples(self) -> list[Difference]:
        seen: Counter[str] = Counter()
        some = []
        for difference in self.differences:
            seen[difference.what] += 1
            if seen[difference.what] <= EXAMPLES:
                some.append(difference)
        return some

    def as_json(self) -> dict[str, Any]:
        return {
            "verdict": self.verdict,
            "options": asdict(self.options),
            "planned": dict(self.planned),
            "injected": dict(self.injected),
            "settled": [asdict(one) for one in self.settled],
            "found": {what: self.found[what] for what in self.checked},
            "examples": [asdict(example) for example in self.examples()],
            "facts": self.facts,
        }


def _words(fact: Any) -> str:
    if isinstance(fact, Mapping):
        return ", ".join(f"{name} {count:,}" for name, count in fact.items()) or "none"
    return f"{fact:,}" if isinstance(fact, int) else str(fact)


class Progress:
    """One line on a terminal, rewritten; elsewhere a line now and then."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream
        self._moves = stream.isatty()
        self._last = -SELDOM

    def tell(self, done: int, total: int, words: Iterable[str]) -> None:
        bar = "█" * (20 * done // total)
        line = f"{bar:░<20} {done:,}/{total:,} payments, {', '.join(words)}"
        if self._moves:
            self._stream.write(f"\r\x1b[K{line[:150]}")
        elif time.monotonic() - self._last >= SELDOM:
            self._last = time.monotonic()
            self._stream.write(f"{line}\n")
        self._stream.flush()

    def end(self) -> None:
        if self._moves:
            self._stream.write("\n")
