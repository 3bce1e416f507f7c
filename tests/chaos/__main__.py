"""`make chaos CHAOS_ARGS="--payments N --kills N --crashes N --seed N"`."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.database import CrashingPostgres
from tests.chaos.plan import Options
from tests.chaos.processes import production
from tests.chaos.report import Report


def main(arguments: Sequence[str]) -> int:
    options, file = parse(arguments)
    print(f"seed {options.seed}: {options.payments:,} payments, {options.kills} kills, {options.crashes} crashes")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # by way of what ends the processes
    with CrashingPostgres() as database, tempfile.TemporaryDirectory(prefix="starledger-chaos-") as logs:
        report = run(options, database, Path(logs))
    print(report.table())
    if file:
        file.write_text(json.dumps(report.as_json(), indent=1) + "\n")
    print(report.last_line())
    return 0 if report.verdict == "PASSED" else 1


def run(options: Options, database: CrashingPostgres, logs: Path) -> Report:
    # The quotes are made in this process, with the keys of the others.
    nowhere = "http://127.0.0.1"
    os.environ.update(production(database_url=database.url, public_url=nowhere, telegram_url=nowhere))
    import django

    django.setup()
    from tests.chaos.run import Run

    return asyncio.run(Run(options, database, logs).to_the_end())


def parse(arguments: Sequence[str]) -> tuple[Options, Path | None]:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description="Sells in the local Telegram while the processes and the database are killed, and compares the"
        " books with what Telegram knows. Ends with 1 when anything is lost, doubled or wrong.",
    )
    parser.add_argument("--payments", type=positive, default=2_000)
    parser.add_argument("--kills", type=natural, default=20, help="of the web server or a worker, by SIGKILL")
    parser.add_argument("--crashes", type=natural, default=6, help="of PostgreSQL, without a shutdown")
    parser.add_argument("--seed", type=int, default=None, help="the same seed plans the same faults")
    parser.add_argument("--workers", type=positive, default=4)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the verdict")
    given = parser.parse_args(arguments)
    seed = random.randrange(10**6) if given.seed is None else given.seed
    return Options(given.payments, given.kills, given.crashes, seed, given.workers), given.json


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def natural(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must be 0 or more")
    return number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
