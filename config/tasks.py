"""The upkeep of the job queue, and of what the API remembers of requests."""

from __future__ import annotations

from importlib import import_module

import structlog
from django.conf import settings
from procrastinate import JobContext
from procrastinate.contrib.django import app
from procrastinate.exceptions import UniqueViolation
from procrastinate.jobs import Status

from config.api import idempotency, ratelimit
from config.jobs import SECONDS_WITHOUT_HEARTBEAT

FINISHED_JOBS_KEPT_HOURS = 48
FAILED_JOBS_KEPT_HOURS = 24 * 30

log = structlog.get_logger(__name__)


@app.periodic(cron="* * * * *")
@app.task(queue="upkeep", queueing_lock="retake_stalled_jobs", pass_context=True)
async def retake_stalled_jobs(context: JobContext, timestamp: int) -> None:
    """Put jobs back in the queue whose worker has given no sign of life for a while."""
    jobs = context.app.job_manager
    for job in await jobs.get_stalled_jobs(seconds_since_heartbeat=SECONDS_WITHOUT_HEARTBEAT):
        try:
            await jobs.retry_job(job)
        except UniqueViolation:  # by its queueing lock: the next of its kind waits already
            await jobs.finish_job(job, Status.ABORTED, delete_job=False)
        log.warning("stalled job taken up again", job_id=job.id, task=job.task_name, attempts=job.attempts)


@app.periodic(cron="17 * * * *")
@app.task(queue="upkeep", queueing_lock="remove_finished_jobs", pass_context=True)
async def remove_finished_jobs(context: JobContext, timestamp: int) -> None:
    """Remove old jobs; those that failed stay longer, for people to look at."""
    jobs = context.app.job_manager
    await jobs.delete_old_jobs(nb_hours=FINISHED_JOBS_KEPT_HOURS, include_cancelled=True, include_aborted=True)
    await jobs.delete_old_jobs(nb_hours=FAILED_JOBS_KEPT_HOURS, include_failed=True)


@app.periodic(cron="27 * * * *")
@app.task(queue="upkeep", queueing_lock="forget_requests")
def forget_requests(timestamp: int) -> None:
    """Forget answers that no longer come back and attempts that no longer count."""
    idempotency.forget_old_keys()
    ratelimit.forget_old_attempts()


@app.periodic(cron="47 3 * * *")
@app.task(queue="upkeep", queueing_lock="forget_sessions")
def forget_sessions(timestamp: int) -> None:
    """Forget the sessions of staff that have expired."""
    import_module(settings.SESSION_ENGINE).SessionStore.clear_expired()
