"""Runs the web server."""

from __future__ import annotations

import socket
from argparse import ArgumentParser
from typing import Any

import structlog
from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from config import serving
from config.management.starting import require_database, require_production_settings

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
        require_free_port(host, port)
        require_database()
        require_production_settings(host=host)
        connections.close_all()
        log.info("serving", host=host, port=port, workers=workers, threads=threads)
        serving.serve(host=host, port=port, workers=workers, threads=threads)


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
