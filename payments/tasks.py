"""What is done about payments by the clock."""

from __future__ import annotations

import structlog
from procrastinate.contrib.django import app

from config.database import database_now
from payments import expiry, recording, tallies

log = structlog.get_logger(__name__)


@app.periodic(cron="* * * * *")
@app.task(queue="upkeep", queueing_lock="sum_tallies")
def sum_tallies(timestamp: int) -> None:
    """Keep the figures cheap to read."""
    tallies.move_forward()


@app.periodic(cron="* * * * *")
@app.task(queue="upkeep", queueing_lock="expire_invoices")
def expire_invoices(timestamp: int) -> None:
    """Close the invoices that nobody paid in time."""
    if expired := expiry.expire_invoices(now=database_now()):
        log.info("invoices expired", count=expired)


@app.periodic(cron="* * * * *")
@app.task(queue="upkeep", queueing_lock="apply_waiting_refunds")
def apply_waiting_refunds(timestamp: int) -> None:
    """Find the refunds whose payments were recorded in the same moment."""
    if applied := recording.apply_waiting_refunds():
        log.warning("early refunds applied", count=applied)
