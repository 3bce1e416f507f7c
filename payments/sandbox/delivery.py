"""Events on their way to the shop: signed, brought again while it does not answer 2xx, spoilt on order."""

from __future__ import annotations

import hashlib
import hmac
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable

from payments.sandbox.account import Json, as_bytes
from payments.sandbox.faults import Faults

ANSWER_WITHIN = 10.0  # seconds
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)  # the real one is slower, and goes on for three days


def signature(body: bytes, *, secret: str, at: int) -> str:
    """The header Stripe-Signature."""
    mac = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256)
    return f"t={at},v1={mac.hexdigest()}"


class Delivery:
    """A thread that brings events to the webhook, one at a time, until it is stopped."""

    def __init__(self, faults: Faults, *, url: str, secret: str, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.url = url
        self.secret = secret
        self._faults = faults
        self._due: deque[tuple[float, int, Json]] = deque()
        self._held_back: list[Json] = []
        self._wake = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="local Stripe's events", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with self._wake:
            self._stopped = True
            self._wake.notify()
        self._thread.join()

    def take(self, event: Json) -> None:
        """Have an event brought."""
        fault = self._faults.take_event(event["type"])
        with self._wake:
            if fault == "reorder":
                self._held_back.append(event)
                return
            following = [event] if fault == "duplicate" else []
            if fault != "lose":
                self._due.extend((0.0, 0, each) for each in (event, *following, *self._held_back))
                self._held_back.clear()
            self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._stopped and not self._ready():
                    self._wake.wait(0.2)
                if self._stopped:
                    return
                _, tried, event = self._due.popleft()
            if not self._bring(event):
                with self._wake:
                    pause = PAUSES[min(tried, len(PAUSES) - 1)]
                    self._due.append((time.monotonic() + pause, tried + 1, event))

    def _ready(self) -> bool:
        """Whether one is due; it is brought to the front."""
        now = time.monotonic()
        for place, (due, _, _) in enumerate(self._due):
            if due <= now:
                self._due.rotate(-place)
                return True
        return False

    def _bring(self, event: Json) -> bool:
        body = as_bytes(event)
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": signature(body, secret=self.secret, at=int(self._clock())),
        }
        request = urllib.request.Request(self.url, body, headers)  # noqa: S310 - an address of this machine
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_WITHIN) as answer:  # noqa: S310
                return bool(200 <= answer.status < 300)
        except (urllib.error.URLError, OSError):
            return False
