"""`make cluster CLUSTER_ARGS="--payments N --kills N --upgrade --seed N --json FILE"`."""

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

from tests.chaos.__main__ import positive
from tests.chaos.database import CrashingPostgres
from tests.chaos.plan import Options
from tests.chaos.processes import production
from tests.chaos.report import Report
from tests.cluster.house import VICTIMS, WORKERS
from tests.cluster.programs import missing
from tests.cluster.standby import Standby


def main(arguments: Sequence[str]) -> int:
    if packages := missing():
        print(f"Skipped: {' and '.join(packages)} must be installed first (Debian: apt-get install ...).")
        return 0
    options, upgrade, file = parse(arguments)
    what = "each web server and worker restarted" if upgrade else f"each of {len(VICTIMS)} killed"
    print(f"seed {options.seed}: {options.payments:,} payments, {what}, {options.kills} times")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # by way of what ends the processes
    with (
        tempfile.TemporaryDirectory(prefix="starledger-cluster-") as directory,
        CrashingPostgres() as database,
        Standby(database.url) as replica,
    ):
        report = run(options, database, replica, Path(directory), upgrade=upgrade)
    print(report.table())
    if file:
        file.write_text(json.dumps(report.as_json(), indent=1) + "\n")
    print(report.last_line())
    return 0 if report.verdict == "PASSED" else 1


def run(options: Options, database: CrashingPostgres, replica: Standby, directory: Path, *, upgrade: bool) -> Report:
    # The quotes are made in this process, with the keys of the others.
    nowhere = "http://127.0.0.1"
    os.environ.update(production(database_url=database.url, public_url=nowhere, telegram_url=nowhere))
    import django

    django.setup()
    from tests.cluster.run import Run

    return asyncio.run(Run(options, database, replica, directory, upgrade=upgrade).to_the_end())


def parse(arguments: Sequence[str]) -> tuple[Options, bool, Path | None]:
    parser = argparse.ArgumentParser(
        prog="python -m tests.cluster",
        description="Sells in the local Telegram by way of a proxy, two web servers, two workers, a pooler, a database"
        " and its replica, kills one after the other, and compares the books with what Telegram knows. Ends with 1"
        " when anything is lost, doubled or wrong.",
    )
    parser.add_argument("--payments", type=positive, default=1_000)
    parser.add_argument("--kills", type=positive, default=1, help="or restarts, of each of them")
    parser.add_argument("--upgrade", action="store_true", help="restart as an upgrade does, and kill nothing")
    parser.add_argument("--seed", type=int, default=None, help="the same seed plans the same purchases and order")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the verdict")
    given = parser.parse_args(arguments)
    seed = random.randrange(10**6) if given.seed is None else given.seed
    return Options(given.payments, given.kills, crashes=0, seed=seed, workers=len(WORKERS)), given.upgrade, given.json


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
