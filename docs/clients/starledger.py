"""Asks Starledger who may use what, and keeps each answer as long as it allows. Needs Python 3.11 and httpx."""

import math
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from threading import Lock
from typing import Any
from urllib.parse import quote

import httpx


class Unavailable(Exception):
    """Starledger cannot be asked now, and nothing that was kept may stand for its answer."""


@dataclass(frozen=True)
class Kept:
    ends: dict[str, float]  # when access to each entitlement ends, on the client's clock
    etag: str
    fresh_until: float


class Starledger:
    """One for the whole program; threads share it. A key that is not accepted raises httpx.HTTPStatusError.

    :param stale_for: seconds for which a kept answer is used beyond its time while Starledger cannot be asked
    :param otherwise: what is said when there is no such answer either; None raises Unavailable
    """

    def __init__(
        self, url: str, key: str, *, stale_for: float = 0, otherwise: bool | None = None, timeout: float = 2,
        most_kept: int = 10_000, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.http = httpx.Client(base_url=url, headers={"Authorization": f"Api-Key {key}"}, timeout=timeout)
        self.stale_for, self.otherwise, self.most_kept, self.clock = stale_for, otherwise, most_kept, clock
        self._kept: dict[str, Kept] = {}
        self._lock = Lock()
        self._quiet_until = -math.inf

    def has_access(self, user_id: str, entitlement: str) -> bool:
        """Whether the user may use it now. No answer, however old, outlives the access itself."""
        with self._lock:
            kept = self._kept.get(user_id)
        if kept is None or self.clock() >= kept.fresh_until:
            try:
                kept = self._ask(user_id, kept)
            except Unavailable:
                if kept is None or self.clock() >= kept.fresh_until + self.stale_for:
                    if self.otherwise is None:
                        raise
                    return self.otherwise
        return self.clock() < kept.ends.get(entitlement, -math.inf)

    def who_has(self, entitlement: str, user_ids: Iterable[str]) -> set[str]:
        """Those of up to 1000 users who have access; always asked."""
        question = {"entitlement": entitlement, "user_ids": list(user_ids)}
        return set(self._send("POST", "/api/v1/entitlements/check", json=question).json()["active"])

    def _ask(self, user_id: str, kept: Kept | None) -> Kept:
        asked_at = self.clock()
        headers = {"If-None-Match": kept.etag} if kept else {}
        answer = self._send("GET", f"/api/v1/customers/{quote(user_id, safe='')}/entitlements", headers=headers)
        max_age = re.search(r"max-age=(\d+)", answer.headers["Cache-Control"])
        fresh_until = asked_at + (int(max_age[1]) if max_age else 0)
        if kept and answer.status_code == 304:
            kept = replace(kept, fresh_until=fresh_until)
        else:
            body = answer.json()  # its times are compared with its own: the clock of this machine may be wrong
            told_at = datetime.fromisoformat(body["server_time"])
            held = {each["entitlement"]: each["expires_at"] for each in body["entitlements"] if each["active"]}
            left = {e: (datetime.fromisoformat(end) - told_at).total_seconds() for e, end in held.items() if end}
            kept = Kept({e: asked_at + left.get(e, math.inf) for e in held}, answer.headers["ETag"], fresh_until)
        with self._lock:
            self._kept.pop(user_id, None)
            self._kept[user_id] = kept
            if len(self._kept) > self.most_kept:
                del self._kept[next(iter(self._kept))]
        return kept

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        if self.clock() < self._quiet_until:
            raise Unavailable("Not asked: the pause after a failure is not over.")
        try:
            answer = self.http.request(method, path, **request)
        except httpx.TransportError as error:
            self._quiet_until = self.clock() + 1  # or each caller would wait for a time-out of its own
            raise Unavailable(str(error)) from error
        if answer.status_code == 429 or answer.is_server_error:
            pause = answer.headers.get("Retry-After", "")
            self._quiet_until = self.clock() + (int(pause) if pause.isdecimal() else 1)
            raise Unavailable(answer.text)
        return answer if answer.status_code == 304 else answer.raise_for_status()
