"""A read replica: made by pg_basebackup, kept up by streaming, and crashed as the primary is."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Self

import psycopg

from config import embedded_postgres
from config.embedded_postgres import EmbeddedPostgres
from tests.chaos.database import MARKER, SETTINGS, CrashingPostgres


class Standby(CrashingPostgres):
    """Follows `primary_url` from `__enter__` to `__exit__`; only reads are possible."""

    def __init__(self, primary_url: str, settings: Mapping[str, str] = SETTINGS) -> None:
        super().__init__()
        self._server = dataclasses.replace(self._server, settings=settings)
        self._primary_url = primary_url
        self._slot = f"of_{self._marker}"  # keeps what it has not fetched, however busy the primary is

    def __enter__(self) -> Self:
        try:
            self._copy()
            self._server.start()
            (self._data / MARKER).write_text(self._marker)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *reason: object) -> None:
        super().__exit__(*reason)
        with suppress(psycopg.OperationalError), psycopg.connect(self._primary_url, autocommit=True) as primary:
            primary.execute(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s",
                [self._slot],
            )

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """While it is down; afterwards it follows again."""
        self._server.stop()
        try:
            yield
        finally:
            self._server = EmbeddedPostgres(self._server.home, self._server.settings).start()

    def _copy(self) -> None:
        account = embedded_postgres._server_account()
        self._server.home.chmod(0o711)
        self._data.mkdir(mode=0o700)
        run_as: dict[str, Any] = {}
        if account:
            os.chown(self._data, account.pw_uid, account.pw_gid)
            run_as = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        with psycopg.connect(self._primary_url, autocommit=True) as primary:
            primary.execute("SELECT pg_create_physical_replication_slot(%s, true)", [self._slot])
        tool = embedded_postgres.find_binaries() / "pg_basebackup"
        subprocess.run(
            [
                tool,
                f"--dbname={self._primary_url}",
                f"--pgdata={self._data}",
                "--write-recovery-conf",
                f"--slot={self._slot}",
                "--checkpoint=fast",
                "--no-sync",
            ],
            cwd="/",
            check=True,
            **run_as,
        )
