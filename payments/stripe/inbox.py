"""What the clock and staff do with the inbox of events: another try, nothing, or forgetting what was done long ago."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import transaction

from config.database import database_now, retried
from payments.dead_letters import DeadLetterError, decided
from payments.models import StripeEvent
from payments.models.letters import PAUSES, WorkerDied
from payments.stripe.processing import LOOKS
from payments.stripe.receiving import defer

if TYPE_CHECKING:
    from django.contrib.auth.models import User

PERMISSION = "payments.decide_stripeevent"
REPLAYED, DISMISSED = "replayed an event of Stripe", "dismissed an event of Stripe"
BATCH = 100
# The sweep leaves to its own job what became due only now.
PATIENCE = timedelta(minutes=1)
KEPT = timedelta(days=90)


class SpeaksOfMoney(DeadLetterError):
    """It may not be dismissed; the message says why, fit for staff."""

    def __init__(self) -> None:
        super().__init__(
            "It may be about money that is not in the books, so it cannot be dismissed. Replay it; if it fails again, "
            "mend what its error names and replay it then."
        )


# --- By the clock -----------------------------------------------------------------------------------------------------


@transaction.atomic
def sweep() -> int:
    """Hand to the workers what has been due for a while: a try failed, or its job was lost. Returns how many."""
    now = database_now()
    due = list(StripeEvent.objects.due_at(now - PATIENCE).select_for_update(skip_locked=True, no_key=True)[:BATCH])
    for event in due:
        if event.attempts > len(PAUSES):
            event.mark_failed(error=WorkerDied(WorkerDied.__doc__), now=now)
        else:
            defer(event)
    return len(due)


def blank_old_bodies() -> int:
    """Empty the bodies of events that were done 90 days ago; the rows stay. Returns how many were emptied."""
    old = StripeEvent.objects.filter(done_at__lt=database_now() - KEPT).exclude(body=b"")
    return StripeEvent.objects.filter(pk__in=old.values("pk")[:10_000]).update(body=b"")


# --- By staff ---------------------------------------------------------------------------------------------------------


@retried
@transaction.atomic
def replay(*, event: StripeEvent, staff: User, reason: str) -> StripeEvent:
    """Have it processed as if it had just come, with all its tries. Doing it twice is refused the second time.

    :raises PermissionDenied: this person may not
    :raises audit.ReasonMissing: no reason is given
    :raises DeadLetterError: there is nothing to decide
    """
    with decided(event, REPLAYED, permission=PERMISSION, staff=staff, reason=reason) as stored:
        stored.mark_to_be_tried(kind=stored.kind, at=database_now())
        defer(stored)
    return stored


@retried
@transaction.atomic
def dismiss(*, event: StripeEvent, staff: User, reason: str) -> StripeEvent:
    """Leave it at that: nothing comes of it, and nobody needs to look again.

    :raises PermissionDenied: this person may not
    :raises audit.ReasonMissing: no reason is given
    :raises DeadLetterError: there is nothing to decide, or it is one of those that we act upon
    """
    with decided(event, DISMISSED, permission=PERMISSION, staff=staff, reason=reason) as stored:
        if stored.kind in LOOKS:
            raise SpeaksOfMoney
        stored.mark_dismissed(now=database_now())
    return stored
