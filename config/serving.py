"""The web server: granian with our settings. Imported by its processes before Django is, and free of it."""

from __future__ import annotations

import gc
import multiprocessing
import os
import shutil
import signal
import tempfile
from typing import Any

from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.log import LogLevels

from config.postgres_guard import end_with_parent

STOP_SECONDS = 9  # less than the ten that process managers wait before they kill
METRICS_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"


def serve(*, host: str, port: int, workers: int, threads: int) -> None:
    """Serve until SIGTERM or SIGINT, then let requests under way finish.

    :param workers: processes; one with threads is the fastest for short requests that wait for the database
    """
    multiprocessing.set_start_method("spawn")  # this process has threads, which a fork would not copy
    server = Granian(
        "config.wsgi:application",
        address=host,
        port=port,
        interface=Interfaces.WSGI,
        loop=Loops.asyncio,
        workers=workers,
        blocking_threads=threads,
        backlog=2048,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=10_000, keep_alive=True),
        websockets=False,
        workers_kill_timeout=STOP_SECONDS,
        # Its lines go the way of all others, and only those about trouble; requests are told by config.requests.
        log_level=LogLevels.error,
        log_dictconfig={"formatters": {}, "handlers": {}, "loggers": {"_granian": {"propagate": True}}},
    )
    if workers > 1 and METRICS_DIRECTORY not in os.environ:
        # There they add up their counters. The client library looks for it when it is imported.
        directory = os.environ[METRICS_DIRECTORY] = tempfile.mkdtemp(prefix="starledger-metrics-")
        server.on_shutdown(lambda: shutil.rmtree(directory, ignore_errors=True))
    server.serve(target_loader=load_application, wrap_loader=False)


def load_application() -> Any:
    """In each process: the WSGI application, which must not outlive the server that started it."""
    end_with_parent(signal.SIGTERM)
    from config.logging import gather_lines
    from config.wsgi import application

    gather_lines()
    gc.freeze()  # what is loaded stays, and need not be looked through again and again
    return application
