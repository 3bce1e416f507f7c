"""The database's clock moved, for tests that see months pass: every statement of ours reads the other time."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from django.db import connection

from config import movable_clock

ABLE_TO_STAND = """
    ALTER TABLE moved.clock ADD stands_at timestamptz;
    CREATE OR REPLACE FUNCTION moved.clock_timestamp() RETURNS timestamptz VOLATILE LANGUAGE sql
        AS 'SELECT coalesce(stands_at, pg_catalog.clock_timestamp() + ahead) FROM moved.clock';
    CREATE OR REPLACE FUNCTION moved.statement_timestamp() RETURNS timestamptz STABLE LANGUAGE sql
        AS 'SELECT coalesce(stands_at, pg_catalog.statement_timestamp() + ahead) FROM moved.clock';
    CREATE OR REPLACE FUNCTION moved.now() RETURNS timestamptz STABLE LANGUAGE sql
        AS 'SELECT coalesce(stands_at, pg_catalog.now() + ahead) FROM moved.clock';
"""


class Clock:
    def move_to(self, ahead: timedelta) -> None:
        """Let it be so much later than it is."""
        movable_clock.move_to(ahead)
        _do("UPDATE moved.clock SET stands_at = NULL")

    def stand_at(self, moment: datetime) -> None:
        """Let it be that moment, until it is moved again."""
        _do("UPDATE moved.clock SET stands_at = %s", [moment])


@contextmanager
def a_clock_to_move() -> Iterator[Clock]:
    """`config.movable_clock` in force for all threads; the clock stands where it stood when that is over."""
    movable_clock.install()
    _do(ABLE_TO_STAND)
    _connect_anew()
    try:
        yield Clock()
    finally:
        movable_clock.remove()
        _connect_anew()


def _connect_anew() -> None:
    connection.close()
    connection.close_pool()


def _do(statement: str, values: list[object] | None = None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
