"""When the ledger is compared: at a worker's start, twice an hour, and when somebody says so."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from procrastinate.contrib.django import app
from procrastinate.contrib.django.models import ProcrastinateJob

from config import worker
from payments import runs, tasks
from payments.models import PaymentEvent, ReconciliationRun, RunOutcome

pytestmark = pytest.mark.django_db(transaction=True)


def reconcile_by_hand(*options: str) -> str:
    said = StringIO()
    call_command("reconcile", *options, stdout=said, stderr=StringIO())
    return said.getvalue()


class TestTheJob:
    def test_is_done_twice_an_hour_and_the_watch_more_often(self):
        crons = {each.task.name: each.cron for each in app.periodic_registry.periodic_tasks.values()}

        assert crons["payments.tasks.reconcile"] == "7,37 * * * *"
        assert crons["payments.tasks.look_after_the_books"] == "*/5 * * * *"

    def test_compares_and_records(self, telegram, invoice):
        telegram.charges(invoice)

        tasks.reconcile(timestamp=0)

        assert ReconciliationRun.objects.get().asked_by == "schedule"
        assert PaymentEvent.objects.count() == 1

    def test_says_nothing_without_a_bot(self, settings, logged):
        settings.TELEGRAM_BOT_TOKEN = ""

        tasks.reconcile(timestamp=0)

        assert (ReconciliationRun.objects.count(), logged) == (0, [])

    def test_leaves_it_to_the_next_when_telegram_fails_for_long(self, telegram, logged):
        telegram.faults.order("getMyStarBalance", "429", retry_after=30)

        tasks.reconcile(timestamp=0)

        assert ReconciliationRun.objects.get().outcome == RunOutcome.FAILED
        assert [line["event"] for line in logged] == ["reconciliation failed", "not reconciled"]

    def test_leaves_it_to_whoever_is_at_it(self, telegram, logged):
        runs.begin(asked_by="command", full=False)

        tasks.reconcile(timestamp=0)

        assert [line["event"] for line in logged] == ["not reconciled"]

    def test_waits_when_a_worker_starts_and_is_not_deferred_twice(self, settings):
        ProcrastinateJob.objects.all()._raw_delete("default")
        for _ in range(2):
            worker.defer_jobs_of_the_start()

        job = ProcrastinateJob.objects.get()
        assert (job.task_name, job.queue_name, job.queueing_lock) == ("payments.tasks.reconcile", "upkeep", "reconcile")


class TestTheCommand:
    def test_shows_what_came_of_it(self, telegram, invoice):
        telegram.charges(invoice)

        said = reconcile_by_hand()

        assert "recorded                     1\n" in said
        assert "discrepancies found          0\n" in said
        assert said.endswith("Everything is accounted for.\n")

    def test_fails_when_something_needs_a_person(self, telegram):
        telegram.local.charges_back(1)

        with pytest.raises(CommandError, match="1 open discrepancies, 0 held"):
            reconcile_by_hand()

    def test_fails_when_telegram_cannot_be_asked(self, telegram, monkeypatch):
        monkeypatch.setattr("payments.management.commands.reconcile.PATIENCE", 0)
        telegram.faults.order("getStarTransactions", "500")

        with pytest.raises(CommandError, match="Telegram could not be asked"):
            reconcile_by_hand()

    def test_fails_without_a_bot(self, settings):
        settings.TELEGRAM_BOT_TOKEN = ""

        with pytest.raises(CommandError, match="TELEGRAM_BOT_TOKEN is not set"):
            reconcile_by_hand()

    def test_says_how_far_it_has_come(self, telegram, invoice, monkeypatch):
        monkeypatch.setattr("payments.management.commands.reconcile.SECONDS_OF_SILENCE", 0)
        telegram.charges(invoice)
        progress = StringIO()

        call_command("reconcile", "--full", stdout=StringIO(), stderr=progress)

        assert progress.getvalue() == "    1 rows of Telegram's list read\n    1 rows compared\n"
        assert ReconciliationRun.objects.get().full
