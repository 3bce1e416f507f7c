"""Requests work a few at a time, however many are at hand, and in the order in which they came."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from django.conf import settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

LONGEST_WAIT = 1.0  # seconds


class Turns:
    """A semaphore that is fair: a turn given back goes to whoever has waited longest, and nobody overtakes him.

    That of the standard library leaves it to whoever comes first, mostly the very thread that gave it back; of forty
    threads some then wait for a whole second.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: deque[threading.Lock] = deque()  # each held until its turn has come
        self._lock = threading.Lock()  # of the two above

    def take(self, *, timeout: float) -> bool:
        """Wait for a turn, so many seconds at most; whether it came. It has to be given back."""
        with self._lock:
            if self._free:
                self._free -= 1
                return True
            called = threading.Lock()
            called.acquire()
            self._waiting.append(called)
        if called.acquire(timeout=timeout):
            return True
        with self._lock:
            if called in self._waiting:
                self._waiting.remove(called)
                return False
        return True  # it came between the two

    def give_back(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._free += 1


class InTurn:
    """WSGI middleware that lets no more requests work at a time than there are connections to the database.

    There are more threads than that, so that requests need not wait in a line where nobody counts the seconds. But
    threads that all work make each other slower. Whoever has waited for a while goes ahead: those before him do not
    work, they wait for something as well, and he may be asking only for the health of the process.
    """

    def __init__(self, application: WSGIApplication) -> None:
        self.application = application
        self._turns = Turns(settings.DATABASES["default"]["OPTIONS"]["pool"]["max_size"])

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        has_turn = self._turns.take(timeout=LONGEST_WAIT)
        try:
            return self.application(environ, start_response)
        finally:
            if has_turn:
                self._turns.give_back()
