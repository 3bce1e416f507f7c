"""`make fuzz FUZZ_ARGS="--bodies N --seed N"`."""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from config.embedded_postgres import temporary
from telegram_bot.sandbox.server import LocalTelegram
from tests.flows.house import House
from tests.fuzz.run import Run
from tests.postgres import ENVIRONMENT


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description="Sends spoilt bodies to the real server and judges its answers by the contract. Ends with 1 when an"
        " answer is wrong, a good payment does not work any more, or the server's memory grows.",
    )
    parser.add_argument("--bodies", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=None, help="the same seed sends the same bodies")
    parser.add_argument("--only", type=int, metavar="N", help="send body N of the seed alone")
    given = parser.parse_args(arguments)
    seed = random.randrange(10**6) if given.seed is None else given.seed
    numbers = range(given.bodies) if given.only is None else [given.only]
    os.environ.update(ENVIRONMENT, LOG_LEVEL="ERROR")
    with (
        temporary() as server,
        LocalTelegram.running(token=ENVIRONMENT["TELEGRAM_BOT_TOKEN"], pace=0.05) as telegram,
        tempfile.TemporaryDirectory(prefix="starledger-fuzz-") as logs,
    ):
        house = House(telegram, server.url, Path(logs))
        house.environment["LOG_LEVEL"] = "ERROR"
        try:
            house.manage("migrate", "--verbosity", "0")
            house.open()
            run = Run(house, seed=seed, numbers=numbers, bodies=len(numbers))
            signal.signal(signal.SIGTERM, lambda *_: run.stop())
            signal.signal(signal.SIGINT, lambda *_: run.stop())
            report = run.to_the_end()
        finally:
            house.close()
    print(report)
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
