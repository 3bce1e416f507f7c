"""Making one mistake after the other in a copy of the project, and running the tests that must notice."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.mutant import LostItsPlace, Mutant

LEFT_BEHIND = shutil.ignore_patterns(".git", ".venv", ".starledger", ".*_cache", ".hypothesis", "__pycache__", ".env")
LONGEST = 300  # seconds that the tests of one mutant may take
NOTICED = re.compile(r"^FAILED (\S+)(?: - (.+))?", re.MULTILINE)


class NotGreen(Exception):
    """The tests fail without any mistake; the message is what pytest said."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a mutant; `killed_by` is empty when nobody noticed it, or it could not be tried.

    `words` is what the test said, or why there was none.
    """

    mutant: Mutant
    seconds: float
    killed_by: str = ""
    words: str = ""

    def __str__(self) -> str:
        found = f"killed by {self.killed_by}: {self.words}" if self.killed_by else self.words
        return f"{self.mutant.name:5}{self.mutant.mistake} ({self.seconds:.0f} s)\n     {found}"


def copied(root: Path, into: Path) -> Path:
    """The project without its state, to be mutated: what stands in `root` is never touched."""
    return Path(shutil.copytree(root, into / "mutated", ignore=LEFT_BEHIND))


def control(root: Path, mutants: Sequence[Mutant]) -> float:
    """Run all their tests on the code as it is, and return the seconds that took.

    :raises NotGreen: one fails, or is not there
    """
    started = time.monotonic()
    done = _tests(root, sorted({test for mutant in mutants for test in mutant.noticed_by}), keep_compiled=True)
    if done.returncode:
        raise NotGreen(done.stdout + done.stderr)
    return time.monotonic() - started


def fates(root: Path, mutants: Sequence[Mutant]) -> Iterator[Fate]:
    """Make each mistake in turn and see whether its tests notice; `root` is as before in the end."""
    for mutant in mutants:
        started = time.monotonic()
        try:
            with mutant.made_in(root):
                done = _tests(root, mutant.noticed_by, keep_compiled=False)
        except (LostItsPlace, subprocess.TimeoutExpired) as error:
            yield Fate(mutant, time.monotonic() - started, words=f"NOT TRIED: {error}")
            continue
        noticed = NOTICED.search(done.stdout)
        if done.returncode == 0:
            killed_by, words = "", "SURVIVED"
        elif done.returncode == 1 and noticed:
            killed_by, words = noticed[1], noticed[2] or ""
        else:
            killed_by, words = "", f"NO TEST RAN\n{done.stdout}{done.stderr}"
        yield Fate(mutant, time.monotonic() - started, killed_by, words)


def _tests(root: Path, tests: Sequence[str], *, keep_compiled: bool) -> subprocess.CompletedProcess[str]:
    """Run tests of the copy, up to the first that fails."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "DJANGO_", "COV"))}
    unkept = "" if keep_compiled else "1"
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-rf", "--tb=short", "-p", "no:cacheprovider", *tests],
        cwd=root,
        env={**ours, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": unkept, "COLUMNS": "240"},
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )
