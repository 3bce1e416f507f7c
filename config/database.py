"""What every operation on the books needs of the database: its clock, and another try where that is safe."""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ParamSpec, TypeVar

import psycopg
from django.db import IntegrityError, InterfaceError, OperationalError, connection


@dataclass(frozen=True, slots=True)
class Beside:
    """One more write for a statement, by whoever calls it: SQL that selects `FROM` the part the statement names."""

    sql: str
    params: Mapping[str, Any]


Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

SERIALIZATION_FAILURE, DEADLOCK = "40001", "40P01"
TRIES = 4


def database_now() -> datetime:
    """The database's clock, which is the only one that decides about access and money."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (now,) = cursor.fetchone()
    return now  # type: ignore[no-any-return]


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


def violates(error: IntegrityError, constraint: str) -> bool:
    """Whether it is this rule of the database that was violated."""
    return isinstance(error.__cause__, psycopg.Error) and error.__cause__.diag.constraint_name == constraint


def is_broken() -> bool:
    """Whether the connection of this thread was lost, as opposed to a statement that failed on a sound one."""
    raw = connection.connection
    return raw is not None and (raw.closed or raw.broken)
