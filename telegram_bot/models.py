"""The inbox of updates."""

from __future__ import annotations

from datetime import datetime

from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import Q

from payments import tallies
from payments.models import TallyResult
from payments.models.letters import PAUSES, Letter, LetterQuerySet


class UpdateStatus(models.TextChoices):
    PENDING = "pending", "to be processed"
    DONE = "done", "done"
    QUARANTINED = "quarantined", "not understood"
    DEAD = "dead", "given up"
    DISMISSED = "dismissed", "dismissed by staff"


class IncomingUpdateQuerySet(LetterQuerySet["IncomingUpdate"]):
    def take_up(self, pk: int, *, tried: int, now: datetime) -> bool:
        """Count the try after `tried` others before it is made, so that one that kills its worker counts as well.

        False when somebody else makes it, or has made it, or when there is nothing left to do.
        """
        pause = PAUSES[min(tried, len(PAUSES) - 1)]
        pending = self.filter(pk=pk, status=UpdateStatus.PENDING, attempts=tried)
        return pending.update(attempts=tried + 1, next_attempt_at=now + pause) == 1


class IncomingUpdate(Letter):
    """One update as Telegram sent it, as bytes, stored before anything is done about it.

    Telegram re-randomises its ids after a week of silence, so another body under a known id is another update.
    """

    bot_id = models.BigIntegerField()
    update_id = models.BigIntegerField(null=True, help_text="Empty when the body could not be read.")
    digest = models.BinaryField(max_length=32, help_text="SHA-256 of the body.")
    kind = models.CharField(max_length=30, help_text="The name of the update's field, like message; or unreadable.")
    status = models.CharField(max_length=11, choices=UpdateStatus)

    objects = IncomingUpdateQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(name="update_once", fields=["bot_id", "update_id", "digest"]),
            models.UniqueConstraint(
                name="unreadable_update_once", fields=["bot_id", "digest"], condition=Q(update_id__isnull=True)
            ),
            models.CheckConstraint(
                name="update_status", condition=Q(status__regex=rf"^({'|'.join(UpdateStatus.values)})$")
            ),
        ]
        indexes = [
            models.Index(name="update_pending", fields=["next_attempt_at"], condition=Q(status=UpdateStatus.PENDING)),
            # For the story of a payment; a few pages, whatever the size of the table, and next to nothing to write.
            BrinIndex(name="update_by_receipt", fields=["received_at"], autosummarize=True),
            models.Index(name="update_dead", fields=["received_at"], condition=Q(status=UpdateStatus.DEAD)),
            models.Index(
                name="update_quarantined", fields=["received_at"], condition=Q(status=UpdateStatus.QUARANTINED)
            ),
            models.Index(name="update_dismissed", fields=["received_at"], condition=Q(status=UpdateStatus.DISMISSED)),
        ]
        permissions = [("decide_incomingupdate", "Can replay and dismiss updates")]

    def __str__(self) -> str:
        return f"{self.kind} {self.update_id}"

    def mark_failed(self, *, error: Exception, now: datetime) -> None:
        """Count it among what failed, too, when it is given up."""
        super().mark_failed(error=error, now=now)
        if self.status == UpdateStatus.DEAD:
            tallies.count(TallyResult.FAILED, plan_code="")


class WebhookState(models.Model):
    """The one row of what Telegram last said about delivering to us."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    pending = models.PositiveIntegerField(help_text="Updates that wait at Telegram.")
    last_error_at = models.DateTimeField(null=True, help_text="When a delivery failed last.")
    looked_at = models.DateTimeField()

    objects: models.Manager[WebhookState] = models.Manager()

    def __str__(self) -> str:
        return f"{self.pending} waiting at Telegram"

    @classmethod
    def keep(cls, *, pending: int, last_error_at: datetime | None, now: datetime) -> None:
        values = {"pending": pending, "last_error_at": last_error_at, "looked_at": now}
        cls.objects.update_or_create(id=1, defaults=values)
