"""How procrastinate runs here, and its own upkeep: jobs of dead workers taken up again, finished ones removed."""

from typing import Any

import structlog
from procrastinate import App, JobContext

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
