"""A PostgreSQL of its own, as safe as in production, that can be crashed and started again."""

from __future__ import annotations

import dataclasses
import os
import secrets
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any, Self

import psycopg

from benchmarks.cluster import PRODUCTION
from config import embedded_postgres
from config.embedded_postgres import EmbeddedPostgres
from tests.chaos.plan import Way

SETTINGS = {**PRODUCTION, "shared_buffers": "256MB", "max_wal_size": "1GB"}
MARKER = "starledger-chaos"
RECOVERED = "database system was not properly shut down"
SIGNALS = {Way.STOP: signal.SIGQUIT, Way.KILL: signal.SIGKILL}


class NotOurs(Exception):
    """What was about to be killed is not what this run has started."""


class CrashingPostgres:
    """The server from `__enter__` to `__exit__`; its data are gone afterwards."""

    name = "starledger"

    def __init__(self) -> None:
        self._server = dataclasses.replace(embedded_postgres.temporary(SETTINGS), throwaway=False)
        self._marker = secrets.token_hex(16)

    def __enter__(self) -> Self:
        try:
            self._server.start()
            (self._data / MARKER).write_text(self._marker)
            with self.connect("postgres") as connection:
                connection.execute(f"CREATE DATABASE {self.name}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()
        shutil.rmtree(self._server.home, ignore_errors=True)

    @property
    def url(self) -> str:
        return self._server.url.replace("/postgres?", f"/{self.name}?")

    @property
    def _data(self) -> Path:
        return self._server.home / "data"

    def connect(self, database: str = name) -> psycopg.Connection[Any]:
        return psycopg.connect(
            self._server.url.replace("/postgres?", f"/{database}?"), autocommit=True, connect_timeout=5
        )

    def crash(self, way: Way) -> bool:
        """Crash it, start it again, and tell whether it had to recover. Blocks until it accepts connections.

        :raises NotOurs: and then nothing was killed
        """
        os.kill(self.own_postmaster(), SIGNALS[way])
        self._server.stop()  # its guard finds it dead, and ends
        self._server = EmbeddedPostgres(self._server.home, SETTINGS).start()
        return RECOVERED in self._server.log.read_text(errors="replace")

    def dump(self, file: Path) -> None:
        """What `pg_dump` writes of the whole database."""
        self._tool("pg_dump", "--format=custom", f"--file={file}", self.url)

    def restore(self, file: Path) -> None:
        """Make the database what it was when it was dumped; whoever was connected is cut off."""
        with self.connect("postgres") as connection:
            connection.execute(f"DROP DATABASE {self.name} WITH (FORCE)")
            connection.execute(f"CREATE DATABASE {self.name}")
        self._tool("pg_restore", "--exit-on-error", f"--dbname={self.url}", str(file))

    def _tool(self, *words: str) -> None:
        tool = embedded_postgres.find_binaries() / words[0]
        subprocess.run([tool, *words[1:]], check=True)

    def own_postmaster(self) -> int:
        """The pid of the server in our data directory, which the server itself says is the one it serves.

        :raises NotOurs: it is not, or the directory does not carry this run's mark
        """
        marker = self._data / MARKER
        if not marker.exists() or marker.read_text() != self._marker:
            message = f"{self._data} does not carry the mark of this run"
            raise NotOurs(message)
        pid, directory = (self._data / "postmaster.pid").read_text().splitlines()[:2]
        with self.connect() as connection:
            row = connection.execute("SELECT current_setting('data_directory')").fetchone()
        if {directory, row and row[0]} != {str(self._data)}:
            message = f"the server at {self.url} serves {row and row[0]}, not {self._data}"
            raise NotOurs(message)
        return int(pid)
