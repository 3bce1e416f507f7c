"""What all tests share: the cast, a client that speaks as Telegram, and the local Telegram itself."""

import json
import math
import os
from pathlib import Path

import pytest
import structlog
from django.conf import settings
from django.db import connection
from django.test import Client, TransactionTestCase
from playwright.sync_api import sync_playwright

from config import patience
from config.api import authentication, ratelimit
from telegram_bot.webhook import PATH, SECRET_HEADER
from tests import migrated, updates
from tests.factories import CustomerFactory, InvoiceFactory, PlanFactory

CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


# A test has a hundred threads where a web process has a few, on a machine that runs others beside it: whoever holds a
# lock may not get to run within the seconds of a web process. Its limits are those of processes in their own tests.
_database = settings.DATABASES["default"]["OPTIONS"]
_database["options"] = "-c lock_timeout=60s -c statement_timeout=60s -c idle_in_transaction_session_timeout=60s"
_database["connect_timeout"] = 60
_database["pool"]["timeout"] = 60.0
patience.ANSWER = 61.0


# Passwords of staff are hashed for a third of a second each, by intention; nobody guesses at those of the tests.
settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


# What migrations leave behind, and no test changes: to make it anew takes longer than most tests.
KEPT = ("django_migrations", "django_content_type", "auth_permission", "auth_group", "auth_group_permissions")
EMPTY = """
DO $$
DECLARE
    written text;
    has_rows boolean;
BEGIN
    SET LOCAL session_replication_role = replica;  -- the ledger's triggers would refuse
    FOR written IN
        SELECT format('%I', tablename) FROM pg_tables
        WHERE schemaname = 'public' AND tablename <> ALL (string_to_array('{kept}', ' '))
    LOOP
        EXECUTE 'SELECT EXISTS (SELECT FROM ' || written || ')' INTO has_rows;
        IF has_rows THEN
            EXECUTE 'DELETE FROM ' || written;
        END IF;
    END LOOP;
END
$$
""".replace("{kept}", " ".join(KEPT))


def empty_what_was_written(_case: TransactionTestCase | None = None) -> None:
    """After a test that commits, in place of Django's flush. That takes ten times as long, for it truncates every
    table, written or not, and makes all permissions anew; and it leaves the queue's, which are not Django's.
    """
    with connection.cursor() as cursor:
        cursor.execute(EMPTY)


TransactionTestCase._fixture_teardown = empty_what_was_written


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix):
    """The database of the tests begins as a copy."""
    settings.DATABASES["default"]["TEST"]["TEMPLATE"] = migrated.wait_until_made()


@pytest.fixture(autouse=True)
def time_goes_on():
    """A worker that was stopped in this process limited what is left of its time; the next test has its own."""
    yield
    patience._last_end = math.inf


@pytest.fixture(autouse=True)
def nobody_has_been_refused():
    """What this process remembers of limits and keys belongs to rows that a test takes back."""
    yield
    ratelimit.refusals.forget()
    authentication.good_keys.forget()


class TelegramPosts:
    """Posts updates to the webhook as Telegram does, and keeps every answer."""

    def __init__(self) -> None:
        self.client = Client()

    def __call__(self, update: dict | bytes, *, secret: str | None = None, **headers):
        body = update if isinstance(update, bytes) else updates.body(update)
        secret = settings.TELEGRAM_WEBHOOK_SECRETS[0] if secret is None else secret
        return self.client.post(
            PATH,
            body,
            content_type="application/json",
            headers={SECRET_HEADER: secret, **headers},
            CONTENT_LENGTH=str(len(body)),
        )


@pytest.fixture(scope="module")
def browser():
    """Chromium, as staff and buyers have it; without one the tests that need it are skipped."""
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def telegram_posts() -> TelegramPosts:
    return TelegramPosts()


@pytest.fixture
def gold(db):
    return PlanFactory()


@pytest.fixture
def alice(db):
    return CustomerFactory(display_name="Alice")


@pytest.fixture
def bob(db):
    return CustomerFactory(display_name="Bob")


@pytest.fixture
def invoice(alice, gold):
    """Gold for a month, quoted to Alice for 500 Stars."""
    return InvoiceFactory(customer=alice, plan=gold)


@pytest.fixture
def logged():
    """What is logged meanwhile, as structlog's events."""
    with structlog.testing.capture_logs() as lines:
        yield lines


@pytest.fixture
def lines(capsys):
    """Reads what was written to standard error meanwhile, each line a JSON object."""

    def read() -> list[dict]:
        return [json.loads(line) for line in capsys.readouterr().err.splitlines()]

    read()
    return read
