from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client

from config import health
from config.database import database_now
from telegram_bot.models import IncomingUpdate
from tests.config.reading import figures


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def schema_unknown():
    """As in a process that has just started."""
    health.require_current_schema.cache_clear()
    yield
    health.require_current_schema.cache_clear()


@pytest.fixture
def late(monkeypatch):
    """A queue whose oldest entry has waited for four minutes."""
    monkeypatch.setitem(health.BACKLOGS, "letters", lambda: 240.0)


class TestHealthz:
    def test_says_that_the_process_lives_without_asking_the_database(self, client):
        # No database fixture: a query would fail this test.
        answer = client.get("/healthz")

        assert (answer.status_code, answer.content) == (200, b"ok\n")


class TestReadyz:
    def test_is_ready_when_all_is_well(self, db, client, schema_unknown):
        answer = client.get("/readyz")

        assert (answer.status_code, answer.json()) == (200, {"status": "ready"})
        assert "no-store" in answer["Cache-Control"]

    def test_tells_that_migrations_are_missing_and_the_log_alone_which(self, db, client, schema_unknown, logged):
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM django_migrations WHERE app = 'payments'")

        answer = client.get("/readyz")

        assert answer.status_code == 503
        assert answer.json()["errors"]["migrations"] == [answer.json()["detail"]]
        assert answer.json()["detail"].endswith("run `manage.py migrate`.")
        assert "0001" not in answer.content.decode()
        assert "payments.0001" in next(line["missing"] for line in logged if "missing" in line)

    def test_tells_what_has_waited_too_long(self, db, client, late):
        answer = client.get("/readyz")

        assert answer.status_code == 503
        assert answer["Content-Type"] == "application/problem+json"
        assert int(answer["Retry-After"]) > 0
        assert answer.json()["code"] == "unavailable"
        assert answer.json()["errors"] == {
            "letters": ["The oldest of the letters has waited 240 s: is a worker running?"]
        }

    def test_names_both_updates_and_jobs_that_nobody_takes(self, db, client):
        due = database_now() - timedelta(seconds=200)
        IncomingUpdate.objects.create(
            bot_id=1, digest=b"1" * 32, kind="message", body=b"{}", status="pending", next_attempt_at=due
        )
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO procrastinate_jobs (queue_name, task_name, scheduled_at) VALUES ('q', 'nothing', %s)",
                [due],
            )

        answer = client.get("/readyz")

        assert answer.status_code == 503
        assert {name: reason.split(" has waited ")[0] for name, [reason] in answer.json()["errors"].items()} == {
            "updates": "The oldest of the updates",
            "jobs": "The oldest of the jobs",
        }

    def test_is_not_ready_without_a_database(self, client, no_database):
        answer = client.get("/readyz")

        assert answer.status_code == 503
        assert answer.json()["errors"] == {"database": ["The database does not answer."]}
        assert client.get("/healthz").status_code == 200


class TestMetrics:
    def test_are_closed_in_production_when_no_token_is_set(self, db, client):
        assert client.get("/metrics").status_code == 404

    def test_are_open_in_development_when_no_token_is_set(self, db, client, settings):
        settings.DEBUG = True

        assert client.get("/metrics").status_code == 200

    @pytest.mark.parametrize("given", [None, "Bearer wrong", "the-token", "Bearer the-token ", "bearer the-token", "é"])
    def test_are_for_those_who_hold_the_token(self, db, client, settings, given):
        settings.METRICS_TOKEN = "the-token"

        answer = client.get("/metrics", headers={"Authorization": given} if given else {})

        assert (answer.status_code, answer["WWW-Authenticate"]) == (401, "Bearer")
        assert client.get("/metrics", headers={"Authorization": "Bearer the-token"}).status_code == 200

    def test_are_withheld_when_the_books_cannot_be_read(self, client, settings, no_database):
        settings.DEBUG = True

        assert client.get("/metrics").status_code == 503

    def test_can_be_read_while_the_books_are_empty(self, db, client, settings):
        settings.DEBUG = True

        assert figures(client)["telegram_payments_pending"] == 0
