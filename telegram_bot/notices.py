"""The outbox drained: the messages owed to buyers, sent at the pace Telegram allows.

A notice is leased, sent with no transaction open, then marked. A crash between the last two repeats the message once
the lease is over: a buyer who reads twice that he has paid loses nothing, one who never reads it writes to support.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import timedelta

import structlog
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now
from telegram import InlineKeyboardMarkup

from config.database import database_now
from entitlements.models import Entitlement, Grant
from entitlements.periods import Access
from payments import reminding
from payments.channels.base import ChannelError, Refused, Unavailable
from payments.models import HoldReason, Notice, NoticeKind, PaymentEvent, SubscriptionState
from payments.subscriptions import is_of_subscription
from telegram_bot import keyboards, texts
from telegram_bot.gateway import gateway

logger = structlog.get_logger(__name__)

PER_SECOND = 25  # Telegram takes about 30 from a bot; several workers share them by obeying its 429
SENDERS = 8  # how many wait for Telegram's answers at once, so that a slow network does not slow the pace
BATCH = 25
LEASE = 45  # seconds; a whole batch that times out takes half a minute, and a dead worker's waits for all of it
LOOK_EVERY, REST_AFTER_FAILURE = 0.25, 5.0  # seconds
LONGEST_PAUSE = timedelta(hours=1)
MOST_ATTEMPTS = 24  # pauses of 2, 4, 8 … seconds, then hourly: about half a day

# Takes the notices that are due out of the sight of every other worker, in one statement. Those of a chat that Telegram
# wants left alone for a while are not due before the one is that it was said about.
TAKE = """
    WITH due AS MATERIALIZED (
        SELECT notice.id
        FROM payments_notice AS notice JOIN payments_paymentevent AS event ON event.id = notice.event_id
        WHERE notice.sent_at IS NULL AND notice.given_up_at IS NULL AND notice.next_attempt_at <= clock_timestamp()
          AND NOT EXISTS (
            SELECT
            FROM payments_paymentevent AS another JOIN payments_notice AS waiting ON waiting.event_id = another.id
            WHERE another.customer_id = event.customer_id
              AND waiting.sent_at IS NULL AND waiting.given_up_at IS NULL
              AND waiting.next_attempt_at > clock_timestamp() AND starts_with(waiting.error, %(not_now)s))
        ORDER BY notice.next_attempt_at, notice.id LIMIT %(batch)s FOR UPDATE OF notice SKIP LOCKED
    )
    UPDATE payments_notice AS notice
    SET next_attempt_at = clock_timestamp() + make_interval(secs => %(lease)s), attempts = notice.attempts + 1
    FROM due WHERE notice.id = due.id
    RETURNING notice.id
"""


class Pace:
    """Lets its callers through no faster than so many a second."""

    def __init__(self, per_second: int) -> None:
        self._between, self._next = 1 / per_second, 0.0

    def keep(self) -> None:
        now = time.monotonic()
        time.sleep(max(0.0, self._next - now))
        self._next = max(now, self._next) + self._between


def drain(stop: threading.Event) -> None:
    """Send what is owed until `stop` is set: the life of a thread in each worker."""
    with ThreadPoolExecutor(SENDERS, thread_name_prefix="notices") as senders:
        outbox = Outbox(Pace(PER_SECOND), senders)
        while not stop.is_set():
            try:
                rest = outbox.send_due()
            except Exception:
                # This thread must outlive whatever happens to the database; what it had leased comes back by itself.
                logger.exception("notices not sent")
                connection.close()
                rest = REST_AFTER_FAILURE
            stop.wait(rest)
    connection.close()


class Outbox:
    """What one worker sends. It remembers what it could not mark, so that a database that was away for less than the
    lease makes nobody read a message twice."""

    def __init__(self, pace: Pace, senders: Executor) -> None:
        self._pace, self._senders = pace, senders
        self._sending: dict[Future[int], Notice] = {}

    def send_due(self) -> float:
        """Send one batch of what is due, and return for how many seconds to rest before the next."""
        self._mark(as_completed(list(self._sending)))
        notices = _take()
        asked_to_wait: dict[int, int] = {}
        for number, notice in enumerate(notices):
            # A single chat may have reached a limit of its own; several mean that the bot has.
            if len(asked_to_wait) > 1:
                _put_back(notices[number:])
                break
            if notice.event.customer_id in asked_to_wait:
                _put_back([notice])
                continue
            chat_id = notice.event.customer.telegram_user_id
            if chat_id is None:
                _give_up(notice, "the customer has no Telegram account that we know of")
                continue
            try:
                message = compose(notice)
            except Exception as error:
                _settle(notice, error)
                continue
            if message is None:
                _give_up(notice, "it is no longer so")
                continue
            self._pace.keep()
            sending = self._senders.submit(
                gateway.send_message, chat_id=chat_id, text=message.text, keyboard=message.keyboard
            )
            self._sending[sending] = notice
            asked_to_wait |= self._mark([sent for sent in self._sending if sent.done()])

        for sent in as_completed(list(self._sending)):
            asked_to_wait |= self._mark([sent])
            if len(asked_to_wait) > 1:
                self._withdraw()
        if len(asked_to_wait) > 1:
            return max(asked_to_wait.values())
        return 0 if len(notices) == BATCH else LOOK_EVERY

    def _mark(self, answered: Iterable[Future[int]]) -> dict[int, int]:
        """Write down what became of them, and return the pauses that Telegram asked for, in seconds by customer."""
        pauses = {}
        for sent in answered:
            if sent not in self._sending:  # it was withdrawn
                continue
            failure, notice = sent.exception(), self._sending[sent]
            _settle(notice, failure)
            del self._sending[sent]
            if isinstance(failure, Unavailable):
                pauses[notice.event.customer_id] = failure.retry_after
        return pauses

    def _withdraw(self) -> None:
        """Take back what waits for a sender."""
        _put_back([self._sending.pop(sent) for sent in list(self._sending) if sent.cancel()])


def _take() -> list[Notice]:
    with connection.cursor() as cursor:
        cursor.execute(TAKE, {"lease": LEASE, "batch": BATCH, "not_now": Unavailable.words})
        taken = [pk for (pk,) in cursor.fetchall()]
    if not taken:
        return []
    told_of = (
        "event__customer",
        "event__plan",
        "event__hold",
        "event__refund_of",
        "event__subscription_payment__subscription__plan",
    )
    return list(Notice.objects.filter(pk__in=taken).select_related(*told_of).order_by("pk"))


def _put_back(notices: Iterable[Notice]) -> None:
    """They were taken and not tried. Another worker may take them, and hear for itself that it should wait."""
    untried = Notice.objects.filter(pk__in=[notice.pk for notice in notices])
    untried.update(next_attempt_at=Now(), attempts=F("attempts") - 1)


def _settle(notice: Notice, error: BaseException | None) -> None:
    """Write down what became of it. One notice that always fails must not keep the others from being marked."""
    match error:
        case None:
            # One that a refund withdrew while it was on its way was sent all the same.
            Notice.objects.filter(pk=notice.pk).update(sent_at=Now(), given_up_at=None, error="")
            logger.info("notice sent", kind=notice.kind, payment_id=str(notice.event_id))
        case Refused(description=description):
            _give_up(notice, description)
        case _ if notice.attempts < MOST_ATTEMPTS:
            _put_off(notice, error)
        case _:
            _give_up(notice, str(error))


def _put_off(notice: Notice, error: BaseException) -> None:
    pause = min(timedelta(seconds=2**notice.attempts), LONGEST_PAUSE)
    if isinstance(error, Unavailable):
        pause = max(pause, timedelta(seconds=error.retry_after))
    Notice.objects.filter(pk=notice.pk).update(next_attempt_at=Now() + pause, error=str(error))
    unexpected = None if isinstance(error, ChannelError) else error
    logger.warning(
        "notice put off", kind=notice.kind, payment_id=str(notice.event_id), why=str(error), exc_info=unexpected
    )


def _give_up(notice: Notice, why: str) -> None:
    Notice.objects.filter(pk=notice.pk).update(given_up_at=Now(), error=why)
    logger.warning("notice given up", kind=notice.kind, payment_id=str(notice.event_id), why=why)


# --- What they say --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Message:
    text: str
    keyboard: InlineKeyboardMarkup | None = None


def compose(notice: Notice) -> Message | None:
    """The message in the customer's language, true at this moment; None when there is nothing to say any more."""
    event = notice.event
    with texts.speaking(event.customer.language_code):
        match notice.kind:
            case NoticeKind.PAYMENT_CONFIRMED:
                confirmed = texts.payment_confirmed(title=_title(event), money=event.money)
                return Message("\n\n".join([confirmed, *(_renewal_by(event) or _access_by(event))]))
            case NoticeKind.PAYMENT_HELD:
                return Message(
                    texts.payment_held(
                        money=event.money, reason=HoldReason(event.hold.reason), payment_id=str(event.pk)
                    )
                )
            case NoticeKind.REFUNDED:
                returned = texts.payment_returned(title=_title(event), money=event.money)
                return Message("\n\n".join([returned, *_access_by(event.refund_of or event)]))
            case NoticeKind.REFUND_FAILED:
                payment_id = str(event.refund_of_id)
                return Message(texts.refund_failed(title=_title(event), money=event.money, payment_id=payment_id))
            case _:
                return _reminder(notice)


def _reminder(notice: Notice) -> Message | None:
    """Of a subscription, with a way to have no more of them; None when it has been renewed or changed since."""
    subscription = notice.event.subscription_payment.subscription
    if not reminding.is_so(notice, subscription, now=database_now()):
        return None
    return Message(texts.subscription_reminder(subscription), keyboards.no_reminders())


def _title(event: PaymentEvent) -> str:
    return event.plan.title if event.plan else ""


def _renewal_by(payment: PaymentEvent) -> list[str]:
    """How the subscription stands that it was paid for, if it was for one that has not ended."""
    if not is_of_subscription(payment):
        return []
    subscription = payment.subscription_payment.subscription
    return [texts.subscription(subscription)] if subscription.state != SubscriptionState.ENDED else []


def _access_by(payment: PaymentEvent) -> list[str]:
    """What the customer has now of that which the payment gave; nothing when it gave nothing."""
    given = Grant.objects.filter(source=payment.source).values("entitlement")
    held = Entitlement.objects.filter(customer=payment.customer_id, code__in=given)
    return [
        texts.access_now(active=Access(ends_at).active_at(now), ends_at=ends_at)
        for ends_at, now in held.values_list("active_until", Now())
    ]
