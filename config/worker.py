"""A worker: the jobs of the queue and the loops of the apps, in one process, until it is told to stop."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import psycopg
import structlog
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import close_old_connections, connection
from django.utils.module_loading import import_string
from procrastinate import App, JobContext, PsycopgConnector
from procrastinate.contrib.django import app
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException
from procrastinate.middleware import AsyncCallNext
from procrastinate.worker import Worker
from psycopg_pool import AsyncConnectionPool
from structlog.contextvars import bind_contextvars

from config.jobs import HEARTBEAT_SECONDS, SECONDS_WITHOUT_HEARTBEAT
from config.logging import milliseconds_since
from config.patience import PatientAsyncConnection, end_within

STOP_SECONDS = 8.0  # less than the ten that process managers wait before they kill
PAUSE_SECONDS = 2.0

log = structlog.get_logger(__name__)


async def work(*, concurrency: int) -> None:
    """Work until SIGTERM or SIGINT, then finish what was begun.

    The jobs named in `JOBS_AT_START` are done first, as if their time had come.
    The loops are functions named in `WORKER_LOOPS`, each `(stop: threading.Event) → None` in a thread of its own.

    :raises BaseException: whatever ended a loop that should not have ended
    """
    running = asyncio.get_running_loop()
    running.set_default_executor(ThreadPoolExecutor(concurrency + len(settings.WORKER_LOOPS)))
    asked, stop = asyncio.Event(), threading.Event()

    def ask_to_stop(*_: object) -> None:
        end_within(STOP_SECONDS)
        asked.set()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        running.add_signal_handler(number, ask_to_stop)
    loops = [asyncio.create_task(asyncio.to_thread(import_string(path), stop)) for path in settings.WORKER_LOOPS]
    for loop in loops:
        loop.add_done_callback(ask_to_stop)
    log.info("worker started", concurrency=concurrency, loops=settings.WORKER_LOOPS)
    try:
        await asyncio.to_thread(defer_jobs_of_the_start)
        await run_jobs(concurrency=concurrency, asked=asked)
    finally:
        ask_to_stop()
        await asyncio.gather(*loops)
    log.info("worker stopped")


def defer_jobs_of_the_start() -> None:
    """What was missed while nobody worked is not left until its time comes again."""
    try:
        for name in settings.JOBS_AT_START:
            with suppress(AlreadyEnqueued):
                app.configure_task(name).defer(timestamp=int(time.time()))
    except ConnectorException as error:
        log.warning("the jobs of the start are left to their time", error=str(error.__cause__ or error).strip())
    finally:
        connection.close()


async def run_jobs(*, concurrency: int, asked: asyncio.Event) -> None:
    """Take jobs from the queue until asked to stop; when the database goes away, wait for it to come back."""
    while not asked.is_set():
        # Periodic jobs are deferred by Django's connection of that thread, and nobody else lets go of a broken one.
        await sync_to_async(close_old_connections)()
        try:
            async with connections() as pool, queue().open_async(pool) as jobs:
                worker = Worker(
                    jobs,
                    concurrency=concurrency,
                    install_signal_handlers=False,
                    shutdown_graceful_timeout=STOP_SECONDS,
                    update_heartbeat_interval=HEARTBEAT_SECONDS,
                    stalled_worker_timeout=SECONDS_WITHOUT_HEARTBEAT,
                    **middleware(),
                )
                await run_until_asked(worker, asked)
        except (ConnectorException, psycopg.Error) as error:
            log.warning("the job queue is out of reach", error=str(error.__cause__ or error).strip())
            with suppress(TimeoutError):
                await asyncio.wait_for(asked.wait(), PAUSE_SECONDS)


def middleware() -> dict[str, Any]:
    """What is around each job: Django's care for connections, and the line that tells of it."""
    return {"task_middleware": app.worker_defaults["task_middleware"], "worker_middleware": [tell]}


async def tell(job: AsyncCallNext, context: JobContext, worker: Worker) -> Any:
    """Middleware: one line per job, with all that was bound meanwhile; each job has a context of its own.

    Of one that fails for good procrastinate tells the stack trace.
    """
    began = time.perf_counter()
    bind_contextvars(job_id=context.job.id, task=context.job.task_name)
    failure: BaseException | None = None
    try:
        return await job()
    except BaseException as error:
        failure = error
        raise
    finally:
        log.info(
            "job",
            arguments=context.job.task_kwargs,
            attempts=context.job.attempts,
            outcome="done" if failure is None else "failed",
            error=repr(failure) if failure else None,
            duration_ms=milliseconds_since(began),
        )


async def run_until_asked(worker: Worker, asked: asyncio.Event) -> None:
    running = asyncio.create_task(worker.run())  # type: ignore[no-untyped-call]
    asking = asyncio.create_task(asked.wait())
    await asyncio.wait([running, asking], return_when=asyncio.FIRST_COMPLETED)
    asking.cancel()
    while not running.done():
        # Again and again, because one that comes before its first step is forgotten.
        worker.stop()  # type: ignore[no-untyped-call]
        await asyncio.wait([running], timeout=0.2)
    running.result()


def connections() -> AsyncConnectionPool:
    """The worker's own: for taking jobs, and to listen, which needs a session that no pooler takes away."""
    options = settings.DATABASES["default"]["OPTIONS"]
    return AsyncConnectionPool(
        settings.WORKER_DATABASE_URL,
        kwargs={
            "application_name": "starledger-worker",
            **{name: options[name] for name in ("connect_timeout", "options", "prepare_threshold")},
        },
        connection_class=PatientAsyncConnection,
        check=AsyncConnectionPool.check_connection,
        min_size=1,
        max_size=4,
        timeout=5,
        open=False,
    )


def queue() -> App:
    """The app with connections of its own. The tasks stay bound to Django's app: what a job defers, it defers in the
    transaction it has open.
    """
    jobs = App(connector=PsycopgConnector())
    jobs.tasks = app.tasks
    jobs.periodic_registry = app.periodic_registry
    return jobs
