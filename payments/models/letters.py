"""What comes from outside is kept as bytes before anything is done about it, then tried, and given up in the end."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Self, TypeVar

from django.db import models
from django.db.models import Min
from django.db.models.functions import Now

# Those of every kind of letter; it may have others besides.
PENDING, DONE, QUARANTINED, DEAD, DISMISSED = "pending", "done", "quarantined", "dead", "dismissed"
# Nothing more happens to these unless staff decide it.
UNDECIDED = (DEAD, QUARANTINED)
# How long to wait before each further try: eight of them, then it is given up.
PAUSES = [timedelta(minutes=minutes) for minutes in (1, 2, 5, 15, 30, 60, 120, 240)]

Kind = TypeVar("Kind", bound="Letter")


class WorkerDied(Exception):
    """Each worker that took it up has not been heard of since."""


class LetterQuerySet(models.QuerySet[Kind]):
    def due_at(self, now: datetime) -> Self:
        return self.filter(status=PENDING, next_attempt_at__lte=now).order_by("next_attempt_at", "pk")

    def oldest_due(self, now: datetime) -> datetime | None:
        """Since when the first of those due has waited."""
        oldest: datetime | None = self.due_at(now).aggregate(oldest=Min("next_attempt_at"))["oldest"]
        return oldest

    def undecided(self) -> Self:
        return self.filter(status__in=UNDECIDED)


class Letter(models.Model):
    """One of them, whatever it is and whoever sent it."""

    kind = models.CharField(max_length=100)
    body = models.BinaryField(help_text="Blanked 90 days after it is done.")
    received_at = models.DateTimeField(db_default=Now())
    status = models.CharField(max_length=11)
    attempts = models.PositiveSmallIntegerField(default=0, db_default=0)
    next_attempt_at = models.DateTimeField(db_default=Now())
    error = models.TextField(blank=True, default="", db_default="")
    done_at = models.DateTimeField(null=True)

    class Meta:
        abstract = True

    def mark_done(self, *, now: datetime, note: str = "") -> None:
        """
        :param note: why nothing came of it
        """
        self.status, self.done_at, self.error = DONE, now, note
        self.save(update_fields=["status", "done_at", "error"])

    def mark_quarantined(self, *, why: str) -> None:
        self.status, self.error = QUARANTINED, why
        self.save(update_fields=["status", "error"])

    def mark_failed(self, *, error: Exception, now: datetime) -> None:
        """Note why a try failed and when the next is due; after the last one it is given up, for staff to see.

        The try itself was counted before.
        """
        self.error = f"{type(error).__name__}: {error}"[:2000]
        if self.attempts > len(PAUSES):
            self.status = DEAD
        else:
            asked_for = timedelta(seconds=getattr(error, "retry_after", 0))
            self.next_attempt_at = now + max(PAUSES[self.attempts - 1], asked_for)
        self.save(update_fields=["error", "status", "next_attempt_at"])

    def mark_to_be_tried(self, *, kind: str, at: datetime) -> None:
        """Begin anew, as if it had just come.

        :param kind: as this release reads it
        """
        self.status, self.attempts, self.kind, self.next_attempt_at = PENDING, 0, kind, at
        self.save(update_fields=["status", "attempts", "kind", "next_attempt_at"])

    def mark_dismissed(self, *, now: datetime) -> None:
        """Nothing will come of it. Its body is kept as long as that of a done one."""
        self.status, self.done_at = DISMISSED, now
        self.save(update_fields=["status", "done_at"])
