import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection, connections
from procrastinate.contrib.django import app
from procrastinate.contrib.django.models import ProcrastinateJob

from config import jobs, worker
from config.database import database_now
from config.env import BASE_DIR
from config.tasks import remove_finished_jobs, retake_stalled_jobs
from entitlements.models import IdempotencyKey, RateLimit
from payments.models import InvoiceStatus, TallyUpTo
from telegram_bot.models import IncomingUpdate, UpdateStatus
from tests.factories import InvoiceFactory
from tests.postgres_urls import test_database_url

pytestmark = pytest.mark.django_db(transaction=True)


def execute(sql: str, *params: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)


@pytest.fixture
def test_queue(settings):
    """Worker's own connection goes to the test's database."""
    settings.WORKER_DATABASE_URL = test_database_url()
    settings.WORKER_LOOPS = []


def defer(name: str, **arguments: object) -> int:
    return app.configure_task(name).defer(**arguments)


def stall(*job_ids: int, seconds: int = 60) -> None:
    """Leave jobs as a worker does that took them and has given no sign of life since."""
    execute("INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - make_interval(secs => %s))", seconds)
    execute(
        "UPDATE procrastinate_jobs SET status = 'doing', worker_id = (SELECT max(id) FROM procrastinate_workers)"
        " WHERE id = ANY(%s)",
        list(job_ids),
    )


@pytest.fixture
def update_job(test_queue) -> int:
    """A job for an update that somebody has processed already."""
    update = IncomingUpdate.objects.create(
        bot_id=1, update_id=1, digest=b"1" * 32, kind="message", body=b"{}", status=UpdateStatus.DONE
    )
    return defer("telegram_bot.tasks.process_update", update_pk=update.pk)


def run_worker_once() -> None:
    """Do the jobs that are due now."""

    async def once() -> None:
        async with worker.connections() as pool, worker.queue().open_async(pool) as queue:
            await queue.run_worker_async(
                wait=False, install_signal_handlers=False, listen_notify=False, **worker.middleware()
            )

    asyncio.run(once())


def status(job_id: int) -> str:
    return ProcrastinateJob.objects.get(pk=job_id).status


@pytest.mark.usefixtures("test_queue")
class TestAWorker:
    def test_picks_up_a_job(self, invoice):
        job = defer("payments.tasks.sum_tallies", timestamp=0)

        run_worker_once()

        assert status(job) == "succeeded"
        assert TallyUpTo.objects.exists()

    def test_does_not_see_a_job_whose_transaction_was_undone(self):
        from django.db import transaction

        with transaction.atomic():
            defer("payments.tasks.sum_tallies", timestamp=0)
            transaction.set_rollback(True)

        assert not ProcrastinateJob.objects.exists()

    def test_takes_up_again_the_job_of_a_worker_that_died(self, update_job):
        stall(update_job)
        defer(retake_stalled_jobs.name, timestamp=0)

        run_worker_once()

        assert status(update_job) == "succeeded"

    def test_ends_such_a_job_when_the_next_of_its_kind_waits_already_and_takes_up_the_others(self, update_job):
        periodic = defer("payments.tasks.sum_tallies", timestamp=0)
        stall(periodic, update_job)
        following = defer("payments.tasks.sum_tallies", timestamp=60)
        execute("UPDATE procrastinate_jobs SET scheduled_at = now() + interval '1 hour' WHERE id = %s", following)
        defer(retake_stalled_jobs.name, timestamp=0)

        run_worker_once()

        assert [status(job) for job in (periodic, following, update_job)] == ["aborted", "todo", "succeeded"]

    def test_leaves_the_job_of_a_living_worker_alone(self, update_job):
        stall(update_job, seconds=0)
        defer(retake_stalled_jobs.name, timestamp=0)

        run_worker_once()

        assert status(update_job) == "doing"

    @pytest.mark.parametrize(
        ("outcome", "hours", "stays"),
        [("succeeded", 47, True), ("succeeded", 49, False), ("failed", 49, True), ("failed", 24 * 31, False)],
    )
    def test_removes_old_finished_jobs(self, outcome, hours, stays):
        job = defer("payments.tasks.sum_tallies", timestamp=0)
        execute("UPDATE procrastinate_jobs SET status = %s", outcome)
        execute("UPDATE procrastinate_events SET at = now() - make_interval(hours => %s)", hours)
        execute(
            "INSERT INTO procrastinate_events (job_id, type, at) VALUES (%s, %s, now() - make_interval(hours => %s))",
            job, outcome, hours,
        )  # fmt: skip
        defer(remove_finished_jobs.name, timestamp=0)

        run_worker_once()

        assert ProcrastinateJob.objects.filter(pk=job).exists() == stays

    def test_expires_invoices_and_forgets_old_requests_and_sessions(self, gold):
        lapsed = InvoiceFactory(plan=gold, expired=True)
        long_ago = database_now() - timedelta(days=2)
        IdempotencyKey.objects.create(caller="a", path="b", key="c", body_digest=b"d" * 32, created_at=long_ago)
        RateLimit.objects.create(subject="a", updated_at=long_ago)
        Session.objects.create(session_key="over", expire_date=database_now() - timedelta(minutes=1))
        Session.objects.create(session_key="good", expire_date=database_now() + timedelta(hours=1))
        done = [
            defer(f"{module}.tasks.{name}", timestamp=0)
            for module, name in [
                ("payments", "expire_invoices"),
                ("payments", "apply_waiting_refunds"),
                ("payments", "sweep_subscription_orders"),
                ("payments", "end_subscriptions"),
                ("payments", "remind_of_subscriptions"),
                ("payments", "close_needless_pages"),
                ("config", "forget_requests"),
                ("config", "forget_sessions"),
                ("telegram_bot", "blank_old_bodies"),
            ]
        ]

        run_worker_once()

        assert [status(job) for job in done] == ["succeeded"] * len(done)
        lapsed.refresh_from_db()
        assert lapsed.status == InvoiceStatus.EXPIRED
        assert not IdempotencyKey.objects.exists()
        assert not RateLimit.objects.exists()
        assert Session.objects.get().session_key == "good"


@pytest.mark.usefixtures("test_queue")
class TestTheOldestJob:
    def test_has_no_age_while_none_is_due(self):
        defer("payments.tasks.sum_tallies", timestamp=0)
        execute("UPDATE procrastinate_jobs SET scheduled_at = now() + interval '1 hour'")

        assert jobs.oldest_seconds() == 0

    def test_is_as_old_as_its_deferral(self):
        defer("payments.tasks.sum_tallies", timestamp=0)
        execute("UPDATE procrastinate_events SET at = now() - interval '90 s'")

        assert 90 <= jobs.oldest_seconds() < 100

    def test_is_as_late_as_its_time_when_it_had_one(self):
        defer("payments.tasks.sum_tallies", timestamp=0)
        execute("UPDATE procrastinate_jobs SET scheduled_at = now() - interval '20 s'")
        execute("UPDATE procrastinate_events SET at = now() - interval '90 s'")

        assert 20 <= jobs.oldest_seconds() < 30


def loop_that_ends(stop: threading.Event) -> None:
    raise RuntimeError("the loop broke")


def lose_the_connection() -> None:
    with suppress(OperationalError):
        execute("SELECT pg_terminate_backend(pg_backend_pid())")


@pytest.mark.usefixtures("test_queue")
def test_periodic_jobs_go_on_after_the_database_was_gone():
    """The connection that defers them is Django's, in a thread that outlives every try to work."""

    async def work_until_one_is_deferred() -> None:
        await sync_to_async(lose_the_connection)()
        asked = asyncio.Event()
        working = asyncio.create_task(worker.run_jobs(concurrency=1, asked=asked))
        try:
            async with asyncio.timeout(60):
                while not await asyncio.to_thread(deferred_periodically):  # noqa: ASYNC110 - nobody tells us
                    await asyncio.sleep(0.1)
        finally:
            asked.set()
            await working
            await sync_to_async(connections.close_all)()

    asyncio.run(work_until_one_is_deferred())


def deferred_periodically() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT EXISTS (SELECT FROM procrastinate_periodic_defers)")
            return cursor.fetchone()[0]
    finally:
        connection.close()


loop_was_stopped = threading.Event()


def loop_that_waits(stop: threading.Event) -> None:
    stop.wait()
    loop_was_stopped.set()


@pytest.mark.usefixtures("test_queue")
class TestTheWorkerCommand:
    def test_ends_with_the_error_of_a_loop_that_should_not_have_ended(self, settings):
        settings.WORKER_LOOPS = [f"{__name__}.loop_that_waits", f"{__name__}.loop_that_ends"]

        with pytest.raises(RuntimeError, match="the loop broke"):
            call_command("worker")

        assert loop_was_stopped.is_set()

    def test_refuses_a_database_without_our_tables(self, settings):
        from config import health

        health.require_current_schema.cache_clear()
        execute("ALTER TABLE django_migrations RENAME TO django_migrations_away")
        try:
            with pytest.raises(CommandError, match=r"lacks the migrations .*: run `manage.py migrate`\."):
                call_command("worker")
        finally:
            execute("ALTER TABLE django_migrations_away RENAME TO django_migrations")

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_works_as_a_process_and_stops_when_told(self, number):
        process = subprocess.Popen(
            [sys.executable, "manage.py", "worker"],
            cwd=BASE_DIR,
            env={**os.environ, "DATABASE_URL": test_database_url(), "WORKER_DATABASE_URL": ""},
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            job = defer("payments.tasks.sum_tallies", timestamp=0)
            deadline = time.monotonic() + 30
            while status(job) != "succeeded" and time.monotonic() < deadline:
                time.sleep(0.1)
            assert status(job) == "succeeded"
        finally:
            process.send_signal(number)
            _, said = process.communicate(timeout=10)

        assert process.returncode == 0, said
        assert '"event": "worker stopped"' in said
        assert "Traceback" not in said
