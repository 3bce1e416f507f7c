"""Requests work a few at a time, however many are at hand."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from django.conf import settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

LONGEST_WAIT = 1.0  # seconds


class InTurn:
    """WSGI middleware that lets no more requests work at a time than there are connections to the database.

    There are more threads than that, so that requests need not wait in a line where nobody counts the seconds. But
    threads that all work make each other slower. Whoever has waited for a while goes ahead: those before him do not
    work, they wait for something as well, and he may be asking only for the health of the process.
    """

    def __init__(self, application: WSGIApplication) -> None:
        self.application = application
        self._turns = threading.Semaphore(settings.DATABASES["default"]["OPTIONS"]["pool"]["max_size"])

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        has_turn = self._turns.acquire(timeout=LONGEST_WAIT)
        try:
            return self.application(environ, start_response)
        finally:
            if has_turn:
                self._turns.release()
