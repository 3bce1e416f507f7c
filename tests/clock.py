"""The database's clock moved, for tests that see months pass: every statement of ours reads the other time."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from django.db import connection

CLOCKS = ("clock_timestamp", "statement_timestamp")
# Functions of these names before those of the server, for connections that look here first; and what the columns begin
# with, which was bound to the server's when the tables were made.
MOVED = f"""
    CREATE SCHEMA moved;
    CREATE TABLE moved.clock AS SELECT interval '0' AS ahead, NULL::timestamptz AS stands_at;
    {
    "".join(
        f"CREATE FUNCTION moved.{name}() RETURNS timestamptz LANGUAGE sql "
        f"AS 'SELECT coalesce(stands_at, pg_catalog.{name}() + ahead) FROM moved.clock';"
        for name in CLOCKS
    )
}
"""
DEFAULTS = """
    SELECT format('ALTER TABLE %%I ALTER %%I SET DEFAULT %%s.statement_timestamp()', table_name, column_name, %s::text)
    FROM information_schema.columns
    WHERE table_schema = 'public' AND column_default LIKE '%%statement_timestamp()'
"""


class Clock:
    def move_to(self, ahead: timedelta) -> None:
        """Let it be so much later than it is."""
        _do("UPDATE moved.clock SET ahead = %s, stands_at = NULL", [ahead])

    def stand_at(self, moment: datetime) -> None:
        """Let it be that moment, until it is moved again."""
        _do("UPDATE moved.clock SET stands_at = %s", [moment])


@contextmanager
def a_clock_to_move() -> Iterator[Clock]:
    """The clock, for the connections of this thread; it stands where it stood when that is over."""
    _do(MOVED)
    _bind_defaults("moved")
    connection.close()
    options = connection.settings_dict["OPTIONS"]
    before = dict(options)
    options.update(pool=False, options=f"{options['options']} -c search_path=moved,pg_catalog,public")
    try:
        yield Clock()
    finally:
        connection.close()
        options.update(before)
        _bind_defaults("pg_catalog")
        _do("DROP SCHEMA moved CASCADE")


def _bind_defaults(schema: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(DEFAULTS, [schema])
        for (statement,) in cursor.fetchall():
            cursor.execute(statement)


def _do(statement: str, values: list[object] | None = None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
