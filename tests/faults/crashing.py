"""Running something in a process that really dies, at a chosen boundary of its SQL."""

import os
import signal
import traceback
from collections.abc import Callable

import psycopg
from django.db import connection
from django.db.backends.postgresql.base import DatabaseWrapper

FAILED = 255


def boundaries(operation: Callable[[], object]) -> int:
    """How many boundaries the operation passes, which must end well: after each statement, commit and rollback.

    For the server the moment after one is the moment before the next; the first has one before it too.
    """
    passed = _in_a_child(operation, die_at=None)
    assert 0 < passed < FAILED, "the operation failed by itself"
    return passed


def die_at(boundary: int, operation: Callable[[], object]) -> None:
    """Run the operation in a child that kills itself, without a last word, at the given boundary."""
    assert _in_a_child(operation, die_at=boundary) == -signal.SIGKILL, "it ended before it could die"


def _in_a_child(operation: Callable[[], object], *, die_at: int | None) -> int:
    child = os.fork()
    if child == 0:
        _run(operation, die_at)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _run(operation: Callable[[], object], die_at: int | None) -> None:
    code = FAILED
    try:
        _leave_the_parents_connection()
        counter = Counter(die_at)
        for owner, name in [
            (psycopg.Cursor, "execute"),
            (psycopg.Connection, "commit"),
            (psycopg.Connection, "rollback"),
        ]:
            _watch(owner, name, counter)
        counter.boundary()
        operation()
        code = counter.passed
    except BaseException:  # a forked child must not return into pytest
        traceback.print_exc()
    finally:
        os._exit(code)


def _leave_the_parents_connection() -> None:
    """The socket is the parent's: it is dropped without a word, and the child opens its own."""
    connection.connection = None
    DatabaseWrapper._connection_pools = {}


class Counter:
    """Counts the boundaries passed, and dies at the chosen one."""

    def __init__(self, die_at: int | None) -> None:
        self.passed = 0
        self.die_at = die_at

    def boundary(self) -> None:
        if self.passed == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.passed += 1


def _watch(owner: type, name: str, counter: Counter) -> None:
    original = getattr(owner, name)

    def watched(self, *args, **kwargs):
        result = original(self, *args, **kwargs)
        counter.boundary()
        return result

    setattr(owner, name, watched)
