"""What the checks of the books found, as they take their turns."""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.db.models import Q

MOST_TOLD = 20  # contradictions that are kept in words


class InvariantCheckQuerySet(models.QuerySet["InvariantCheck"]):
    def alarming(self) -> models.QuerySet[InvariantCheck]:
        return self.filter(differences__gt=0)

    def unfinished_since(self, moment: datetime) -> models.QuerySet[InvariantCheck]:
        """Those that began to look and did not come to an end since then."""
        return self.filter(Q(checked_at__lt=moment) | Q(checked_at=None, tried_at__isnull=False))


class InvariantCheck(models.Model):
    """One check and how far it has come. One that looks at customers in turns has a pass through all of them."""

    check_name = models.CharField(max_length=50, primary_key=True, verbose_name="check")
    differences = models.PositiveIntegerField(
        default=0, help_text="Of the last pass, or of this one where that is more; 0 again after a pass without any."
    )
    found = models.PositiveIntegerField(default=0, help_text="In this pass, so far.")
    position = models.BigIntegerField(default=0, help_text="The id of the last customer looked at in this pass.")
    detail = models.TextField(blank=True, default="", help_text="The first of them, in words.")
    tried_at = models.DateTimeField(
        null=True, help_text="When it last began to look, whether it came to an end or not."
    )
    checked_at = models.DateTimeField(null=True, help_text="When it last looked.")
    passed_at = models.DateTimeField(null=True, help_text="When it had last looked at everything.")
    seconds = models.FloatField(default=0, help_text="How long the last look took.")

    objects = InvariantCheckQuerySet.as_manager()

    class Meta:
        constraints = [models.CheckConstraint(name="invariant_check_named", condition=~Q(check_name=""))]

    def __str__(self) -> str:
        return self.check_name

    def mark_looked(self, *, found: list[str], position: int, now: datetime, seconds: float) -> None:
        """Keep what a look found; `position` 0: nothing is left to look at, and the next pass begins."""
        told = self.detail.split("\n") if self.found else []
        if new := [line for line in found if line not in told]:
            self.found += len(new)
            self.detail = "\n".join([*told, *new][:MOST_TOLD])
        self.differences = max(self.differences, self.found)
        self.tried_at = self.checked_at = now
        self.seconds, self.position = seconds, position
        if not position:
            self.differences, self.found, self.passed_at = self.found, 0, now
            self.detail = self.detail if self.differences else ""
        self.save()
