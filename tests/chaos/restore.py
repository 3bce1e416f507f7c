"""`make drill`: the database is lost, a day-old dump is restored, and the reconciliation brings back what was lost."""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from config.env import BASE_DIR
from tests.chaos.database import CrashingPostgres
from tests.chaos.plan import Deal, Options, deals
from tests.chaos.processes import TOKEN, production
from tests.chaos.verdict import Difference, compare

LOST = 0.3  # of all payments are made after the dump
RECONCILED = (
    "payments lost",
    "payments doubled",
    "payments of nobody",
    "payments recorded wrongly",
    "refunds lost",
    "refunds doubled",
    "access wrong",
)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.restore", description=__doc__)
    parser.add_argument("--payments", type=int, default=500)
    parser.add_argument("--seed", type=int, default=None)
    given = parser.parse_args(arguments)
    seed = random.randrange(10**6) if given.seed is None else given.seed
    options = Options(given.payments, kills=0, crashes=0, seed=seed, workers=1)
    with CrashingPostgres() as database, tempfile.TemporaryDirectory(prefix="starledger-drill-") as directory:
        nowhere = "http://127.0.0.1"
        os.environ.update(production(database_url=database.url, public_url=nowhere, telegram_url=nowhere))
        import django

        django.setup()
        differences = asyncio.run(drill(options, database, Path(directory)))
    for difference in differences:
        print(f"{difference.what}: {difference.about}")
    print(f"{'FAILED' if differences else 'PASSED'} (seed {seed})")
    return 1 if differences else 0


async def drill(options: Options, database: CrashingPostgres, directory: Path) -> list[Difference]:
    """Sell, dump, sell on, restore, reconcile, and tell in what the books differ from what Telegram knows."""
    from telegram_bot.sandbox.server import HOST, Server
    from telegram_bot.sandbox.world import Options as TelegramOptions
    from tests.chaos.books import books, sales
    from tests.chaos.house import House
    from tests.chaos.settling import settle
    from tests.chaos.shop import Shop
    from tests.chaos.watch import Watch

    telegram = Server(TelegramOptions(token=TOKEN, wire=500))
    address = f"http://{HOST}:{await telegram.start()}"
    world, dump = telegram.world, directory / "dump"
    watch, planned = Watch(world), deals(options)
    kept = round(len(planned) * (1 - LOST))

    async def at_any_time(_: Deal) -> None:
        pass

    async with AsyncExitStack() as stack:
        stack.push_async_callback(telegram.stop)
        house = House(database, address, directory, workers=options.workers)
        async with house.open() as api:
            shop = Shop(world, watch, database, api=api, may_begin=at_any_time)
            await shop.open(planned)
            await shop.sell(planned[:kept])
            await asyncio.to_thread(database.dump, dump)
            await shop.sell(planned[kept:])
            world.faults.clear()
            await settle(world, database)
        await asyncio.to_thread(database.restore, dump)
        before = len(books(database).ledger)
        began = time.monotonic()
        said = await asyncio.to_thread(reconcile, house.environment)
        print(f"{said}\nreconciled in {time.monotonic() - began:.1f} s; the dump had {before} rows of the ledger")
    return [one for one in compare(sales(world.truth), books(database), {}) if one.what in RECONCILED]


def reconcile(environment: Mapping[str, str]) -> str:
    """Run the command, and return all it said."""
    quiet = {**environment, "LOG_LEVEL": "ERROR"}
    done = subprocess.run(
        [sys.executable, "manage.py", "reconcile"], env=quiet, cwd=BASE_DIR, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
