"""What every operation on the books needs of the database: its clock, and another try where that is safe."""

from __future__ import annotations

import binascii
import functools
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ParamSpec, TypeVar

import psycopg
from django.db import (
    DEFAULT_DB_ALIAS,
    IntegrityError,
    InterfaceError,
    OperationalError,
    connection,
    connections,
    transaction,
)


@dataclass(frozen=True, slots=True)
class Beside:
    """One more write for a statement, by whoever calls it.

    Its SQL selects `FROM effect`, whose column `beside` holds the values as JSON: without the effect it writes nothing.
    """

    sql: str
    values: Mapping[str, Any]


def base64(content: bytes) -> str:
    """Bytes as a text that JSON can carry; `decode(…, 'base64')` in SQL reads it."""
    return binascii.b2a_base64(content, newline=False).decode()


Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

LAG = timedelta(seconds=60)

SERIALIZATION_FAILURE, DEADLOCK = "40001", "40P01"
TRIES = 4


def database_now() -> datetime:
    """The database's clock, which is the only one that decides about access and money."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (now,) = cursor.fetchone()
    return now  # type: ignore[no-any-return]


# The clock is read before the transactions are, and of those each has its own start behind it already. What other
# roles do is hidden from a role without pg_read_all_stats; for them the lag alone has to suffice.
SETTLED = """
    SELECT least(statement_timestamp(), min(xact_start)) - make_interval(secs => %s)
    FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


def settled_moment() -> datetime:
    """A moment that nothing can be recorded before any more, for rows that carry a time of their own transaction.

    The order of times is not the order of commits: a row becomes visible only when its transaction ends. So this
    stays behind the start of the oldest open transaction, and behind the clock by longer than a transaction can live
    under our time limits.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")  # else the activity is that of its first reading
        cursor.execute(SETTLED, [LAG.total_seconds()])
        (moment,) = cursor.fetchone()
    return moment  # type: ignore[no-any-return]


def retried(operation: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Repeat an idempotent operation that holds its whole transaction, where the database asks for that.

    A deadlock or serialization failure is retried three times with jitter, a connection found broken once.
    Inside somebody else's transaction nothing is retried: only its owner can repeat it.
    """

    @functools.wraps(operation)
    def wrapper(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        if connection.in_atomic_block:
            return operation(*args, **kwargs)
        broke = False
        for attempt in range(1, TRIES + 1):
            try:
                return operation(*args, **kwargs)
            except (OperationalError, InterfaceError) as error:
                conflict = getattr(error.__cause__, "sqlstate", None) in {SERIALIZATION_FAILURE, DEADLOCK}
                if attempt == TRIES or not (conflict or (is_broken() and not broke)):
                    raise
                if not conflict:
                    broke = True
                    connection.close()
            time.sleep(random.uniform(0.005, 0.05) * attempt)  # noqa: S311 - jitter, not a secret
        raise AssertionError("unreachable")

    return wrapper


@contextmanager
def long_statements(*, up_to: timedelta, using: str = DEFAULT_DB_ALIAS) -> Iterator[None]:
    """A transaction whose statements may each take longer than the few seconds of all others."""
    connection = connections[using]
    connection.ensure_connection()
    patient = connection.connection
    patient.patience = up_to.total_seconds() + 1  # the server ends them before
    try:
        with transaction.atomic(using=using, durable=True):  # whose end is that of SET LOCAL
            with connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL statement_timeout = {up_to // timedelta(milliseconds=1)}")
            yield
    finally:
        patient.patience = None


def violates(error: IntegrityError, *constraints: str) -> bool:
    """Whether it is one of these rules of the database that was violated."""
    return isinstance(error.__cause__, psycopg.Error) and error.__cause__.diag.constraint_name in constraints


def release_connection(using: str = DEFAULT_DB_ALIAS) -> None:
    """Give this thread's connection back to the pool before the request is over, unless a transaction is open."""
    if not connections[using].in_atomic_block:
        connections[using].close()


def is_broken() -> bool:
    """Whether the connection of this thread was lost, as opposed to a statement that failed on a sound one."""
    raw = connection.connection
    return raw is not None and (raw.closed or raw.broken)
