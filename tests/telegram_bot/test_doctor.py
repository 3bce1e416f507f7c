"""`manage.py doctor`: looks at everything, says what to do, and goes on whatever is broken."""

import io
import itertools
import time
from datetime import datetime, timedelta

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import F

from config import checkup, doctor
from config.checkup import Finding, Health, examine
from config.database import database_now
from payments.models import Discrepancy, DiscrepancyKind, InvariantCheck, Notice, PaymentMethod, ReconciliationRun
from payments.money import Money
from payments.reconciling import reconcile
from payments.recording import record_payment
from telegram_bot import webhook_watch
from telegram_bot.bot_settings import ALLOWED_UPDATES
from telegram_bot.gateway import gateway
from telegram_bot.models import UpdateStatus, WebhookState
from telegram_bot.tasks import look_at_webhook
from tests.config.reading import figures
from tests.factories import InvoiceFactory, PlanFactory
from tests.payments.reports import payment_of
from tests.ports import free_port
from tests.postgres_urls import test_database_url
from tests.production import put_into
from tests.telegram_bot.test_dead_letters import stored

ADDRESS = "https://shop.example/api/v1/telegram/webhook"
MARK = "canary-of-a-secret-0123456789-0123456789"


@pytest.fixture(autouse=True)
def production(transactional_db, local_telegram, settings):
    """A shop in production, its webhook registered, and a worker at work."""
    put_into(
        settings,
        METRICS_TOKEN="",
        TELEGRAM_BOT_TOKEN=settings.TELEGRAM_BOT_TOKEN,
        TELEGRAM_API_BASE_URL=settings.TELEGRAM_API_BASE_URL,
    )
    assert settings.TELEGRAM_WEBHOOK_URL == ADDRESS
    execute("INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now())")
    call_command("set_webhook", stdout=io.StringIO())


def execute(statement):
    with connection.cursor() as cursor:
        cursor.execute(statement)


def finding(what) -> Finding:
    """The one about this."""
    [found] = [each for each in examine() if each.what == what]
    return found


def doctors() -> str:
    """What the command prints, the error at its end."""
    out = io.StringIO()
    try:
        call_command("doctor", stdout=out, no_color=True)
    except CommandError as error:
        return f"{out.getvalue()}{error}\n"
    return out.getvalue()


def failed() -> set[str]:
    return {each.what for each in examine() if each.health == Health.FAIL}


def fails_to_deliver(local_telegram) -> datetime:
    """Have Telegram find nobody at our address, and say when it noticed."""
    gateway.set_webhook(
        url=f"http://127.0.0.1:{free_port()}/", secret=MARK, allowed_updates=ALLOWED_UPDATES, max_connections=40
    )
    local_telegram.person("Alice").says("/start")
    deadline = time.monotonic() + 60
    while (info := gateway.webhook_info()).last_error_date is None:
        assert time.monotonic() < deadline, "Telegram tried no delivery"
        time.sleep(0.05)
    return info.last_error_date


class TestAHealthyShop:
    def test_is_as_it_should_be(self):
        # The tests' own database forgets a crash, for speed.
        assert failed() <= {"starledger.E013"}

    def test_is_told_in_one_line_for_each_check(self):
        lines = [line for line in doctors().splitlines() if line.startswith(("ok   ", "-    "))]

        assert any(line.split() == ["ok", "migrations", "all", "applied"] for line in lines)
        assert {line[5:31].rstrip() for line in lines} > {"settings", "database", "bot token", "webhook", "deliveries"}


class TestTheCommand:
    def test_fails_when_a_check_does_and_says_what_to_do(self, settings):
        settings.DOCTOR_CHECKS = ["config.doctor.workers"]
        execute("UPDATE procrastinate_workers SET last_heartbeat = now() - interval '31 seconds'")

        assert doctors() == (
            "fail workers                    none: no command is answered, nothing is sent\n"
            "                                → Start `manage.py worker`.\n"
            "1 of the checks failed.\n"
        )

    def test_says_when_all_is_well(self, settings):
        settings.DOCTOR_CHECKS = ["config.doctor.workers"]

        assert doctors().endswith("Everything is as it should be.\n")

    def test_tells_long_findings_in_a_column(self, settings, monkeypatch):
        settings.DOCTOR_CHECKS = ["config.doctor.workers"]
        monkeypatch.setattr(doctor, "workers", lambda: iter([checkup.bad("length", "word " * 40, "do " * 60)]))
        monkeypatch.setattr(doctor.workers, "__name__", "workers", raising=False)

        first, *rest, _ = doctors().splitlines()
        assert max(map(len, [first, *rest])) <= 105
        assert {line[:32] for line in rest} == {" " * 32}

    def test_prints_no_secret(self, settings):
        token = f"100000001:{MARK}"
        for name in ("TELEGRAM_BOT_TOKEN", "TELEGRAM_PAYMENT_PROVIDER_TOKEN", "SECRET_KEY", "JWT_SIGNING_KEY"):
            setattr(settings, name, token if name == "TELEGRAM_BOT_TOKEN" else MARK)
        settings.TELEGRAM_WEBHOOK_SECRETS = [MARK]
        PlanFactory(prices=[Money(500, "GBP")])
        gateway.close()
        said = doctors()
        assert "bot token" in said

        settings.TELEGRAM_API_BASE_URL = f"http://127.0.0.1:{free_port()}"
        gateway.close()
        assert MARK not in said + doctors()


class TestWhatIsBroken:
    def test_stops_no_other_check(self, settings, monkeypatch):
        settings.DOCTOR_CHECKS = ["config.doctor.workers", "config.doctor.jobs", "config.doctor.fitness"]

        def faint():
            raise LookupError(MARK)
            yield

        monkeypatch.setattr("config.doctor.workers", faint)
        execute("ALTER TABLE procrastinate_jobs RENAME TO gone")
        try:
            found = list(examine())
        finally:
            execute("ALTER TABLE gone RENAME TO procrastinate_jobs")

        assert [each.health for each in found] == [Health.FAIL, Health.FAIL, Health.OK]
        assert "LookupError" in found[0].seen
        assert "ProgrammingError" in found[1].seen
        assert MARK not in str(found)

    def test_may_be_the_whole_telegram(self, settings):
        settings.TELEGRAM_API_BASE_URL = f"http://127.0.0.1:{free_port()}"
        gateway.close()

        assert {"bot token", "Telegram's clock", "webhook"} <= failed()
        assert finding("migrations").health == Health.OK

    def test_may_be_the_missing_token(self, settings):
        settings.TELEGRAM_BOT_TOKEN = ""

        assert finding("bot token") == Finding(
            "bot token", Health.FAIL, "not set", "Set TELEGRAM_BOT_TOKEN to the token that @BotFather gave you."
        )
        assert finding("webhook").health == Health.SKIPPED

    def test_may_be_the_token_that_telegram_does_not_know(self, settings, local_telegram):
        settings.TELEGRAM_BOT_TOKEN = "100000009:not-the-token-of-this-bot-000000000000"
        gateway.close()

        assert finding("bot token").seen == "Telegram does not know it"


class TestItsChecks:
    """Each finds what it is for."""

    @pytest.mark.parametrize(
        ("changes", "what"),
        [
            ({"DEBUG": True}, "security.W018"),
            ({"TELEGRAM_WEBHOOK_URL": "https://other.example/"}, "webhook"),
            ({"TELEGRAM_WEBHOOK_SECRETS": []}, "starledger.E001"),
        ],
    )
    def test_look_at_the_settings(self, settings, changes, what):
        for name, value in changes.items():
            setattr(settings, name, value)

        assert what in failed()

    @pytest.mark.parametrize(
        ("setting", "value", "what"),
        [
            ("default_transaction_isolation", "serializable", "starledger.E004"),
            ("synchronous_commit", "off", "starledger.E013"),
        ],
    )
    def test_look_at_the_session(self, setting, value, what):
        execute(f"SET {setting} = '{value}'")
        try:
            assert finding(what).health == Health.FAIL
        finally:
            execute(f"RESET {setting}")

    def test_look_at_the_version_of_the_database(self, monkeypatch):
        monkeypatch.setattr(doctor, "OLDEST_POSTGRES", 99)

        assert finding("database").to_do == "Use PostgreSQL 99 or later."

    def test_look_for_migrations(self):
        execute("DELETE FROM django_migrations WHERE app = 'telegram_bot' AND name LIKE '0005%'")
        doctor.require_current_schema.cache_clear()
        try:
            assert "0005_keep_what_telegram_says_of_the_webhook" in finding("migrations").seen
        finally:
            execute(
                "INSERT INTO django_migrations (app, name, applied)"
                " VALUES ('telegram_bot', '0005_keep_what_telegram_says_of_the_webhook', now())"
            )

    def test_look_at_both_clocks(self, monkeypatch):
        monkeypatch.setattr("config.doctor.database_now", lambda: database_now() - timedelta(minutes=1))
        monkeypatch.setattr("telegram_bot.doctor.database_now", lambda: database_now() - timedelta(minutes=1))

        assert "ahead of the database's" in finding("clock").seen
        assert finding("Telegram's clock").seen.endswith("s behind")

    def test_look_at_how_full_the_database_is(self, monkeypatch):
        monkeypatch.setattr(doctor, "FULLEST", 0)

        assert finding("connections").health == Health.FAIL

    def test_look_at_transactions_that_are_left_open(self, monkeypatch):
        with psycopg.connect(test_database_url()) as forgotten:
            forgotten.execute("SELECT 1")
            assert finding("open transactions").health == Health.OK

            monkeypatch.setattr(doctor, "LONGEST_TRANSACTION", 0.0)
            assert f"of process {forgotten.info.backend_pid} " in finding("open transactions").seen

    def test_look_at_replicas_that_are_gone(self, monkeypatch):
        assert finding("replication").health == Health.SKIPPED
        execute("SELECT pg_create_physical_replication_slot('gone', true)")
        try:
            assert finding("replication").health == Health.OK

            monkeypatch.setattr(doctor, "LARGEST_BACKLOG", -1)
            assert "pg_drop_replication_slot('gone')" in finding("replication").to_do
        finally:
            execute("SELECT pg_drop_replication_slot('gone')")

    def test_look_at_redis(self, settings):
        assert finding("Redis").health == Health.SKIPPED

        settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
        assert finding("Redis").health == Health.FAIL

    def test_look_whether_anybody_watches(self, settings):
        assert finding("metrics").seen.startswith("closed")

        settings.METRICS_TOKEN = MARK
        assert finding("metrics").health == Health.OK

    def test_look_at_the_triggers(self):
        execute("ALTER TABLE payments_paymentevent DISABLE TRIGGER USER")
        try:
            assert (
                "The trigger ledger_is_append_only of payments_paymentevent is switched off."
                in finding("triggers and keys").seen
            )
        finally:
            execute("ALTER TABLE payments_paymentevent ENABLE TRIGGER USER")

    def test_look_at_what_the_checks_of_the_books_found(self):
        InvariantCheck.objects.create(check_name="tallies", differences=3, checked_at=database_now())

        assert finding("books").seen == "contradictions: tallies (3)"

    def test_look_whether_the_books_are_looked_at(self):
        assert finding("books").health == Health.SKIPPED

        InvariantCheck.objects.create(check_name="tallies", checked_at=database_now() - timedelta(minutes=4))
        assert finding("books").seen == "without contradictions, looked at 4 min ago"

        InvariantCheck.objects.update(checked_at=database_now() - timedelta(minutes=31))
        assert finding("books").seen == "last looked at 31 min ago"

    @pytest.mark.parametrize("looked", [None, timedelta(minutes=121)])
    @pytest.mark.parametrize("others", [0, 1])
    def test_look_whether_a_check_of_the_books_comes_to_its_end(self, looked, others):
        now = database_now()
        for number in range(others):
            InvariantCheck.objects.create(check_name=f"quick {number}", tried_at=now, checked_at=now)
        InvariantCheck.objects.create(check_name="revenue", tried_at=now, checked_at=looked and now - looked)

        said = finding("books")

        assert said.health == Health.FAIL
        assert ("revenue" in said.seen) == (looked is None or others == 1)

    def test_look_at_the_last_comparison_with_telegram(self):
        assert finding("reconciliation").health == Health.SKIPPED

        run = reconcile(asked_by="command")
        assert finding("reconciliation").health == Health.OK

        Discrepancy.objects.create(kind=DiscrepancyKind.BALANCE, telegram_says="5", we_have="4", run=run)
        assert finding("reconciliation").seen == "1 disagreements wait for a person"

        ReconciliationRun.objects.update(true_at=database_now() - timedelta(minutes=121), error="Unavailable")
        assert finding("reconciliation").seen == "last done 2 h ago, and the last try failed: Unavailable"

    def test_look_at_the_catalogue(self, settings):
        settings.TELEGRAM_PAYMENT_PROVIDER_TOKEN = ""
        assert finding("provider token").health == Health.SKIPPED
        assert "as it must be for digital goods" in finding("Telegram's rule").seen

        plan = PlanFactory(prices=[Money(500, "GBP")])
        assert plan.prices.get().payment_method == PaymentMethod.TELEGRAM_PROVIDER
        assert plan.code in finding("provider token").seen
        assert "digital goods are sold for Stars only" in finding("Telegram's rule").seen

    def test_look_at_jobs_that_wait(self):
        execute(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, scheduled_at)"
            " VALUES ('updates', 'nothing', now() - interval '4 minutes')"
        )

        assert finding("jobs").seen == "the oldest has waited 4 min"

    def test_look_at_messages_that_wait(self, gold):
        record_payment(payment_of(InvoiceFactory(plan=gold), charge_id="stxPaid"))
        Notice.objects.update(created_at=F("created_at") - timedelta(minutes=6))

        assert finding("messages").seen == "the oldest unsent one has waited 6 min"

    def test_look_at_the_inbox(self):
        for number, status in enumerate((UpdateStatus.PENDING, UpdateStatus.DEAD, UpdateStatus.QUARANTINED)):
            update = stored(b"{}", status, update_id=number)
            type(update).objects.filter(pk=update.pk).update(
                next_attempt_at=database_now() - timedelta(minutes=5, seconds=1)
            )

        assert {"inbox", "updates given up", "updates not understood"} <= failed()

    def test_look_at_the_kinds_of_updates_that_telegram_sends(self):
        gateway.set_webhook(url=ADDRESS, secret=MARK, allowed_updates=ALLOWED_UPDATES[1:], max_connections=40)

        assert finding("kinds of updates").seen == "Telegram does not send message"

    def test_look_whether_a_webhook_is_set(self, settings):
        gateway.delete_webhook()
        assert finding("webhook").seen == "none is set"

        settings.DEBUG = True
        assert finding("webhook").health == Health.SKIPPED

    def test_look_at_failed_deliveries(self, local_telegram):
        fails_to_deliver(local_telegram)

        assert finding("deliveries").seen.endswith("; 1 update waits at Telegram")

    def test_look_at_updates_that_wait(self, local_telegram, monkeypatch):
        gateway.delete_webhook()
        monkeypatch.setattr("telegram_bot.doctor.MOST_PENDING", 0)
        local_telegram.person("Alice").says("/start")

        assert finding("deliveries").seen == "1 update waits at Telegram"


class TestTheWatchOfTheWebhook:
    def test_raises_an_alarm_while_deliveries_fail(self, local_telegram, logged, client, settings):
        failed_at = fails_to_deliver(local_telegram)

        look_at_webhook(timestamp=0)

        [alarm] = [line for line in logged if line["event"] == "updates are not delivered"]
        assert alarm["log_level"] == "error"
        assert alarm["troubles"][0].startswith("the last delivery failed at ")
        settings.DEBUG = True
        # Telegram tries again and again meanwhile.
        assert figures(client)["starledger_webhook_last_error_timestamp_seconds"] >= failed_at.timestamp()

    def test_raises_an_alarm_while_more_than_fifty_updates_wait(self, local_telegram, logged, monkeypatch):
        gateway.delete_webhook()
        monkeypatch.setattr(webhook_watch, "MOST_PENDING", 2)
        alice = local_telegram.person("Alice")
        for text, alarms in itertools.zip_longest(("/a", "/b", "/c"), (0, 0, 1)):
            alice.says(text)
            look_at_webhook(timestamp=0)
            assert len([line for line in logged if line["event"] == "updates are not delivered"]) == alarms

        assert WebhookState.objects.get().pending == 3

    def test_is_silent_when_all_is_well(self, logged):
        look_at_webhook(timestamp=0)

        assert WebhookState.objects.get().pending == 0
        assert not [line for line in logged if line["log_level"] in {"warning", "error"}]

    def test_survives_a_telegram_that_does_not_answer(self, local_telegram, logged):
        local_telegram.faults.order("getWebhookInfo", "500")

        look_at_webhook(timestamp=0)

        assert not WebhookState.objects.exists()
        assert [line["event"] for line in logged if line["log_level"] == "warning"] == ["webhook not looked at"]

    def test_alarms_at_more_than_fifty(self):
        assert webhook_watch.MOST_PENDING == 50
