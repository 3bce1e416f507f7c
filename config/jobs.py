"""How procrastinate runs here, and its own upkeep: jobs of dead workers taken up again, finished ones removed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import structlog
from django.db import connection
from procrastinate import App, JobContext
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

FINISHED_JOBS_KEPT_HOURS = 48
FAILED_JOBS_KEPT_HOURS = 24 * 30
SECONDS_WITHOUT_HEARTBEAT = 30

log = structlog.get_logger(__name__)


def on_app_ready(app: App) -> None:
    """Add the upkeep of the queue itself; each app has its own periodic tasks in its `tasks.py`."""
    every_minute, hourly = app.periodic(cron="* * * * *"), app.periodic(cron="17 * * * *")
    upkeep: Any = {"queue": "upkeep", "pass_context": True}
    every_minute(app.task(retake_stalled, name="config.jobs.retake_stalled", queueing_lock="retake_stalled", **upkeep))
    hourly(app.task(remove_finished, name="config.jobs.remove_finished", queueing_lock="remove_finished", **upkeep))


async def retake_stalled(context: JobContext, timestamp: int) -> None:
    """Put jobs back in the queue whose worker has given no sign of life for a while."""
    jobs = context.app.job_manager
    for job in await jobs.get_stalled_jobs(seconds_since_heartbeat=SECONDS_WITHOUT_HEARTBEAT):
        await jobs.retry_job(job)
        log.warning("stalled job taken up again", job_id=job.id, task=job.task_name, attempts=job.attempts)


async def remove_finished(context: JobContext, timestamp: int) -> None:
    """Remove old jobs; those that failed stay longer, for people to look at."""
    jobs = context.app.job_manager
    await jobs.delete_old_jobs(nb_hours=FINISHED_JOBS_KEPT_HOURS, include_cancelled=True, include_aborted=True)
    await jobs.delete_old_jobs(nb_hours=FAILED_JOBS_KEPT_HOURS, include_failed=True)


# A job put off has its time; one to be done at once is as old as its first event. Jobs are fetched by their ids.
OLDEST_SECONDS = """
    SELECT coalesce(extract(epoch FROM clock_timestamp() - least(
        (SELECT at FROM procrastinate_jobs job JOIN procrastinate_events event ON event.job_id = job.id
         WHERE job.status = 'todo' AND job.scheduled_at IS NULL AND event.type = 'deferred'
         ORDER BY job.id LIMIT 1),
        (SELECT min(scheduled_at) FROM procrastinate_jobs
         WHERE status = 'todo' AND scheduled_at <= clock_timestamp())
    )), 0)::float
"""


def oldest_seconds() -> float:
    """For how long the job that has been due the longest has waited; 0 when none is due."""
    with connection.cursor() as cursor:
        cursor.execute(OLDEST_SECONDS)
        (seconds,) = cursor.fetchone()
    return float(seconds)


class Queue(Collector):
    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "starledger_jobs_oldest_seconds", "For how long the oldest due job has waited.", value=oldest_seconds()
        )

    def describe(self) -> list[Metric]:
        return []
