"""A sliding window that is exact under concurrency: in PostgreSQL by one statement, or in Redis."""

from __future__ import annotations

import functools
import math
import threading
import time
from datetime import timedelta
from time import monotonic
from typing import Any, TypeAlias

import structlog
from django.conf import settings
from django.db import connection
from django.db.models.functions import Now
from django.http import HttpRequest
from limits import RateLimitItemPerSecond
from limits.errors import StorageError
from limits.storage import RedisStorage
from limits.strategies import MovingWindowRateLimiter

from config.addresses import household_of
from config.database import retried
from entitlements.models import RateLimit

WINDOW = timedelta(seconds=60)
AT_ONCE = 0.001  # seconds, where the place has just become free
REDIS_SECONDS = 0.5  # a Redis slower than this counts as gone

log = structlog.get_logger(__name__)


class RateLimited(Exception):
    """Too many attempts. After `retry_after` seconds one more will be let through."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"Try again in {retry_after} s.")
        self.retry_after = retry_after


def hit(*, subject: str, limit: int, window: timedelta = WINDOW) -> None:
    """Count one attempt of the subject, or refuse it. Refused attempts do not count, so the wait never grows.

    Called outside transactions: an attempt must stay counted when what follows is rolled back.

    :raises RateLimited: when the last window holds `limit` attempts already
    """
    attempt = (subject, limit, window)
    wait = refusals.wait(attempt)
    if wait <= 0:
        wait = _asked(*attempt)
        if wait > 0:
            refusals.note(attempt, wait)
    if wait > 0:
        raise RateLimited(max(1, math.ceil(wait)))


def hit_by_stranger(request: HttpRequest) -> None:
    """Count one call of somebody who has not shown who he is, by where he comes from.

    Who came through a socket of the file system comes from nowhere, and is not counted.

    :raises RateLimited: that address has had its OPEN_CALLS_PER_MINUTE
    """
    if subject := _stranger(request):
        hit(subject=subject, limit=settings.OPEN_CALLS_PER_MINUTE)


def strangers_wait(request: HttpRequest) -> bool:
    """Whether this process knows, without asking, that `hit_by_stranger` would refuse."""
    return refusals.wait((_stranger(request), settings.OPEN_CALLS_PER_MINUTE, WINDOW)) > 0


def _stranger(request: HttpRequest) -> str:
    household = household_of(request)
    return f"open:{household}" if household else ""


Attempt: TypeAlias = tuple[str, int, timedelta]  # its subject, limit and window


class Refusals:
    """Whom this process has refused, and until when: who comes meanwhile is refused without asking the store.

    So a flood neither writes nor waits in the line at its row, where it would hold up everybody's requests. Nobody is
    refused whom the store would let through, for attempts leave a window in no other way than by growing old.
    """

    MOST = 10_000

    def __init__(self) -> None:
        self._until: dict[Attempt, float] = {}

    def wait(self, attempt: Attempt) -> float:
        """Seconds that are left to wait; none when it is 0 or less."""
        return self._until.get(attempt, 0.0) - monotonic()

    def note(self, attempt: Attempt, wait: float) -> None:
        if len(self._until) >= self.MOST:
            self.forget()
        self._until[attempt] = monotonic() + wait

    def forget(self) -> None:
        """The stores know them all."""
        self._until.clear()


refusals = Refusals()


def _asked(subject: str, limit: int, window: timedelta) -> float:
    """Seconds to wait, as the store says that is in reach; 0 when the attempt is let through, and counted."""
    if settings.REDIS_URL:
        try:
            return _seconds_to_wait_by_redis(subject, limit, window)
        except StorageError as error:
            log.warning("rate limit counted in PostgreSQL, for Redis is out of reach", error=str(error.storage_error))
    return _seconds_to_wait(subject, limit, window)


# The row's lock puts attempts of one subject in a queue, and the clock is read behind it: whatever the concurrency,
# at most `limit` moments lie within any window. The last element is this attempt's exactly when it was let through.
HIT = """
    INSERT INTO entitlements_ratelimit AS seen (subject, attempts, updated_at)
    SELECT %(subject)s, ARRAY[moment], moment FROM (SELECT clock_timestamp() AS moment) AS clock
    ON CONFLICT (subject) DO UPDATE SET (attempts, updated_at) = (
        SELECT CASE WHEN cardinality(recent) < %(limit)s THEN recent || moment ELSE recent END, moment
        FROM (SELECT clock_timestamp() AS moment) AS clock
        CROSS JOIN LATERAL (
            SELECT ARRAY(
                SELECT attempt FROM unnest(seen.attempts) AS attempt
                WHERE attempt > moment - %(window)s ORDER BY attempt
            ) AS recent
        ) AS counted
    )
    RETURNING CASE WHEN attempts[cardinality(attempts)] = updated_at THEN 0
        ELSE extract(epoch FROM attempts[1 + cardinality(attempts) - %(limit)s] + %(window)s - updated_at) END
"""


@retried
def _seconds_to_wait(subject: str, limit: int, window: timedelta) -> float:
    parameters: dict[str, Any] = {"subject": subject, "limit": limit, "window": window}
    with connection.cursor() as cursor:
        cursor.execute(HIT, parameters)
        (wait,) = cursor.fetchone()
    return float(wait)


def _seconds_to_wait_by_redis(subject: str, limit: int, window: timedelta) -> float:
    limiter, item = _redis(settings.REDIS_URL), RateLimitItemPerSecond(limit, int(window.total_seconds()))
    if limiter.hit(item, subject):
        return 0
    return max(AT_ONCE, limiter.get_window_stats(item, subject).reset_time - time.time())


def redis_answers() -> bool:
    """Whether the Redis that is configured can be asked."""
    return _redis(settings.REDIS_URL).storage.check()


_making = threading.Lock()


def _redis(url: str) -> MovingWindowRateLimiter:
    with _making:  # the library imports Redis' client meanwhile, and fails for who comes in the middle of that
        return _made(url)


@functools.cache
def _made(url: str) -> MovingWindowRateLimiter:
    storage = RedisStorage(
        url,
        wrap_exceptions=True,
        key_prefix="starledger",
        socket_connect_timeout=REDIS_SECONDS,
        socket_timeout=REDIS_SECONDS,
    )
    return MovingWindowRateLimiter(storage)


def forget_old_attempts() -> int:
    """Delete the rows of subjects that have been quiet for an hour, longer than any window; returns how many."""
    deleted, _ = RateLimit.objects.filter(updated_at__lt=Now() - timedelta(hours=1)).delete()
    return deleted
