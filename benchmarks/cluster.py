"""One PostgreSQL for a whole run, set up as in production; every side has databases of its own in it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg
from psycopg import sql

from config import embedded_postgres

MEMORY_MB = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
PRODUCTION = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": f"{MEMORY_MB // 4}MB",
    "max_wal_size": "8GB",  # no checkpoint within a round: each begins with one
    "checkpoint_timeout": "30min",
    "wal_compression": "on",
    "random_page_cost": "1.1",
    "max_connections": "200",
}


class Cluster:
    """The running server."""

    def __init__(self, server: embedded_postgres.EmbeddedPostgres) -> None:
        self._server = server
        self.sockets = Path(parse_qs(urlsplit(server.url).query)["host"][0])
        self.binaries = embedded_postgres.find_binaries()

    def url(self, database: str) -> str:
        return self._server.url.replace("/postgres?", f"/{database}?")

    def create(self, database: str, *, template: str = "template1") -> None:
        """Create a database, as a copy of another one if that is named."""
        with self.connect("postgres") as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(database), sql.Identifier(template))
            )

    def connect(self, database: str) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(self.url(database), autocommit=True)

    def settle(self, database: str) -> None:
        """Put a database into the state every round starts from: vacuumed, analysed, everything on disk."""
        with self.connect(database) as connection:
            connection.execute("VACUUM (ANALYZE)")
            connection.execute("CHECKPOINT")

    def version(self) -> str:
        with self.connect("postgres") as connection:
            row = connection.execute("SHOW server_version").fetchone()
            assert row is not None
            return str(row[0])


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """The server, gone with its data when the run ends."""
    with embedded_postgres.temporary(PRODUCTION) as server:
        yield Cluster(server)
