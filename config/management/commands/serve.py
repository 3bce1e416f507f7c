"""Runs the web server."""

from __future__ import annotations

import socket
from argparse import ArgumentParser
from typing import Any

import structlog
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from config import serving
from config.management.starting import WEBHOOK_SECRET, WHAT_A_SECRET_IS, require_database

log = structlog.get_logger(__name__)


class Command(BaseCommand):
    help = "Serve HTTP, with granian. Stops gracefully on SIGTERM."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default %(default)s)")
        parser.add_argument("--port", type=int, default=8000, help="port to listen at (default %(default)s)")
        parser.add_argument("--workers", type=int, default=1, help="processes (default %(default)s)")
        parser.add_argument("--threads", type=int, default=128, help="requests in each process (default %(default)s)")

    def handle(self, *args: Any, host: str, port: int, workers: int, threads: int, **options: Any) -> None:
        if workers < 1 or threads < 1:
            message = "--workers and --threads must be 1 or more."
            raise CommandError(message)
        require_webhook_secret()
        require_free_port(host, port)
        require_database()
        connections.close_all()
        log.info("serving", host=host, port=port, workers=workers, threads=threads)
        serving.serve(host=host, port=port, workers=workers, threads=threads)


def require_webhook_secret() -> None:
    """
    :raises CommandError: in production, without a secret that proves an update to be Telegram's
    """
    if settings.DEBUG:
        return
    secrets = settings.TELEGRAM_WEBHOOK_SECRETS
    if not secrets:
        message = f"TELEGRAM_WEBHOOK_SECRET is not set: anybody could report payments. Set it to {WHAT_A_SECRET_IS}."
        raise CommandError(message)
    if len(secrets) > 2 or not all(map(WEBHOOK_SECRET.fullmatch, secrets)):
        message = f"TELEGRAM_WEBHOOK_SECRET must be {WHAT_A_SECRET_IS}, or two of these with a comma during a rotation."
        raise CommandError(message)


def require_free_port(host: str, port: int) -> None:
    """
    :raises CommandError: nobody can listen there, or somebody else does
    """
    if not 1 <= port <= 65535:
        message = f"There is no port {port}; they go from 1 to 65535."
        raise CommandError(message)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        message = f"Cannot listen at {host} port {port}: {error.strerror}. Choose another with --host and --port."
        raise CommandError(message) from error
