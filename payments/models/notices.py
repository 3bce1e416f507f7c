"""The outbox: messages owed to buyers because of an event."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from django.db import models
from django.db.models import Min, Q
from django.db.models.functions import Now

from entitlements.models import Customer
from payments.models.ledger import PaymentEvent


class NoticeKind(models.TextChoices):
    PAYMENT_CONFIRMED = "payment_confirmed", "payment received, access given"
    PAYMENT_HELD = "payment_held", "payment received, being looked at"
    REFUNDED = "refunded", "payment given back"
    REFUND_FAILED = "refund_failed", "payment given back did not arrive"
    SUBSCRIPTION_ENDING = "subscription_ending", "subscription soon renewed or over"
    SUBSCRIPTION_FAILED = "subscription_failed", "renewal of the subscription not paid"
    SUBSCRIPTION_ENDED = "subscription_ended", "subscription over"


# What nobody needs to know, and everybody may do without.
REMINDERS = (NoticeKind.SUBSCRIPTION_ENDING, NoticeKind.SUBSCRIPTION_FAILED, NoticeKind.SUBSCRIPTION_ENDED)


class NoticeQuerySet(models.QuerySet["Notice"]):
    def owed(self) -> Self:
        return self.filter(sent_at__isnull=True, given_up_at__isnull=True)

    def oldest_owed(self) -> datetime | None:
        """Since when the first of those owed has waited."""
        oldest: datetime | None = self.owed().aggregate(oldest=Min("created_at"))["oldest"]
        return oldest


class Notice(models.Model):
    """One message owed for one event; written with it, rendered and sent by telegram_bot, sent once."""

    kind = models.CharField(max_length=20, choices=NoticeKind)
    event = models.ForeignKey(PaymentEvent, on_delete=models.PROTECT, related_name="notices", db_index=False)
    created_at = models.DateTimeField(db_default=Now())
    next_attempt_at = models.DateTimeField(db_default=Now())
    attempts = models.PositiveSmallIntegerField(default=0, db_default=0)
    sent_at = models.DateTimeField(null=True)
    given_up_at = models.DateTimeField(null=True, help_text="Set when it can never be sent, as to one who left.")
    error = models.TextField(blank=True, default="", db_default="")

    objects = NoticeQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(name="notice_once", fields=["event", "kind"])]
        indexes = [
            models.Index(
                name="notice_owed",
                fields=["next_attempt_at"],
                condition=Q(sent_at__isnull=True, given_up_at__isnull=True),
            ),
            models.Index(name="notice_given_up", fields=["id"], condition=Q(given_up_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return self.get_kind_display()


class WithoutReminders(models.Model):
    """That a customer wants to read no reminders."""

    customer = models.OneToOneField(Customer, on_delete=models.PROTECT, primary_key=True, related_name="no_reminders")
    since = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name_plural = "customers without reminders"

    def __str__(self) -> str:
        return f"{self.customer} since {self.since:%Y-%m-%d}"
