"""Who records payments: each side's server, its data, and what counts as a recorded payment there."""

import json
import os
import random
import re
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from psycopg import sql

from benchmarks import telegram
from benchmarks.cluster import Cluster
from benchmarks.load import CONNECTIONS, Call, closed_loop, http_request
from benchmarks.processes import Process, free_port

FIRST_USER = 5_000_000_000  # beyond 32 bits, as Telegram's ids are
WARM_UP = 1.0  # seconds
DRAIN_LIMIT = 60.0  # seconds a server may go on committing after its last answer
PEERS = Path(__file__).parent / "peers"


class SideFailed(Exception):
    """A side did not do what it claimed."""


class Rate(NamedTuple):
    """How much was really done in how long."""

    done: int
    seconds: float

    @property
    def per_second(self) -> float:
        return self.done / self.seconds


class Surroundings(NamedTuple):
    """What all sides share."""

    cluster: Cluster
    logs: Path
    bot_api_port: int


class Side(ABC):
    """A system under test with a database that begins with so many customers."""

    name: str

    def __init__(self, around: Surroundings, *, customers: int) -> None:
        self.around = around
        self.customers = customers
        self.database = f"{self.name}_{customers}"
        self.processes: list[Process] = []

    @abstractmethod
    def prepare(self) -> None:
        """Create the database with its customers and start what serves it."""

    def end(self) -> None:
        for process in self.processes:
            process.end()

    @contextmanager
    def resting(self) -> Iterator[None]:
        with ExitStack() as stack:
            for process in self.processes:
                stack.enter_context(process.resting())
            yield

    def random_user(self) -> int:
        return FIRST_USER + random.randrange(self.customers)

    def settle(self) -> None:
        self.around.cluster.settle(self.database)

    def count(self, table: str) -> int:
        with self.around.cluster.connect(self.database) as connection:
            row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))).fetchone()
        return int(row[0]) if row else 0

    def start(self, what: str, *command: str, **environment: str) -> Process:
        process = Process(
            f"{self.database}_{what}",
            [sys.executable, *command],
            environment={**os.environ, **self.environment(), **environment},
            log=self.around.logs / f"{self.database}_{what}.log",
        )
        self.processes.append(process)
        return process

    def environment(self) -> Mapping[str, str]:
        return {
            "DATABASE_URL": self.around.cluster.url(self.database),
            "TELEGRAM_BOT_TOKEN": telegram.TOKEN,
            "TELEGRAM_WEBHOOK_SECRET": telegram.SECRET,
            "TELEGRAM_API_BASE_URL": f"http://127.0.0.1:{self.around.bot_api_port}",
        }


class PaymentSide(Side):
    """A side that records payments."""

    @abstractmethod
    def committed(self) -> int:
        """How many payments the measured rounds have brought into the database so far."""

    @abstractmethod
    def record_payments(self, *, seconds: float) -> Rate:
        """Record as many payments of random customers as fit into some seconds, after a short warm-up.

        :raises SideFailed: the database does not hold what was answered for
        """


class WebhookSide(PaymentSide):
    """A server that is told of payments as Telegram does it. Only what its database holds counts."""

    most_per_second: int  # requests prepared for each second of a round
    port: int

    @abstractmethod
    def payments(self, count: int) -> list[Call]:
        """New payments of random customers."""

    def record_payments(self, *, seconds: float) -> Rate:
        calls = self.payments(int(self.most_per_second * (seconds + WARM_UP)))
        self.settle()
        ahead = iter(calls)
        already = self.committed()
        warm = closed_loop(self.port, ahead, seconds=WARM_UP).require_right()
        before = already + warm.answered
        self.require_committed(before, answered_at=warm.finished_at)
        outcome = closed_loop(self.port, ahead, seconds=seconds).require_right()
        committed_at = self.require_committed(before + outcome.answered, answered_at=outcome.finished_at)
        return Rate(outcome.answered, committed_at - outcome.started_at)

    def require_committed(self, expected: int, *, answered_at: float) -> float:
        """Wait for the last expected payment: in the database with the last answer, or later where answers come first.

        :return: when it was found there
        :raises SideFailed: the database holds more, or still less after DRAIN_LIMIT
        """
        found_at = answered_at
        while (committed := self.committed()) < expected and found_at < answered_at + DRAIN_LIMIT:
            time.sleep(0.02)
            found_at = time.perf_counter()
        if committed != expected:
            message = f"{self.name} answered for {expected} payments and its database holds {committed}."
            raise SideFailed(message)
        return found_at


class Peer(PaymentSide):
    """A side with the tables of peers/schema.sql, and one past payment for each customer."""

    def create_tables(self) -> None:
        self.around.cluster.create(self.database)
        with self.around.cluster.connect(self.database) as connection:
            connection.execute((PEERS / "schema.sql").read_bytes())
            connection.execute(
                "INSERT INTO entitlement (user_id, code, active_until)"
                " SELECT %s + n, 'gold', now() + interval '1 day' FROM generate_series(0, %s::bigint - 1) n",
                [FIRST_USER, self.customers],
            )
            connection.execute(
                "INSERT INTO payment_event (charge_id, user_id, plan_code, amount, currency, raw, occurred_at)"
                " SELECT 'stx' || repeat(md5(n::text), 3) || n, %s + n, 'gold_1m', 500, 'XTR', '{}', now()"
                " FROM generate_series(0, %s::bigint - 1) n",
                [FIRST_USER, self.customers],
            )

    def committed(self) -> int:
        return self.count("job")  # written with its payment, and by nothing else


class FastAPI(Peer, WebhookSide):
    """The architecture this project replaces, with two workers."""

    name = "fastapi"
    most_per_second = 2_500

    def prepare(self) -> None:
        self.create_tables()
        self.port = free_port()
        options = ["--workers=2", "--loop=uvloop", "--http=httptools", "--no-access-log", f"--port={self.port}"]
        self.start("web", "-m", "uvicorn", "benchmarks.peers.fastapi_app:app", *options).wait_for(self.port)

    def payments(self, count: int) -> list[Call]:
        return [_peer_payment(self.random_user()) for _ in range(count)]


class PTB(Peer, WebhookSide):
    """python-telegram-bot's own webhook server, which answers before it works."""

    name = "ptb"
    most_per_second = 2_500

    def prepare(self) -> None:
        self.create_tables()
        self.port = free_port()
        self.start("web", "-m", "benchmarks.peers.ptb_app", str(self.port)).wait_for(self.port)

    def payments(self, count: int) -> list[Call]:
        return [_peer_payment(self.random_user()) for _ in range(count)]


class PgBench(Peer):
    """The three writes of a payment with nothing above PostgreSQL: the ceiling."""

    name = "pgbench"

    def prepare(self) -> None:
        self.create_tables()

    def record_payments(self, *, seconds: float) -> Rate:
        self.settle()
        self._run(WARM_UP)
        before = self.committed()
        per_second = self._run(seconds)
        count = self.committed() - before
        return Rate(count, count / per_second)

    def _run(self, seconds: float) -> float:
        """:return: transactions per second, without the time to connect"""
        cluster = self.around.cluster
        told = subprocess.run(
            [
                *(cluster.binaries / "pgbench", f"--host={cluster.sockets}", "--username=postgres", "--no-vacuum"),
                *("--protocol=prepared", f"--client={CONNECTIONS}", "--jobs=2", f"--time={round(seconds)}"),
                *("-D", f"first_user={FIRST_USER}", "-D", f"last_user={FIRST_USER + self.customers - 1}"),
                *("--file", PEERS / "three_writes.sql", self.database),
            ],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        found = re.search(r"tps = ([\d.]+)", told)
        if found is None:
            raise SideFailed(told)
        return float(found[1])


def _peer_payment(user_id: int) -> Call:
    payload = f"{telegram.PLAN_CODE}:{random.getrandbits(128):032x}"
    return telegram_call(telegram.payment_update(telegram_user_id=user_id, payload=payload))


def telegram_call(update: bytes, *, answer: object = None) -> Call:
    """An update on its way to a webhook; the right answer is empty, or this JSON value."""
    request = http_request(
        "POST",
        telegram.WEBHOOK,
        update,
        X_Telegram_Bot_Api_Secret_Token=telegram.SECRET,
        Accept_Encoding="gzip, deflate",
    )
    if answer is None:
        return Call(request, _is_empty)
    return Call(request, lambda body: bool(json.loads(body) == answer))


def _is_empty(body: bytes) -> bool:
    return body == b""
