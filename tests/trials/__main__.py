"""`make trials TRIALS_ARGS="[NAME …] [--size NAME=N …] [--json FILE]"`."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tests.chaos.database import CrashingPostgres
from tests.chaos.processes import production
from tests.proxy import NotInstalled
from tests.trials.figures import Result, verdict

if TYPE_CHECKING:
    from tests.trials.trial import Trial


def main(arguments: Sequence[str]) -> int:
    # The quotes are made in this process, with the keys of the others.
    nowhere = "http://127.0.0.1"
    os.environ.update(production(database_url="postgresql:///unused", public_url=nowhere, telegram_url=nowhere))
    import django

    django.setup()
    from tests.trials.trial import TRIALS

    trials, file = parse(arguments, TRIALS)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # by way of what ends the processes
    results = []
    for trial in trials:
        try:
            results.append(carried_out(trial))
        except NotInstalled as error:
            sys.exit(f"{trial.name} could not be made: {error}")
        print(results[-1].table(), flush=True)
    last_line = verdict(results)
    if file:
        told = {"verdict": last_line.partition(":")[0], "trials": [result.as_json() for result in results]}
        file.write_text(json.dumps(told, indent=1) + "\n")
    print(f"\n{last_line}")
    return 0 if last_line.startswith("PASSED") else 1


def carried_out(trial: Trial) -> Result:
    """The trial on a database of its own."""
    print(f"\n{trial.name}: {trial.about}", file=sys.stderr)
    began = time.monotonic()
    with CrashingPostgres() as database, tempfile.TemporaryDirectory(prefix="starledger-trial-") as logs:
        findings = asyncio.run(trial.carry_out(database, Path(logs)))
    load, *_ = os.getloadavg()
    return Result(
        name=trial.name,
        about=trial.about,
        sizes=asdict(trial),
        findings=findings,
        seconds=time.monotonic() - began,
        load=load,
    )


def parse(arguments: Sequence[str], known: Sequence[Trial]) -> tuple[list[Trial], Path | None]:
    by_name = {trial.name: trial for trial in known}
    parser = argparse.ArgumentParser(
        prog="python -m tests.trials",
        description="Makes things difficult for a shop that is at work, and prints what came of it beside the limits."
        " Ends with 1 when one of them is missed.",
        epilog="Trials: " + "; ".join(f"{trial.name} {trial.about} ({_sizes(trial)})" for trial in known),
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(by_name)}; all when none is named")
    parser.add_argument(
        "--size", type=_size, action="append", default=[], metavar="NAME=N", help="of every trial that has it"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the figures")
    given = parser.parse_args(arguments)
    if unknown := set(given.names) - by_name.keys():
        parser.error(f"there is no trial {', '.join(sorted(unknown))}")
    chosen = [by_name[name] for name in given.names] or list(known)
    sizes = dict(given.size)
    if unknown := sizes.keys() - {name for trial in chosen for name in _names(trial)}:
        parser.error(f"no trial has the size {', '.join(sorted(unknown))}")
    return [_sized(trial, sizes) for trial in chosen], given.json


def _sized(trial: Trial, sizes: Mapping[str, int]) -> Trial:
    return replace(trial, **{name: size for name, size in sizes.items() if name in _names(trial)})


def _names(trial: Trial) -> list[str]:
    return [field.name for field in fields(trial)]


def _sizes(trial: Trial) -> str:
    return ", ".join(f"{name}={size}" for name, size in asdict(trial).items())


def _size(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if not number.isdecimal() or not int(number):
        raise argparse.ArgumentTypeError("must be NAME=N, with N of 1 or more")
    return name, int(number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
