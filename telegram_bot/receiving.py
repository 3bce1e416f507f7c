"""An update arrives: it is stored, its effect on money happens at once, everything else goes to a worker.

Whoever brings updates, the webhook or long polling, hands their bytes to `receive` and does as its answer says.
"""

from __future__ import annotations

import hashlib
import time
from typing import Any, TypeAlias

import structlog
from django.conf import settings
from django.db import DatabaseError, transaction
from django.utils import translation
from structlog.contextvars import bind_contextvars

from config.database import Beside, base64, database_now, is_broken, retried
from config.together import NotDone
from payments import metrics
from payments.checkout import Decision, PreCheckout, decide_checkout
from payments.ordinary import record_ordinary_payment
from payments.recording import ReceivedPayment, ReceivedRefund
from telegram_bot import processing, tasks, texts
from telegram_bot.metrics import count_update
from telegram_bot.models import IncomingUpdate, UpdateStatus
from telegram_bot.updates import Other, Unreadable, UnreadableMoney, Update, read_update

logger = structlog.get_logger(__name__)

# A call of the Bot API for whoever brought the update to make; None when there is nothing to say.
Answer: TypeAlias = dict[str, Any] | None

# Keeps a done update beside its effect.
STORE_BESIDE = """
    INSERT INTO telegram_bot_incomingupdate (bot_id, update_id, digest, kind, body, status, done_at)
    SELECT bot_id, update_id, decode(digest, 'base64'), kind, decode(body, 'base64'), 'done', statement_timestamp()
    FROM effect, json_to_record(beside) AS brought (bot_id bigint, update_id bigint, digest text, kind text, body text)
    ON CONFLICT (bot_id, update_id, digest) DO UPDATE SET status = 'done', done_at = excluded.done_at
"""


class NotStored(Exception):
    """The database took nothing; Telegram must bring the update again, in `retry_after` seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(retry_after)
        self.retry_after = retry_after


def receive(body: bytes) -> Answer:
    """Store an update, once for the same bytes, and do what cannot wait.

    What it was and what became of it is bound to the lines of the log, for whoever brought it to tell.

    :raises NotStored: and then nothing happened at all
    """
    started = time.perf_counter()
    update = read_update(body)
    try:
        if isinstance(update, Unreadable):
            _quarantine(update, body)
            _ended("unreadable", "quarantined")
            return None
        bind_contextvars(update_id=update.update_id, telegram_user_id=update.telegram_user_id)
        if isinstance(update.content, PreCheckout):
            decision = decide_checkout(query=update.content, beside=_stored_beside(update, body))
            metrics.observe_precheck(ok=decision.ok, reason=decision.reason, seconds=time.perf_counter() - started)
            _ended(update.kind, "done")
            return checkout_answer(decision, language_code=update.content.language_code)
        if isinstance(update.content, ReceivedPayment) and _record_ordinary(update, update.content, body):
            metrics.observe_payment(seconds=time.perf_counter() - started)
            _ended(update.kind, "done")
            return None
        _ended(update.kind, _store_and_act(update, body))
    except Exception as error:
        logger.exception("update not stored")
        bind_contextvars(outcome="not stored")
        is_urgent = isinstance(update, Update) and isinstance(update.content, PreCheckout)
        raise NotStored(retry_after=1 if is_urgent else 5) from error
    return None


def _ended(kind: str, outcome: str) -> None:
    count_update(kind=kind, outcome=outcome)
    bind_contextvars(update=kind, outcome=outcome)


def _record_ordinary(update: Update, payment: ReceivedPayment, body: bytes) -> bool:
    """Row and effect in one statement. If it fails on a sound connection, the way that keeps the row is taken."""
    try:
        return record_ordinary_payment(payment, beside=_stored_beside(update, body)) is not None
    except (DatabaseError, NotDone):
        if is_broken():
            raise
        logger.exception("ordinary payment not recorded at once", update_id=update.update_id)
        return False


def _store_and_act(update: Update, body: bytes) -> str:
    """Returns what became of it: `done`, `failed`, `queued` for a worker, or `duplicate`."""
    if isinstance(update.content, ReceivedPayment | ReceivedRefund | UnreadableMoney):
        stored, _ = _stored(update, body)
        return _act(stored, update)  # again for a known one: it changes nothing, counts, and heals a failed try
    return _store_and_defer(update, body)


@retried
def _stored(update: Update, body: bytes) -> tuple[IncomingUpdate, bool]:
    """The row of these bytes; its kind is no part of the key, because one release may read what another could not."""
    row = _row(update, body)
    kept = {"kind": row.pop("kind"), "body": body, "status": UpdateStatus.PENDING}
    return IncomingUpdate.objects.get_or_create(**row, defaults=kept)


@retried
@transaction.atomic
def _store_and_defer(update: Update, body: bytes) -> str:
    stored, created = _stored(update, body)
    if not created:
        return "duplicate"
    if isinstance(update.content, Other):
        stored.mark_done(now=database_now())
        return "done"
    tasks.defer_processing(stored, update)
    return "queued"


def _act(stored: IncomingUpdate, update: Update) -> str:
    """The effect, in a transaction of its own: the row is committed before the customer is locked.

    The ordinary payment locks the customer first and its row last; to hold the row meanwhile would be a deadlock.
    If the effect fails the row is there, for the sweeper to try.
    """
    try:
        _take_effect(stored, update)
    except Exception as error:
        if is_broken():
            raise  # to the sweeper or to Telegram, whoever is first: the row waits for both
        logger.exception("update failed", update_id=update.update_id, kind=update.kind)
        now = database_now()
        if IncomingUpdate.objects.take_up(stored.pk, tried=stored.attempts, now=now):
            stored.attempts += 1
            stored.mark_failed(error=error, now=now)
        return "failed"
    return "done"


@retried
@transaction.atomic
def _take_effect(stored: IncomingUpdate, update: Update) -> None:
    processing.act(update, body=bytes(stored.body), received_at=stored.received_at)
    if stored.status != UpdateStatus.DONE:
        stored.mark_done(now=database_now())


def _stored_beside(update: Update, body: bytes) -> Beside:
    row = _row(update, body)
    return Beside(STORE_BESIDE, {**row, "digest": base64(row["digest"]), "body": base64(body)})


def checkout_answer(decision: Decision, *, language_code: str) -> dict[str, Any]:
    """The call that answers a checkout, the refusal in the buyer's words."""
    answer = {"method": "answerPreCheckoutQuery", "pre_checkout_query_id": decision.query_id, "ok": decision.ok}
    if not decision.ok:
        with translation.override(texts.language_of(language_code)):
            answer["error_message"] = texts.checkout_refused(decision.reason)
    return answer


@retried
def _quarantine(unreadable: Unreadable, body: bytes) -> None:
    """Keep what cannot be understood, and do not have it sent again: it will not be understood tomorrow either."""
    _, created = IncomingUpdate.objects.get_or_create(
        bot_id=settings.TELEGRAM_BOT_ID,
        update_id=unreadable.update_id,
        digest=hashlib.sha256(body).digest(),
        defaults={
            "kind": "unreadable",
            "body": body,
            "status": UpdateStatus.QUARANTINED,
            "error": unreadable.why,
        },
    )
    if created:
        logger.error("update not understood", update_id=unreadable.update_id, why=unreadable.why)


def _row(update: Update, body: bytes) -> dict[str, Any]:
    return {
        "bot_id": settings.TELEGRAM_BOT_ID,
        "update_id": update.update_id,
        "digest": hashlib.sha256(body).digest(),
        "kind": update.kind,
    }
