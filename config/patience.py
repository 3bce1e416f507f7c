"""How long we wait for the database, which may be frozen or behind a network that swallows everything.

Its own limits end a statement that waits for a lock for three seconds, and any after five. But a server that is
stopped ends nothing, and the kernel goes on acknowledging what it is sent. So the client has limits too: for each
answer, and for all that one request waits for. Together they stay below the ten seconds that Telegram waits.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, ClassVar, TypeVar

import psycopg
from psycopg.errors import _WaitTimeout

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from psycopg import Notify
    from psycopg.abc import PQGen

Result = TypeVar("Result")

# Seconds.
ANSWER = 6.0  # the server ends a statement after five; who has heard nothing by now will not hear
REQUEST = 8.0  # all of a request's waiting
CHECKOUT = 2.0  # for a connection of the pool
ONE_TRY_EACH = 1.0  # of a silent database
NOTICEABLE = 1.0  # a shorter silence tells nothing about the database
A_DAY = 86_400.0
INTERVAL = 0.1  # psycopg's own, between looks at whether it was interrupted


class NoAnswer(psycopg.OperationalError):
    """The database did not answer in time. What became of the statement is unknown, and its connection is closed."""


class _Limits(threading.local):
    """Of the thread's work: until when it may wait, on the clock of `monotonic`."""

    ends_at = math.inf


_limits = _Limits()


def remaining() -> float:
    """Seconds that this thread may still wait."""
    return min(_limits.ends_at, _last_end) - monotonic()


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Let all that is done in the block wait for the database for so long in sum, or less where it is limited already.

    What is not finished by then ends with an OperationalError.
    """
    before = _limits.ends_at
    _limits.ends_at = min(before, monotonic() + seconds)
    try:
        yield
    finally:
        _limits.ends_at = before


_last_end = math.inf


def end_within(seconds: float) -> None:
    """Limit the waiting of all threads, for the process is about to stop. Saying it again gives no more time."""
    global _last_end
    _last_end = min(_last_end, monotonic() + seconds)


class RequestsWithin:
    """WSGI middleware that limits what each request waits for the database; reading a streamed answer is beyond it."""

    def __init__(self, application: WSGIApplication) -> None:
        self.application = application

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        with within(REQUEST):
            return self.application(environ, start_response)


class Silence:
    """Whether the database answers nobody in this process.

    While it does not, one after the other tries, with a new connection; the rest are refused at once. So a crowd does
    not wait in line for what will not come, and whoever asks is told in time to ask again.
    """

    def __init__(self) -> None:
        self.reigns = False
        self._heard_at = 0.0
        self._next_try_at = 0.0
        self._lock = threading.Lock()  # of the moment of the next try

    def heard(self) -> None:
        """The database answered something."""
        self._heard_at = monotonic()
        if self.reigns:
            self.reigns = False

    def waited(self, seconds: float) -> None:
        """Somebody waited in vain. That others were answered meanwhile means that it is busy, not silent."""
        if seconds >= NOTICEABLE and monotonic() - self._heard_at >= seconds:
            self.reigns = True

    def may_try(self) -> bool:
        """Whether it is the caller's turn."""
        with self._lock:
            now = monotonic()
            if now < self._next_try_at:
                return False
            self._next_try_at = now + ONE_TRY_EACH
            return True


silence = Silence()


class PatientConnection(psycopg.Connection):
    """A connection whose statements end, at the latest, when nobody would wait for them any more."""

    # Seconds for each answer, where the server was told to take longer than usual over statements.
    patience: float | None = None
    silence: ClassVar[Silence] = silence

    def wait(self, gen: PQGen[Result], interval: float = INTERVAL, timeout: float | None = None) -> Result:
        if timeout is not None:  # psycopg's own limit, of which it knows what follows
            return super().wait(gen, interval, timeout)
        limit = _limit(self)
        try:
            answer = super().wait(gen, interval, limit)
        except _WaitTimeout as error:
            raise _no_answer(self, limit) from error
        self.silence.heard()
        return answer


class ReplicaConnection(PatientConnection):
    """One to a replica, whose silence tells nothing about the database that payments are recorded in."""

    silence: ClassVar[Silence] = Silence()


class PatientAsyncConnection(psycopg.AsyncConnection):
    """The same for event loops."""

    patience: float | None = None
    silence: ClassVar[Silence] = silence

    async def wait(
        self,
        gen: PQGen[Result],
        interval: float = INTERVAL,
        timeout: float | None = None,  # noqa: ASYNC109 - psycopg's
    ) -> Result:
        if timeout is not None:
            return await super().wait(gen, interval, timeout)
        limit = _limit(self)
        try:
            answer = await super().wait(gen, interval, limit)
        except _WaitTimeout as error:
            raise _no_answer(self, limit) from error
        self.silence.heard()
        return answer

    def notifies(self, *, timeout: float | None = None, stop_after: int | None = None) -> AsyncGenerator[Notify]:
        """Notifications may come once a day."""
        return super().notifies(timeout=A_DAY if timeout is None else timeout, stop_after=stop_after)


def _limit(connection: PatientConnection | PatientAsyncConnection) -> float:
    """Seconds to wait for the next answer.

    :raises NoAnswer: none are left
    """
    if connection.patience is not None:
        return connection.patience
    left = remaining()
    if left <= 0:
        connection.pgconn.finish()
        message = "No time is left to wait for an answer."
        raise NoAnswer(message)
    return min(ANSWER, left)


def _no_answer(connection: PatientConnection | PatientAsyncConnection, limit: float) -> NoAnswer:
    """The error for an answer that did not come; when it comes after all, nobody reads it any more."""
    connection.silence.waited(limit)
    connection.pgconn.finish()
    return NoAnswer(f"The database did not answer within {limit:.1f} s.")
