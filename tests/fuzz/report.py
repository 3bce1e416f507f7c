"""What came of a run: figures for people, and whether the server stood it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

MEGABYTE = 1024 * 1024
MOST_FINDINGS = 30
WARM = 0.2  # of the run; by then all is loaded and all pools are full
MOST_GROWTH = 32 * MEGABYTE  # behind that
FEWEST_TO_JUDGE = 5_000  # bodies, for a shorter run is not warm before it ends


@dataclass
class Report:
    seed: int
    bodies: int
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    details: set[tuple[str, str]] = field(default_factory=set)
    """Code and sentence of each problem that was told; there are few, for none repeats what was sent."""
    sold: int = 0
    asked_again: int = 0
    memory: list[int] = field(default_factory=list)
    """Of the web server's processes, in bytes, from time to time."""
    seconds: float = 0.0

    @property
    def grown(self) -> int:
        """Bytes by which the server grew when it was warm."""
        warm = self.memory[int(len(self.memory) * WARM) :]
        return max(warm[-max(1, len(warm) // 5) :]) - max(warm[: max(1, len(warm) // 5)])

    @property
    def is_flat(self) -> bool:
        return self.bodies < FEWEST_TO_JUDGE or self.grown <= MOST_GROWTH

    @property
    def sent(self) -> int:
        return sum(self.answers.values())

    @property
    def passed(self) -> bool:
        return not self.findings and self.is_flat and self.sent == self.bodies

    def __str__(self) -> str:
        statuses = Counter[int]()
        lines = [f"{'target':<66} answers"]
        for target in sorted({target for target, _ in self.answers}):
            told = {status: count for (where, status), count in sorted(self.answers.items()) if where == target}
            statuses.update(told)
            lines.append(f"{target:<66} " + " ".join(f"{status}×{count:,}" for status, count in told.items()))
        first, last = self.memory[int(len(self.memory) * WARM)], self.memory[-1]
        lines += [
            "",
            f"bodies           {self.sent:,} of {self.bodies:,} in {self.seconds:.0f} s, seed {self.seed}",
            f"answers of 500   {statuses[500]}",
            f"asked again      {self.asked_again} (503, and taken at the second try)",
            f"good payments    {self.sold}, all recorded and open to their buyers",
            f"sentences told   {len(self.details)}, of problems",
            f"memory           {first / MEGABYTE:.0f} MB warm, {last / MEGABYTE:.0f} MB in the end,"
            f" grown by {self.grown / MEGABYTE:+.1f} MB",
            *(f"FOUND {finding}" for finding in self.findings[:MOST_FINDINGS]),
            f"{'PASSED' if self.passed else 'FAILED'}: {len(self.findings)} findings",
        ]
        return "\n".join(lines)
