"""What the workers do with the inbox."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.db.models import Q
from procrastinate import BaseRetryStrategy, JobContext, RetryDecision
from procrastinate.contrib.django import app
from procrastinate.jobs import Job

from config.database import database_now
from payments.channels.base import Unavailable
from payments.models.letters import PAUSES, WorkerDied
from telegram_bot import processing, retention, webhook_watch
from telegram_bot.models import IncomingUpdate
from telegram_bot.updates import ButtonPress, Command, Membership, Text, Unreadable, Update, read_update

QUICK_TRIES = 3
LONGEST_QUICK_PAUSE = 60  # seconds
BATCH = 100
# A job that is not done by then was lost, or its queue is so long that another job for it would only make it longer.
PATIENCE, LEASE = timedelta(minutes=1), timedelta(minutes=10)


class WhenTelegramIsBack(BaseRetryStrategy):
    """A few more times in the seconds that follow, as far off as Telegram asks. They are one try, with one pause."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        if not isinstance(exception, Unavailable) or job.attempts >= QUICK_TRIES:
            return None
        pause = max(exception.retry_after, 2**job.attempts)
        return RetryDecision(retry_in={"seconds": pause}) if pause <= LONGEST_QUICK_PAUSE else None


@app.task(queue="updates", retry=WhenTelegramIsBack(), pass_context=True)
def process_update(context: JobContext, update_pk: int, tried: int = 0) -> None:
    """Make one try of an update. A second job for the same try finds nothing to do."""
    if context.job.attempts <= QUICK_TRIES:  # beyond that its workers were killed; the sweep brings it after its pause
        processing.process_update(update_pk, tried=tried, quickly=context.job.attempts > 0)


def defer_processing(stored: IncomingUpdate, update: Update) -> None:
    """Have a worker process it as soon as the open transaction commits: one at a time in each chat, in their order.

    While Telegram asks for seconds of patience the later ones of its chat wait behind it, at most three minutes. One
    that has to wait longer loses its place: the later ones are answered meanwhile, because whoever asks again must not
    wait four hours for what went wrong before, and no answer to a command depends on another's. Payments and refunds
    have no place to lose: in whatever order they come, the books end alike.
    """
    process_update.configure(lock=_lock_of(update)).defer(update_pk=stored.pk, tried=stored.attempts)


def _lock_of(update: Update) -> str | None:
    """The chat; money needs none, because recording it locks what it must."""
    match update.content:
        case Command(chat_id=chat_id) | Text(chat_id=chat_id) | Membership(chat_id=chat_id):
            return f"chat:{chat_id}"
        case ButtonPress(chat_id=chat_id, sender=sender):
            return f"chat:{chat_id or sender.id}"
    return None


@app.periodic(cron="* * * * *")
@app.task(queue="updates", queueing_lock="sweep_updates")
def sweep_updates(timestamp: int) -> None:
    """Hand updates to the workers again: those that failed when their pause is over, and those whose job was lost."""
    while _sweep_batch() == BATCH:
        pass


@transaction.atomic
def _sweep_batch() -> int:
    now = database_now()
    failed_or_lost = Q(attempts__gt=0) | Q(next_attempt_at__lte=now - PATIENCE)
    due = list(IncomingUpdate.objects.due_at(now).filter(failed_or_lost).select_for_update(skip_locked=True)[:BATCH])
    for stored in due:
        update = read_update(bytes(stored.body))
        if stored.attempts > len(PAUSES):
            stored.mark_failed(error=WorkerDied(WorkerDied.__doc__), now=now)
        elif isinstance(update, Unreadable):  # it was read when it was stored, by another release
            stored.mark_quarantined(why=update.why)
        else:
            defer_processing(stored, update)
    IncomingUpdate.objects.filter(pk__in=[stored.pk for stored in due]).update(next_attempt_at=now + LEASE)
    return len(due)


@app.periodic(cron="41 3 * * *")
@app.task(queue="upkeep", queueing_lock="blank_old_bodies")
def blank_old_bodies(timestamp: int) -> None:
    """Let go of what people wrote long ago."""
    retention.blank_old_bodies(now=database_now())


@app.periodic(cron="*/3 * * * *")
@app.task(queue="upkeep", queueing_lock="look_at_webhook")
def look_at_webhook(timestamp: int) -> None:
    """Hear from Telegram whether updates arrive."""
    webhook_watch.look_at_webhook()
