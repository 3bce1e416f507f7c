"""What staff decide about updates that nothing more happens to by itself: another chance, or nothing.

Money is never dismissed. A report of it that can be read has to be in the books first; one that cannot be read becomes
a held payment, for whoever decides about money to look into.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import transaction

from config.database import database_now, retried
from payments.dead_letters import DeadLetterError, decided
from payments.recording import ReceivedPayment, ReceivedRefund, hold_unreadable, is_held, is_recorded
from telegram_bot import tasks
from telegram_bot.models import IncomingUpdate
from telegram_bot.updates import Unreadable, UnreadableMoney, read_update

if TYPE_CHECKING:
    from django.contrib.auth.models import User

PERMISSION = "telegram_bot.decide_incomingupdate"
MOST_AT_ONCE = 100
REPLAYED, DISMISSED = "replayed an update", "dismissed an update"
SPEAKS_OF_MONEY = (b"successful_payment", b"refunded_payment")


class StillUnreadable(DeadLetterError):
    """This release does not understand it either."""


class MoneyNotRecorded(DeadLetterError):
    """It says that money moved, and the books do not know."""

    def __init__(self) -> None:
        super().__init__(
            "It reports money that is not in the books, so it cannot be dismissed. Replay it; if it fails again, mend "
            "what its error names and replay it then."
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one of several; `refusal` is empty when it will be tried again."""

    update: IncomingUpdate
    refusal: str = ""


@retried
@transaction.atomic
def replay_update(*, update: IncomingUpdate, staff: User, reason: str) -> IncomingUpdate:
    """Have it processed as if it had just come, with all its tries. Doing it twice is refused the second time.

    :raises PermissionDenied: this person may not
    :raises audit.ReasonMissing: no reason is given
    :raises DeadLetterError: a subclass for each reason
    """
    with decided(update, REPLAYED, permission=PERMISSION, staff=staff, reason=reason) as stored:
        understood = read_update(bytes(stored.body))
        if isinstance(understood, Unreadable):
            message = f"This release does not understand it either: {understood.why}."
            raise StillUnreadable(message)
        stored.mark_to_be_tried(kind=understood.kind, at=database_now() + tasks.LEASE)
        tasks.defer_processing(stored, understood)
    return stored


@retried
@transaction.atomic
def dismiss_update(*, update: IncomingUpdate, staff: User, reason: str) -> IncomingUpdate:
    """Leave it at that: nothing comes of it, and nobody needs to look again.

    :raises PermissionDenied: this person may not
    :raises audit.ReasonMissing: no reason is given
    :raises DeadLetterError: a subclass for each reason
    """
    with decided(update, DISMISSED, permission=PERMISSION, staff=staff, reason=reason) as stored:
        if holds_unrecorded_money(stored):
            raise MoneyNotRecorded
        if may_hide_money(stored):
            detail = f"An update dismissed by {staff.get_username()}: {reason.strip()}"
            hold_unreadable(evidence=bytes(stored.body), detail=detail)
        stored.mark_dismissed(now=database_now())
    return stored


def replay_each(*, updates: Iterable[IncomingUpdate], staff: User, reason: str) -> list[Answer]:
    """Replay several, oldest first so that those of one chat keep their order; what cannot be is left as it is.

    :raises PermissionDenied: this person may not
    :raises audit.ReasonMissing: no reason is given
    """
    answers = []
    for update in sorted(updates, key=lambda update: update.pk)[:MOST_AT_ONCE]:
        try:
            answers.append(Answer(replay_update(update=update, staff=staff, reason=reason)))
        except DeadLetterError as refusal:
            answers.append(Answer(update, str(refusal)))
    return answers


def holds_unrecorded_money(update: IncomingUpdate) -> bool:
    """Whether it can be read as a report of money that the books do not have."""
    understood = read_update(bytes(update.body))
    if isinstance(understood, Unreadable):
        return False
    match understood.content:
        case ReceivedPayment() | ReceivedRefund() as report:
            return not is_recorded(report)
        case UnreadableMoney():
            return not is_held(bytes(update.body))
    return False


def may_hide_money(update: IncomingUpdate) -> bool:
    """Whether it cannot be read, and has words of a payment in it."""
    body = bytes(update.body)
    return isinstance(read_update(body), Unreadable) and any(word in body for word in SPEAKS_OF_MONEY)
