"""Running something in a process that really dies, at a chosen boundary of what it changes."""

import os
import re
import signal
import traceback
from collections.abc import Callable

import psycopg
from django.db import connection
from django.db.backends.postgresql.base import DatabaseWrapper

from payments.channels import stripe
from telegram_bot.gateway import TelegramGateway

FAILED = 255
# To die after reading is to die before it: the server knows no difference. A job is deferred by a SELECT.
READS = re.compile(r"\s*(SELECT(?! procrastinate_)|SET|SHOW|SAVEPOINT|RELEASE)\b", re.IGNORECASE)


def boundaries(operation: Callable[[], object]) -> int:
    """How many boundaries the operation passes, which must end well: after each statement that writes, each commit
    of such statements and each call of the Bot API and of Stripe.

    The moment after one is the moment before the next; the first has one before it too.
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
        counter.watch(psycopg.Cursor, "execute", does=counter.writes)
        counter.watch(psycopg.Connection, "commit", does=counter.commits)
        counter.watch(TelegramGateway, "_call", does=lambda *_: True)
        counter.watch(stripe, "_call", does=lambda *_: True)
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
        self.uncommitted = False

    def boundary(self) -> None:
        if self.passed == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.passed += 1

    def watch(self, owner: object, name: str, *, does: Callable[..., bool]) -> None:
        """Let a boundary follow each call of a method, or of a module's function, that changes something."""
        original = getattr(owner, name)

        def watched(subject, *args, **kwargs):
            changes = does(subject, *args)
            result = original(subject, *args, **kwargs)
            if changes:
                self.boundary()
            return result

        setattr(owner, name, watched)

    def writes(self, cursor: psycopg.Cursor, statement: object, *_: object) -> bool:
        if READS.match(statement if isinstance(statement, str) else cursor.mogrify(statement)):
            return False
        self.uncommitted = not cursor.connection.autocommit
        return True

    def commits(self, _: psycopg.Connection) -> bool:
        wrote, self.uncommitted = self.uncommitted, False
        return wrote
