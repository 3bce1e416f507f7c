"""T50 in the whole house: what buyers, programs, staff and strangers leave behind holds no secret."""

import re
from contextlib import closing
from html import unescape
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx
import psutil
import psycopg
import pytest
from django_otp.oath import totp
from psycopg import sql

from tests.canaries import leaks_in
from tests.flows.house import PATIENCE

pytestmark = pytest.mark.xdist_group("house")

STAFF, PASSWORD, TOTP_KEY = "canary", "the-password-of-the-canary-0000", b"the totp key of the canary"
MOST_PAGES = 40
LINK = re.compile(r'href="([^"]+)"')
TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"


@pytest.fixture(scope="module")
def api_key(house):
    return house.manage("create_api_key", "canary", "--scope=entitlements:read")


@pytest.fixture(scope="module")
def secrets(house, api_key):
    """All that anybody could steal from this house, by name."""
    settings = ("SECRET_KEY", "JWT_SIGNING_KEY", "TELEGRAM_BOT_TOKEN", "TELEGRAM_WEBHOOK_SECRET", "METRICS_TOKEN")
    return {name: house.environment[name] for name in settings} | {
        "TELEGRAM_PAYMENT_PROVIDER_TOKEN": house.environment["TELEGRAM_PAYMENT_PROVIDER_TOKEN"],
        "the database's password": urlsplit(house.database_url).password,
        "an API key": api_key.partition(".")[2],
        "a password of staff": PASSWORD,
    }


@pytest.fixture(scope="module")
def lived(house, api_key):
    """Everybody has done something, and much of it failed. Returns a buyer's token."""
    alice = house.telegram.person("Canary")
    alice.says("/start")
    alice.hears()
    buyer = house.sign_in(alice)
    for fault in ("500", "half_json", "cut_before"):
        house.telegram.faults.order("createInvoiceLink", fault)
        buyer.post("/api/v1/telegram/payment/send-invoice", json={"plan_code": "gold_1m", "delivery": "link"})
    house.telegram.faults.clear()
    answer = buyer.post("/api/v1/telegram/payment/send-invoice", json={"plan_code": "gold_1m", "delivery": "link"})
    assert alice.pays(alice.opens(answer.json()["invoice_link"])).paid
    token = buyer.headers["Authorization"].partition(" ")[2]
    for authorization in (
        f"Bearer {token}x",
        f"Basic {token}",
        f"Api-Key {api_key}",
        f"Api-Key {api_key}x",
        f"Api-Key {token}",
    ):
        for path in ("/api/v1/customers/7/payments", "/api/v1/me/payments"):
            httpx.get(f"{house.url}{path}", headers={"Authorization": authorization}, timeout=PATIENCE)
    httpx.get(f"{house.url}/api/v1/me/entitlements", headers={"Authorization": f"Bearer {token}"}).raise_for_status()
    secret = house.environment["TELEGRAM_WEBHOOK_SECRET"]
    house.post_update(b'{"update_id": 5, "poll": {"id": "1"}}', secret=f"{secret}x")
    house.post_update(b'{"no": "update"}')
    return token


@pytest.fixture(scope="module")
def staff(house):
    """The admin for somebody who may do everything, signed in at the second try."""
    house.manage(
        "shell",
        "-c",
        "from django.contrib.auth.models import User\n"
        "from django_otp.plugins.otp_totp.models import TOTPDevice\n"
        f"canary = User.objects.create_superuser('{STAFF}', password='{PASSWORD}')\n"
        f"TOTPDevice.objects.create(user=canary, key='{TOTP_KEY.hex()}', confirmed=True)",
    )
    with httpx.Client(base_url=house.url, timeout=PATIENCE, follow_redirects=True) as browser:
        browser.get("/admin/login/")
        for password in (f"{PASSWORD}x", PASSWORD):
            code = f"{totp(TOTP_KEY):06}"
            form = {"username": STAFF, "password": password, "otp_token": code, "next": "/admin/"}
            token = {"csrfmiddlewaretoken": browser.cookies["csrftoken"]}
            page = browser.post("/admin/login/", data=form | token, headers={"Referer": f"{house.url}/admin/login/"})
        assert STAFF in page.text
        assert page.url.path == "/admin/"
        yield browser


def pages_of(browser: httpx.Client) -> dict[str, str]:
    """The pages of the admin, nearest to the first one first, one of each kind before others of it."""
    waiting, seen, pages = ["/admin/"], {"/admin/"}, {}
    while waiting and len(pages) < MOST_PAGES:
        answer = browser.get(waiting.pop(0))
        if answer.status_code != 200 or "html" not in answer.headers["Content-Type"]:
            continue
        pages[str(answer.url)] = answer.text
        for link in map(unescape, LINK.findall(answer.text)):
            path = urlsplit(urljoin(str(answer.url), link)).path
            kind = re.sub(r"[0-9a-f-]{36}|\d+", "N", path)
            if path.startswith("/admin/") and kind not in seen and "logout" not in path:
                seen.add(kind)
                waiting.append(path)
    return pages


def rows_of(house) -> dict[str, bytes]:
    """Every row of every table, as PostgreSQL copies it out; bytes are in hex there."""
    with closing(psycopg.connect(house.database_url, autocommit=True)) as connection:
        dumped = {}
        for (table,) in connection.execute(TABLES).fetchall():
            with connection.cursor().copy(sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(table))) as copied:
                dumped[table] = b"".join(copied)
    return dumped


def leaks(places: dict[str, str | bytes], secrets: dict[str, str]) -> list[str]:
    return [
        f"{place}: {leak}"
        for place, text in places.items()
        for leak in leaks_in(text if isinstance(text, bytes) else text.encode(), secrets)
    ]


def test_the_admin_shows_no_secret(staff, lived, secrets):
    pages = pages_of(staff)

    assert len(pages) > 30
    assert any("canary" in page and "entitlements/apiclient" in address for address, page in pages.items())
    assert leaks(pages, secrets | {"a token of a buyer": lived, "a factor of staff": TOTP_KEY.decode()}) == []


def test_no_row_holds_a_secret(house, staff, lived, secrets):
    rows = rows_of(house)

    assert b"Canary" in rows["entitlements_customer"]
    assert TOTP_KEY.hex().encode() in rows["otp_totp_totpdevice"]  # which has to know it; and it shows that we look
    assert leaks(rows, secrets | {"a token of a buyer": lived}) == []
    del rows["otp_totp_totpdevice"]
    assert leaks(rows, {"a factor of staff": TOTP_KEY.decode()}) == []


def test_answers_to_anybody_hold_no_secret(house, lived, secrets):
    authorised = {"Authorization": f"Bearer {secrets['METRICS_TOKEN']}"}
    answers = {
        path: httpx.get(f"{house.url}{path}", headers=authorised, timeout=PATIENCE).content
        for path in (
            "/metrics",
            "/readyz",
            "/healthz",
            "/api/schema/",
            "/api/docs/",
            "/api/v1/catalog",
            "/nothing",
            "/api/v1/x",
        )
    }

    assert b"telegram_payments_total" in answers["/metrics"]
    assert leaks(answers, secrets | {"a token of a buyer": lived}) == []


def test_no_log_and_no_command_line_holds_a_secret(house, staff, lived, secrets):
    logs: dict[str, str | bytes] = {path.name: path.read_bytes() for path in Path(house.logs).glob("*.log")}
    logs |= {
        f"the command line of {process.pid}": " ".join(process.cmdline())
        for started in house.processes.values()
        for process in [psutil.Process(started.pid), *psutil.Process(started.pid).children(recursive=True)]
    }

    assert b'"event": "token refused"' in logs["serve.log"]
    assert leaks(logs, secrets | {"a token of a buyer": lived, "a factor of staff": TOTP_KEY.decode()}) == []
