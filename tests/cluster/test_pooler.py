"""The application behind PgBouncer, as deploy/pgbouncer.ini sets it up."""

import os
import re
import tempfile
import time
from pathlib import Path

import httpx
import psycopg
import pytest
from django.conf import settings
from django.db import connection
from psycopg.conninfo import make_conninfo

from payments.models import PaymentEvent
from telegram_bot.webhook import PATH, SECRET_HEADER
from tests import updates
from tests.cluster.house import answers
from tests.cluster.programs import OPEN_FILES, PASSWORD, missing, pgbouncer, pooled_url
from tests.config.test_serve import serving
from tests.ports import free_port
from tests.postgres_urls import test_database_url

pytestmark = [
    pytest.mark.skipif(
        bool(missing("pgbouncer")) and not os.environ.get("REQUIRE_ALL"), reason="pgbouncer is not installed"
    ),
    pytest.mark.django_db(transaction=True),
]


@pytest.fixture
def pooler(transactional_db):
    """One before the test's database, and the address by way of it."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="starledger-pooler-") as directory:  # where its account gets to its file
        url = pooled_url(Path(directory), port)
        pooler = pgbouncer("pooler", Path(directory), port=port, database_url=test_database_url())
        pooler.start()
        try:
            deadline = time.monotonic() + 60
            while not answers(url):
                assert pooler.alive, pooler.said()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield pooler, url
        finally:
            pooler.end()
            with connection.cursor() as cursor:
                cursor.execute(f"DROP ROLE pooled_{port}")


@pytest.fixture
def pooled(pooler):
    """The address of the test's database by way of a pooler."""
    return pooler[1]


def test_it_can_open_as_many_files_as_it_may_need(pooler):
    [(limit, needed)] = re.findall(r"limit: (\d+) .* max expected fd use: (\d+)", pooler[0].said())

    assert int(needed) < int(limit) == OPEN_FILES


@pytest.mark.parametrize(
    ("theirs", "wrong"), [(PASSWORD, "another"), ("sslmode=verify-full", "sslmode=disable")], ids=["password", "TLS"]
)
def test_nobody_gets_in_without_the_password_or_in_the_clear(pooled, theirs, wrong):
    assert theirs in pooled
    assert not answers(pooled.replace(theirs, wrong))


def test_every_connection_by_the_pooler_has_our_limits_of_time(pooled):
    with psycopg.connect(make_conninfo(pooled, options="-c lock_timeout=0"), autocommit=True) as there:
        limits = [
            there.execute(f"SHOW {name}").fetchone()[0]
            for name in ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")
        ]

    assert limits == ["3s", "5s", "10s"]


def test_a_payment_is_recorded_by_way_of_the_pooler(pooled, invoice):
    port = free_port()
    with serving(port, DATABASE_URL=pooled, DB_PREPARE="false"):
        told = httpx.post(
            f"http://127.0.0.1:{port}{PATH}",
            content=updates.body(updates.payment(invoice)),
            headers={SECRET_HEADER: settings.TELEGRAM_WEBHOOK_SECRETS[0]},
            timeout=60,
        )

    assert told.status_code == 200
    assert PaymentEvent.objects.get().invoice == invoice
