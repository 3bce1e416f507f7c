"""`make bench`: measure this project beside its opponents, on one PostgreSQL, in one run."""

import argparse
import itertools
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.cluster import Cluster, running_cluster
from benchmarks.pages import Books, Pages
from benchmarks.processes import Process, free_port
from benchmarks.report import UNITS, Sample, Samples, print_report, report_of
from benchmarks.sides import PTB, FastAPI, PaymentSide, PgBench, Side, Surroundings
from benchmarks.starledger import Reader, Starledger, Textbook, use_production_settings

RESULTS = Path(__file__).parent / "results.json"
SIZES = (10_000, 1_000_000)
PAYMENTS = (100_000, 5_000_000)  # in the books whose pages are opened
STEADY_RATE = 200  # pre-checkouts per second, and payments beside them


@dataclass(frozen=True, slots=True)
class Options:
    rounds: int
    seconds: float
    sizes: Sequence[int]
    payments: tuple[int, int]
    visits: int
    only: str | None
    results: Path | None

    def wants(self, measure: str) -> bool:
        return self.only in {None, measure} or (self.only == "size" and measure != "pages")

    @property
    def with_peers(self) -> bool:
        return self.only != "size"


@dataclass
class Bench:
    """A run: the sides that take part, and what was found so far."""

    options: Options
    ours: list[Starledger] = field(default_factory=list)
    payers: list[PaymentSide] = field(default_factory=list)
    readers: list[Reader] = field(default_factory=list)
    samples: Samples = field(default_factory=Samples)
    calibration: list[float] = field(default_factory=list)

    @property
    def sides(self) -> list[Side]:
        return list({id(side): side for side in [*self.payers, *self.readers, *self.ours]}.values())

    def run(self) -> None:
        # Reads come first: payments give some customers longer histories than others.
        if self.options.wants("reads"):
            for _ in self.rounds("reads"):
                for reader in self.readers:
                    self._read(reader)
        if self.options.wants("precheckout"):
            for _ in self.rounds("pre-checkouts"):
                for side in self.ours:
                    self._check_out(side)
        if self.options.wants("payments"):
            for _ in self.rounds("payments"):
                for payer in self.payers:
                    with self.alone(payer):
                        rate = payer.record_payments(seconds=self.options.seconds)
                    self._note("payments", "per_second", payer, rate.per_second)

    def _read(self, reader: Reader) -> None:
        seconds = self.options.seconds / 2
        with self.alone(reader):
            mine, checks = reader.answer_my_entitlements(seconds=seconds), reader.answer_checks(seconds=seconds)
        self._note("me/entitlements", "per_second", reader, mine.per_second)
        self._note("entitlements/check", "per_second", reader, checks.per_second)

    def _check_out(self, side: Starledger) -> None:
        with self.alone(side):
            outcome = side.answer_checkouts(per_second=STEADY_RATE, seconds=self.options.seconds)
        for percent in (50, 99):
            milliseconds = outcome.percentile("checkout", percent) * 1000
            self._note(f"pre-checkout p{percent}", "ms", side, milliseconds)

    def rounds(self, what: str) -> Iterator[int]:
        for number in range(1, self.options.rounds + 1):
            self.calibration.append(calibrate())
            say(f"{what}: round {number} of {self.options.rounds}")
            yield number

    @contextmanager
    def alone(self, side: Side) -> Iterator[None]:
        with ExitStack() as stack:
            for other in self.sides:
                if other is not side:
                    stack.enter_context(other.resting())
            yield

    def _note(self, measure: str, unit: str, side: Side, value: float) -> None:
        self.samples.add(Sample(measure, unit, side.name, side.customers, value))
        say(f"  {measure:<22}{side.name:<14}{side.customers:>10,}{value:>12,.1f}{UNITS[unit]}")

    def peak_memory(self) -> dict[str, list[int]]:
        """KiB of every process, by what it is."""
        return {
            process.name: sorted(process.peak_memory().values(), reverse=True)
            for side in self.sides
            for process in side.processes
        }


def calibrate() -> float:
    """Seconds that a fixed calculation takes: how fast the machine is at this moment."""
    started = time.perf_counter()
    total = 0
    for number in range(3_000_000):
        total += number
    return time.perf_counter() - started


def say(what: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {what}", flush=True)


def take_part(bench: Bench, around: Surroundings, stack: ExitStack) -> None:
    """Make the sides that the options ask for, with their databases and servers."""
    options = bench.options
    for customers in options.sizes:
        ours = Starledger(around, customers=customers)
        bench.ours.append(ours)
        bench.readers.append(ours)
        bench.payers.append(ours)
        if options.with_peers and options.wants("payments"):
            bench.payers += [peer(around, customers=customers) for peer in (FastAPI, PTB, PgBench)]
        if options.with_peers and options.wants("reads"):
            bench.readers.append(Textbook(around, customers=customers, tables_of=ours))
    borrowers = [side for side in bench.sides if isinstance(side, Textbook)]
    owners = [side for side in bench.sides if side not in borrowers]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for sides in (owners, borrowers):
            for side in sides:
                stack.callback(side.end)
            list(pool.map(prepare, sides))


def open_pages(bench: Bench, cluster: Cluster, *, bot_api_port: int) -> Pages:
    """Fill books with few payments and with many, and open each page of their admin, in turn."""
    options, bot_api = bench.options, f"http://127.0.0.1:{bot_api_port}"
    few, many = (Books(cluster, payments=each, visits=options.visits, bot_api=bot_api) for each in options.payments)
    for progress in itertools.chain(few.fill(), many.fill(beginning_with=few)):
        say(f"books: {progress.strip()}")
    with ExitStack() as stack:
        for books in (few, many):
            stack.callback(books.end)
            books.open()
        for _ in bench.rounds("pages"):
            for page in few.times:
                few.visit(page)
                many.visit(page)
    return Pages(few, many)


def prepare(side: Side) -> None:
    started = time.monotonic()
    side.prepare()
    say(f"{side.name} with {side.customers:,} customers is ready after {time.monotonic() - started:.0f} s")


def parse(arguments: Sequence[str]) -> Options:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4, help="of load in each round")
    parser.add_argument("--quick", action="store_true", help="one short round with few customers, to see that it works")
    parser.add_argument(
        "--only", choices=["payments", "precheckout", "reads", "pages", "size"], help="size: ours alone"
    )
    parser.add_argument("--results", type=Path, help="where to write the JSON (a whole run: benchmarks/results.json)")
    given = parser.parse_args(arguments)
    if given.quick:
        return Options(1, 1, sizes=(1_000,), payments=(2_000, 3_000), visits=1, only=given.only, results=given.results)
    results = given.results or (None if given.only else RESULTS)
    return Options(
        rounds=given.rounds,
        seconds=given.seconds,
        sizes=SIZES,
        payments=PAYMENTS,
        visits=5,
        only=given.only,
        results=results,
    )


def main(arguments: Sequence[str]) -> None:
    options = parse(arguments)
    use_production_settings()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # by way of what ends the servers
    started = datetime.now(UTC)
    bench = Bench(options)
    with ExitStack() as stack:
        cluster = stack.enter_context(running_cluster())
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="starledger-bench-")))
        bot_api_port = start_bot_api(logs, stack)
        pages = open_pages(bench, cluster, bot_api_port=bot_api_port) if options.wants("pages") else None
        if options.only != "pages":
            take_part(bench, Surroundings(cluster, logs, bot_api_port), stack)
            bench.run()
        about = {
            "started_at": f"{started:%Y-%m-%dT%H:%M:%SZ}",
            "took_seconds": round((datetime.now(UTC) - started).total_seconds()),
            "rounds": options.rounds,
            "seconds": options.seconds,
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "postgresql": cluster.version(),
        }
        memory = bench.peak_memory()
    if bench.samples.sizes():
        print_report(bench.samples, memory=memory, calibration=bench.calibration)
    if pages:
        pages.print()
    if options.results:
        report = report_of(bench.samples, about=about, memory=memory, calibration=bench.calibration)
        report["pages"] = pages.rows() if pages else []
        options.results.write_text(json.dumps(report, indent=1) + "\n")


def start_bot_api(logs: Path, stack: ExitStack) -> int:
    """Start what stands for the Bot API, and return its port."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.telegram", str(port)]
    bot_api = Process("Bot API", command, environment=os.environ, log=logs / "bot_api.log")
    stack.callback(bot_api.end)
    bot_api.wait_for(port)
    return port


if __name__ == "__main__":
    main(sys.argv[1:])
