"""Runs the web server."""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import socket
import tempfile
from argparse import ArgumentParser
from typing import Any

import structlog
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connections
from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.log import LogLevels

from config.management.starting import require_database

STOP_SECONDS = 9  # less than the ten seconds that process managers wait before they kill
# Telegram allows shorter secrets; we do not.
WEBHOOK_SECRET = re.compile(r"[A-Za-z0-9_-]{32,256}")
WHAT_IT_IS = "32 to 256 random characters of A-Z, a-z, 0-9, _ and -"
MULTIPROCESS_METRICS = "PROMETHEUS_MULTIPROC_DIR"

log = structlog.get_logger(__name__)


class Command(BaseCommand):
    help = "Serve HTTP, with granian. Stops gracefully on SIGTERM."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default 127.0.0.1)")
        parser.add_argument("--port", type=int, default=8000, help="port to listen at (default 8000)")
        parser.add_argument("--workers", type=int, default=1, help="processes (default 1)")
        parser.add_argument("--threads", type=int, default=8, help="threads of each process (default 8)")

    def handle(self, *args: Any, host: str, port: int, workers: int, threads: int, **options: Any) -> None:
        if workers < 1 or threads < 1:
            message = "--workers and --threads must be 1 or more."
            raise CommandError(message)
        require_webhook_secret()
        require_free_port(host, port)
        require_database()
        connections.close_all()
        multiprocessing.set_start_method("spawn")  # this process has threads, which a fork would not copy
        if workers > 1:
            # The processes add up their counters there; the client library looks for it when it is imported.
            os.environ.setdefault(MULTIPROCESS_METRICS, tempfile.mkdtemp(prefix="starledger-metrics-"))
        log.info("serving", host=host, port=port, workers=workers, threads=threads)
        server(host, port, workers, threads).serve()


def server(host: str, port: int, workers: int, threads: int) -> Any:
    """granian's server, tuned for a few long-lived connections from a proxy and short requests."""
    granian = Granian(
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
        log_level=LogLevels.error,
        # Its lines go the way of all others; requests are logged by RequestLog.
        log_dictconfig={"formatters": {}, "handlers": {}, "loggers": {"_granian": {"propagate": True}}},
        log_access=False,
    )
    if directory := os.environ.get(MULTIPROCESS_METRICS):
        granian.on_shutdown(lambda: shutil.rmtree(directory, ignore_errors=True))
    return granian


def require_webhook_secret() -> None:
    """
    :raises CommandError: in production, without a secret that proves an update to be Telegram's
    """
    if settings.DEBUG:
        return
    secrets = settings.TELEGRAM_WEBHOOK_SECRETS
    if not secrets:
        message = f"TELEGRAM_WEBHOOK_SECRET is not set: anybody could report payments. Set it to {WHAT_IT_IS}."
        raise CommandError(message)
    if len(secrets) > 2 or not all(map(WEBHOOK_SECRET.fullmatch, secrets)):
        message = f"TELEGRAM_WEBHOOK_SECRET must be {WHAT_IT_IS}, or two of these with a comma during a rotation."
        raise CommandError(message)


def require_free_port(host: str, port: int) -> None:
    """
    :raises CommandError: nobody can listen there, or somebody else does
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        message = f"Cannot listen at {host} port {port}: {error.strerror}. Choose another with --host and --port."
        raise CommandError(message) from error
    except OverflowError as error:
        message = f"There is no port {port}; they end at 65535."
        raise CommandError(message) from error
