"""T20-T23, T44: the database refuses, swallows, freezes, is full or locked; all is answered in time, and nothing lost."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from types import SimpleNamespace

import httpx
import psycopg
import pytest
from django.conf import settings
from psycopg.conninfo import make_conninfo

from config.embedded_postgres import FAST, temporary
from telegram_bot.sandbox.server import LocalTelegram
from telegram_bot.webhook import PATH, SECRET_HEADER
from tests import updates
from tests.faults.wire import Wire, frozen
from tests.flows.house import House

pytestmark = pytest.mark.xdist_group("outages")

TELEGRAM_WAITS = 10.0  # seconds
AT_ONCE = 40  # as many as Telegram has under way at one time unless told otherwise
MOST_CONNECTIONS = 40
INVOICES = """
import json
from tests.factories import InvoiceFactory, PlanFactory
plan = PlanFactory()
made = [InvoiceFactory(plan=plan) for _ in range(%d)]
print(json.dumps([[i.payload, i.amount, i.currency, i.customer.telegram_user_id] for i in made]))
"""


@pytest.fixture(scope="module")
def server():
    with temporary({**FAST, "max_connections": str(MOST_CONNECTIONS)}) as server:
        yield server


@pytest.fixture(scope="module")
def wire(server):
    with closing(Wire(f"{psycopg.conninfo.conninfo_to_dict(server.url)['host']}/.s.PGSQL.5432")) as wire:
        yield wire


@pytest.fixture(scope="module")
def house(wire, tmp_path_factory):
    with LocalTelegram.running(token=settings.TELEGRAM_BOT_TOKEN, pace=0.05) as telegram:
        house = House(telegram, f"postgresql://postgres@127.0.0.1:{wire.port}/postgres", tmp_path_factory.mktemp("logs"))
        try:
            house.open()
            yield house
        finally:
            house.close()


@pytest.fixture(scope="module")
def all_invoices(house):
    rows = json.loads(house.manage("shell", "--verbosity", "0", "--command", INVOICES % 300))
    return iter([
        SimpleNamespace(payload=payload, amount=amount, currency=currency, customer=SimpleNamespace(telegram_user_id=who))
        for payload, amount, currency, who in rows
    ])

@pytest.fixture
def invoices(all_invoices):
    return [next(all_invoices) for _ in range(40)]


def deliver(house, everything):
    """Post all at once, as Telegram does; what takes longer than it waits is an error."""
    headers = {SECRET_HEADER: settings.TELEGRAM_WEBHOOK_SECRETS[0]}
    limits = httpx.Limits(max_connections=None)
    with (
        httpx.Client(base_url=house.url, headers=headers, limits=limits, timeout=60) as telegram,
        ThreadPoolExecutor(len(everything)) as threads,
    ):
        def post(u):
            t = time.monotonic()
            a = telegram.post(PATH, content=updates.body(u))
            return a, time.monotonic() - t
        return list(threads.map(post, everything))


def faults(house, server, wire):
    return {"frozen": lambda: frozen(server), "refused": wire.refusing, "swallowed": wire.swallowing}


@pytest.mark.parametrize("fault", ["frozen", "refused", "swallowed"])
def test_x(house, server, wire, invoices, fault):
    ups = [updates.payment(i, charge_id=f"stx{i.payload}") if n % 2 else updates.pre_checkout(i) for n, i in enumerate(invoices)]
    deliver(house, ups[:6])
    with faults(house, server, wire)[fault]():
        with ThreadPoolExecutor(2) as t:
            h = t.submit(lambda: (time.sleep(1), time.monotonic(), httpx.get(house.url + "/healthz", timeout=60), time.monotonic()))
            r = t.submit(lambda: (time.monotonic(), httpx.get(house.url + "/readyz", timeout=60), time.monotonic()))
            got = deliver(house, ups)
            print(fault, sorted((round(s, 1), a.status_code, a.headers.get("Retry-After")) for a, s in got))
            print("healthz", h.result()[2], h.result()[3] - h.result()[1], "readyz", r.result()[1], r.result()[2] - r.result()[0])
        got = deliver(house, ups)
        print(fault, sorted((round(s, 1), a.status_code, a.headers.get("Retry-After")) for a, s in got))
    t0 = time.monotonic()
    for _ in range(100):
        got = deliver(house, ups)
        if {a.status_code for a, s in got} == {200}:
            break
        time.sleep(.1)
    print("healed after", time.monotonic() - t0)
