"""What a stored update makes happen, whether at once or at a later try."""

from __future__ import annotations

from datetime import datetime

import structlog
from django.db import transaction
from structlog.contextvars import bind_contextvars

from config.database import database_now
from payments import metrics
from payments.checkout import PreCheckout
from payments.money import Money
from payments.recording import (
    Outcome,
    ReceivedPayment,
    ReceivedRefund,
    Recorded,
    hold_unreadable,
    record_payment,
    record_refund,
)
from payments.subscriptions import note_state
from telegram_bot import handlers
from telegram_bot.models import IncomingUpdate, UpdateStatus
from telegram_bot.updates import Other, SubscriptionChange, Unreadable, UnreadableMoney, Update, read_update

logger = structlog.get_logger(__name__)


def act(update: Update, *, body: bytes, received_at: datetime) -> None:
    """Do what the update asks for. Every part of it may be repeated."""
    match update.content:
        case ReceivedPayment() as payment:
            recorded = record_payment(payment)
            _tell_of_money(recorded, payment.money)
            if recorded.outcome == Outcome.PROCESSED:
                metrics.observe_payment(seconds=(database_now() - received_at).total_seconds())
        case ReceivedRefund() as refund:
            _tell_of_money(record_refund(refund), refund.money)
        case UnreadableMoney(detail):
            hold_unreadable(evidence=body, detail=detail)
        case SubscriptionChange() as change:
            note_state(payer=change.subscriber.id, reference=change.payload, state=change.state, at=received_at)
        case PreCheckout() | Other():
            pass  # a query is answered when it comes or not at all
        case content:
            handlers.handle(content)


def _tell_of_money(recorded: Recorded, money: Money | None) -> None:
    """Bind what became of it to the lines of the log."""
    bind_contextvars(
        recorded=recorded.outcome.value,
        plan_code=recorded.event.plan_id if recorded.event else None,
        amount=money.amount if money else None,
        currency=money.currency if money else None,
    )


def process_update(pk: int, *, tried: int, quickly: bool = False) -> None:
    """Make the try after `tried` others of a stored update; whatever is no longer to be done is left alone.

    A failure is written down with the time of the next try, and raised for whoever runs this to see.

    :param quickly: once more within the same try, because Telegram asked for a moment's patience
    """
    stored = IncomingUpdate.objects.get(pk=pk)
    if stored.status != UpdateStatus.PENDING:
        return
    body = bytes(stored.body)
    update = read_update(body)
    bind_contextvars(update_id=stored.update_id, update=stored.kind)
    if isinstance(update, Unreadable):  # it was read when it was stored, by another release
        stored.mark_quarantined(why=update.why)
        return
    bind_contextvars(telegram_user_id=update.telegram_user_id)
    if quickly:
        if stored.attempts != tried + 1:
            return
    elif not IncomingUpdate.objects.take_up(pk, tried=tried, now=database_now()):
        return
    stored.attempts = tried + 1
    try:
        act(update, body=body, received_at=stored.received_at)
    except Exception as error:
        with transaction.atomic():
            stored.mark_failed(error=error, now=database_now())
        raise
    stored.mark_done(now=database_now())
