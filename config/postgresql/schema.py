"""Changes of tables, which may take long where rows are many."""

from __future__ import annotations

from datetime import timedelta
from types import TracebackType
from typing import Self

from django.db.backends.postgresql import schema

LONGEST = timedelta(hours=1)  # for one statement, as that which builds an index


class DatabaseSchemaEditor(schema.DatabaseSchemaEditor):
    """Lets the statements of a migration take longer than those of requests.

    For locks it waits no longer than they do: behind a migration that waits for a table, everybody else would wait.
    """

    def __enter__(self) -> Self:
        super().__enter__()
        if not self.collect_sql:
            self.connection.ensure_connection()
            self.connection.connection.patience = LONGEST.total_seconds() + 1  # the server ends them before
            # Without a transaction of its own a migration needs a connection of its own too, not that of a pooler.
            scope = "LOCAL" if self.atomic_migration else "SESSION"
            self._tell(f"SET {scope} statement_timeout = {LONGEST // timedelta(milliseconds=1)}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            super().__exit__(kind, error, trace)
        finally:
            if not self.collect_sql and self.connection.connection is not None:
                self.connection.connection.patience = None
                if not self.atomic_migration:
                    self._tell("RESET statement_timeout")

    def _tell(self, setting: str) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(setting)
