"""Counts for the metrics, so that a scrape need not sum history."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from payments.models.up_to import UpTo


class TallyResult(models.TextChoices):
    """The `result` of `telegram_payments_total`."""

    SENT = "sent", "invoice sent"
    SUCCESS = "success", "payment processed"
    FAILED = "failed", "update given up, or invoice refused"
    CANCELLED = "cancelled", "invoice expired unpaid"
    DUPLICATE = "duplicate", "known event delivered again"
    HELD = "held", "payment held"


class Tally(models.Model):
    """How many times a result was seen for a plan, and the money in it.

    `sent`, `success` and `held` cover what happened before `TallyUpTo.moment` and are recomputable from the books;
    the others are counted in the transaction that decides them.
    """

    result = models.CharField(max_length=9, choices=TallyResult)
    plan_code = models.CharField(max_length=50, blank=True, default="")
    currency = models.CharField(max_length=3, blank=True, default="")
    count = models.BigIntegerField(default=0)
    amount = models.BigIntegerField(default=0, help_text="Sum in the currency's smallest unit; 0 without a currency.")

    class Meta:
        constraints = [
            models.UniqueConstraint(name="tally_once", fields=["result", "plan_code", "currency"]),
        ]

    def __str__(self) -> str:
        return f"{self.result} {self.plan_code} {self.currency}".strip()


class TallyUpTo(UpTo):
    """Up to when the books have been summed into tallies."""

    class Meta:
        constraints = [models.CheckConstraint(name="tally_up_to_is_one_row", condition=Q(id=1))]
