"""A worker: the jobs of the queue and the loops of the apps, in one process, until it is told to stop."""

from __future__ import annotations

import asyncio
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import structlog
from django.conf import settings
from django.utils.module_loading import import_string
from procrastinate import App, PsycopgConnector
from procrastinate.contrib.django import app
from procrastinate.exceptions import ConnectorException

from config.jobs import HEARTBEAT_SECONDS, SECONDS_WITHOUT_HEARTBEAT

STOP_SECONDS = 8  # less than the ten seconds that process managers wait before they kill
PAUSE_SECONDS = 2.0

log = structlog.get_logger(__name__)


async def work(*, concurrency: int) -> None:
    """Work until SIGTERM or SIGINT, then finish what was begun.

    The loops are functions named in `WORKER_LOOPS`, each `(stop: threading.Event) → None` in a thread of its own.

    :raises BaseException: whatever ended a loop that should not have ended
    """
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(concurrency + len(settings.WORKER_LOOPS)))
    stop, asked = threading.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)

    waiting = asyncio.create_task(asked.wait())
    jobs = asyncio.create_task(run_jobs(concurrency=concurrency))
    loops = [asyncio.create_task(asyncio.to_thread(import_string(path), stop)) for path in settings.WORKER_LOOPS]
    log.info("worker started", concurrency=concurrency, loops=settings.WORKER_LOOPS)
    ended, _ = await asyncio.wait([waiting, jobs, *loops], return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    waiting.cancel()
    jobs.cancel()
    await asyncio.gather(waiting, jobs, *loops, return_exceptions=True)
    for task in ended - {waiting}:
        task.result()
    log.info("worker stopped")


async def run_jobs(*, concurrency: int) -> None:
    """Take jobs from the queue for ever; when the database goes away, wait for it to come back."""
    while True:
        worker = worker_app()
        try:
            async with worker.open_async():
                await worker.run_worker_async(
                    concurrency=concurrency,
                    install_signal_handlers=False,
                    shutdown_graceful_timeout=STOP_SECONDS,
                    update_heartbeat_interval=HEARTBEAT_SECONDS,
                    stalled_worker_timeout=SECONDS_WITHOUT_HEARTBEAT,
                )
        except ConnectorException as error:
            log.warning("the job queue is out of reach", error=str(error))
        await asyncio.sleep(PAUSE_SECONDS)


def worker_app() -> App:
    """The app with a connection of its own for taking jobs and listening.

    The tasks stay bound to Django's app: what a job defers, it defers in the transaction it has open.
    """
    options = settings.DATABASES["default"]["OPTIONS"]
    connector = PsycopgConnector(
        conninfo=settings.WORKER_DATABASE_URL,
        kwargs={
            "application_name": "starledger-worker",
            **{name: options[name] for name in ("connect_timeout", "options", "prepare_threshold")},
        },
        min_size=1,
        max_size=4,
    )
    worker = App(connector=connector, worker_defaults=app.worker_defaults)
    worker.tasks = app.tasks
    worker.periodic_registry = app.periodic_registry
    return worker
