"""What is tidied up by the clock."""

from __future__ import annotations

from procrastinate.contrib.django import app

from config.api import idempotency, ratelimit
from entitlements import counting


@app.periodic(cron="23 * * * *")
@app.task(queue="upkeep", queueing_lock="forget_old_requests")
def forget_old_requests(timestamp: int) -> None:
    """Delete what was noted of requests, once nobody can ask for it again."""
    idempotency.forget_old_keys()
    ratelimit.forget_old_attempts()


@app.periodic(cron="*/5 * * * *")
@app.task(queue="upkeep", queueing_lock="count_access")
def count_access(timestamp: int) -> None:
    """Know how many customers have access by which plan."""
    counting.count_access()
