"""What the job queue is like: how long a worker may be silent, and how long jobs wait."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import connection
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

HEARTBEAT_SECONDS = 10
SECONDS_WITHOUT_HEARTBEAT = 30  # then a worker is taken for dead and its jobs are taken up again

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

WORKERS = (
    "SELECT count(*) FROM procrastinate_workers WHERE last_heartbeat > clock_timestamp() - make_interval(secs => %s)"
)


def workers_alive() -> int:
    """How many workers have given a sign of life lately."""
    with connection.cursor() as cursor:
        cursor.execute(WORKERS, [SECONDS_WITHOUT_HEARTBEAT])
        (alive,) = cursor.fetchone()
    return int(alive)


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
        yield GaugeMetricFamily("starledger_workers", "Workers that give signs of life.", value=workers_alive())

    def describe(self) -> list[Metric]:
        return []
