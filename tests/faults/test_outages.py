"""T20-T23, T44: the database refuses, swallows, freezes, is full or locked: told in time, and nothing is lost."""

import asyncio
import json
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from functools import partial
from types import SimpleNamespace

import httpx
import psycopg
import pytest
from django.conf import settings
from psycopg.conninfo import conninfo_to_dict

from config.embedded_postgres import FAST, temporary
from telegram_bot.sandbox.server import LocalTelegram
from telegram_bot.webhook import PATH, SECRET_HEADER
from tests import updates
from tests.faults.wire import Wire, frozen
from tests.flows.house import House

pytestmark = pytest.mark.alone

TELEGRAM_WAITS = 10.0  # seconds
MANAGERS_WAIT = 10.0  # before they kill what should stop
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # else each client reads all the authorities of the world
READINESS_IS_KNOWN_WITHIN = 5.0
CONNECTIONS = 40  # that the server allows
AT_ONCE = 40  # as many updates as Telegram has under way unless told otherwise; the pool has 16 connections
INVOICES = f"""
import json
from tests.factories import CustomerFactory, InvoiceFactory, PlanFactory
plan = PlanFactory()
for n in range({10 * AT_ONCE}):
    customer = CustomerFactory(display_name="Alice")
    made = InvoiceFactory(plan=plan, customer=customer)
    print(json.dumps([made.payload, made.amount, made.currency, customer.telegram_user_id]))
"""


@pytest.fixture(scope="module")
def server():
    """A PostgreSQL of its own: others must not suffer with it."""
    with temporary({**FAST, "max_connections": str(CONNECTIONS)}) as server:
        yield server


@pytest.fixture(scope="module")
def wire(server):
    target = f"{conninfo_to_dict(server.url)['host']}/.s.PGSQL.5432"
    with closing(Wire(partial(asyncio.open_unix_connection, target))) as wire:
        yield wire


@pytest.fixture(scope="module")
def house(wire, tmp_path_factory):
    with LocalTelegram.running(token=settings.TELEGRAM_BOT_TOKEN, pace=0.05) as telegram:
        house = House(
            telegram, f"postgresql://postgres@127.0.0.1:{wire.port}/postgres", tmp_path_factory.mktemp("logs")
        )
        house.environment["LOG_LEVEL"] = "INFO"
        try:
            house.manage("migrate", "--verbosity", "0")
            house.open()
            yield house
        finally:
            house.close()


@pytest.fixture(scope="module")
def all_invoices(house):
    made = house.manage("shell", "--verbosity", "0", "--command", INVOICES)
    return iter([sent(*json.loads(line)) for line in made.splitlines()])


def sent(payload: str, amount: int, currency: str, telegram_user_id: int) -> SimpleNamespace:
    customer = SimpleNamespace(telegram_user_id=telegram_user_id)
    return SimpleNamespace(payload=payload, amount=amount, currency=currency, customer=customer)


@pytest.fixture
def payments(all_invoices):
    """Each of another customer."""
    return [updates.payment(invoice, charge_id=f"stx{invoice.payload}") for invoice in some(all_invoices, AT_ONCE // 2)]


@pytest.fixture
def checkouts(all_invoices):
    return [updates.pre_checkout(invoice, query_id=invoice.payload) for invoice in some(all_invoices, AT_ONCE // 2)]


def some(invoices, count: int) -> list[SimpleNamespace]:
    return [next(invoices) for _ in range(count)]


@contextmanager
def full(server):
    """No connection to be had: others hold all that the server allows, those that the house had as well."""
    with psycopg.connect(server.url, autocommit=True) as first:
        taken = [first]
        try:
            while len(taken) < CONNECTIONS:
                first.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'starledger%'"
                )
                with suppress(psycopg.OperationalError):
                    while True:
                        taken.append(psycopg.connect(server.url))
            yield
        finally:
            for connection in taken:
                connection.close()


@contextmanager
def locked(server, table: str):
    with psycopg.connect(server.url) as holder:
        holder.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield
        holder.rollback()


def outage(name: str, *, server, wire):
    match name.split():
        case ["frozen"]:
            return frozen(server)
        case ["refused"]:
            return wire.refusing()
        case ["swallowed"]:
            return wire.swallowing()
        case ["full"]:
            return full(server)
        case ["locked", table]:
            return locked(server, table)


class Delivery:
    """What became of updates that were posted all at once."""

    def __init__(self, house, everything: list[dict]) -> None:
        bodies = [updates.body(update) for update in everything]
        headers = {SECRET_HEADER: settings.TELEGRAM_WEBHOOK_SECRETS[0]}
        limits = httpx.Limits(max_connections=None)
        with (
            httpx.Client(
                base_url=house.url, headers=headers, limits=limits, timeout=60, verify=NO_TLS
            ) as self.telegram,
            ThreadPoolExecutor(len(everything)) as threads,
        ):
            self.answers = list(threads.map(self._post, bodies))
        self.statuses = {answer.status_code for answer, _ in self.answers}
        self.slowest = max(seconds for _, seconds in self.answers)

    def _post(self, body: bytes) -> tuple[httpx.Response, float]:
        began = time.monotonic()
        answer = self.telegram.post(PATH, content=body)
        return answer, time.monotonic() - began

    def pauses(self, ours: list[dict], everything: list[dict]) -> set[str]:
        """After which Telegram was asked to bring some of these again."""
        return {
            answer.headers["Retry-After"]
            for (answer, _), update in zip(self.answers, everything, strict=True)
            if update in ours and answer.status_code == 503
        }


def deliver(house, everything: list[dict]) -> Delivery:
    return Delivery(house, everything)


def asked(url: str) -> tuple[int, float]:
    """The status, and after how many seconds it came."""
    began = time.monotonic()
    return httpx.get(url, timeout=60).status_code, time.monotonic() - began


def recorded(house, payments: list[dict]) -> list[tuple[str, int, int]]:
    """The charges in the ledger, each with the number of its events, and of grants."""
    charges = [payment["message"]["successful_payment"]["telegram_payment_charge_id"] for payment in payments]
    return house.rows(
        "SELECT event_id, count(*), (SELECT count(*) FROM entitlements_grant WHERE source LIKE '%%' || event_id)"
        " FROM payments_paymentevent WHERE event_id = ANY(%s) GROUP BY event_id",
        charges,
    )


def works_again(house, invoice) -> None:
    """One more payment and a command: recorded at once, and the worker does its part of both.

    What it had begun before is another matter: leases have to run out first.
    """
    payment = updates.payment(invoice, charge_id=f"stx{invoice.payload}")
    command = updates.message(invoice.customer.telegram_user_id, text="/start")
    house.wait_for(lambda: deliver(house, [payment, command]).statuses == {200}, "the webhook")
    house.wait_for(
        lambda: (
            house.rows("SELECT status FROM telegram_bot_incomingupdate WHERE update_id = %s", command["update_id"])
            == [("done",)]
        ),
        "the answer to the command",
    )
    house.wait_for(
        lambda: house.rows(
            "SELECT 1 FROM payments_notice JOIN payments_paymentevent event ON event.id = payments_notice.event_id"
            " WHERE event.event_id = %s AND (sent_at IS NOT NULL OR given_up_at IS NOT NULL)",
            f"stx{invoice.payload}",
        ),
        "the confirmation",
    )


@pytest.mark.parametrize("name", ["frozen", "refused", "swallowed", "full"])
def test_a_database_that_is_gone_is_told_in_time_and_nothing_is_lost(
    house, server, wire, payments, checkouts, all_invoices, name
):
    everything = [*payments, *checkouts]
    deliver(house, everything[:2])  # so that there are connections to be lost

    with outage(name, server=server, wire=wire), ThreadPoolExecutor() as beside:
        readiness = beside.submit(asked, f"{house.url}/readyz")
        first = deliver(house, everything)
        health = beside.submit(asked, f"{house.url}/healthz")
        again = deliver(house, everything)
        later = beside.submit(asked, f"{house.url}/readyz")

    assert first.statuses == again.statuses == {503}
    assert max(first.slowest, again.slowest) < TELEGRAM_WAITS
    assert first.pauses(checkouts, everything) == {"1"}
    assert first.pauses(payments, everything) == {"5"}
    for answer in (readiness, later):
        status, seconds = answer.result()
        assert status == 503
        assert seconds < READINESS_IS_KNOWN_WITHIN
    assert health.result()[0] == 200

    house.wait_for(lambda: deliver(house, everything).statuses == {200}, "the webhook")
    house.wait_for(lambda: asked(f"{house.url}/readyz")[0] == 200, "readiness")
    assert sorted(counts for _, *counts in recorded(house, payments)) == [[1, 1]] * len(payments)
    works_again(house, next(all_invoices))


@pytest.mark.parametrize("name", ["locked payments_paymentevent", "locked telegram_bot_incomingupdate"])
def test_a_database_that_is_in_use_is_told_in_time_and_nothing_is_lost(
    house, server, wire, payments, checkouts, all_invoices, name
):
    everything = [*payments, *checkouts]

    with outage(name, server=server, wire=wire), ThreadPoolExecutor() as beside:
        health = beside.submit(asked, f"{house.url}/healthz")
        first = deliver(house, everything)

    assert first.statuses <= {200, 503}
    assert 503 in first.statuses
    assert first.slowest < TELEGRAM_WAITS
    assert health.result()[0] == 200

    house.wait_for(lambda: deliver(house, everything).statuses == {200}, "the webhook")
    assert sorted(counts for _, *counts in recorded(house, payments)) == [[1, 1]] * len(payments)
    works_again(house, next(all_invoices))


def test_all_stop_in_time_though_the_database_is_frozen_and_give_their_answers_before(
    house, server, payments, all_invoices
):
    web, worker = house.processes.pop("serve"), house.processes.pop("worker")

    with frozen(server), ThreadPoolExecutor() as beside:
        delivery = beside.submit(deliver, house, payments)
        time.sleep(1)  # they are under way
        web.terminate()
        worker.terminate()
        codes = [process.wait(MANAGERS_WAIT) for process in (web, worker)]
        answered = delivery.result()

    assert codes == [0, 0]
    assert answered.statuses == {503}

    house.restart_web()
    house.start("worker")
    works_again(house, next(all_invoices))


def test_after_all_that_the_books_are_sound(house):
    assert house.manage("recheck_ledger")
