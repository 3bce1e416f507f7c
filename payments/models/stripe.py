"""What Stripe sends us and calls our customers, and the disputes of their banks."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Self

from django.db import models
from django.db.models import Min, Q
from django.db.models.functions import Now

from entitlements.models import Customer
from payments.models.ledger import PaymentEvent
from payments.models.up_to import UpTo
from payments.money import sum_in_words

# How long to wait before each further try: eight of them, then the event is given up.
PAUSES = [timedelta(minutes=minutes) for minutes in (1, 2, 5, 15, 30, 60, 120, 240)]


class StripeEventStatus(models.TextChoices):
    PENDING = "pending", "to be processed"
    DONE = "done", "done"
    FOREIGN = "foreign", "for another account or mode"
    QUARANTINED = "quarantined", "not understood"
    DEAD = "dead", "given up"
    DISMISSED = "dismissed", "dismissed by staff"


# Nothing more happens to these unless staff decide it.
UNDECIDED = (StripeEventStatus.DEAD, StripeEventStatus.QUARANTINED)


class StripeEventQuerySet(models.QuerySet["StripeEvent"]):
    def due_at(self, now: datetime) -> Self:
        return self.filter(status=StripeEventStatus.PENDING, next_attempt_at__lte=now).order_by("next_attempt_at", "pk")

    def undecided(self) -> Self:
        return self.filter(status__in=UNDECIDED)

    def oldest_due(self, now: datetime) -> datetime | None:
        """Since when the first of those due has waited."""
        oldest: datetime | None = self.due_at(now).aggregate(oldest=Min("next_attempt_at"))["oldest"]
        return oldest

    def take_up(self, pk: int, *, now: datetime) -> StripeEvent | None:
        """Count a try before it is made, so that one that kills its worker counts as well, and hide it from others.

        None when somebody else makes it, or when there is nothing left to do.
        """
        due = self.due_at(now).filter(pk=pk)
        event = due.select_for_update(skip_locked=True, no_key=True).first()
        if event is not None:
            event.attempts += 1
            event.next_attempt_at = now + PAUSES[min(event.attempts, len(PAUSES)) - 1]
            event.save(update_fields=["attempts", "next_attempt_at"])
        return event


class StripeEvent(models.Model):
    """One event as Stripe sent it, as bytes, stored before anything is done about it.

    It says what to look at; what is so is then read from Stripe. So neither its order nor its repetition matters.
    """

    event_id = models.TextField(unique=True, help_text="Stripe's; of what cannot be read, the digest of its bytes.")
    kind = models.CharField(max_length=100, help_text="Like checkout.session.completed; or unreadable.")
    about = models.TextField(blank=True, default="", help_text="The id of what it is about.")
    body = models.BinaryField(help_text="Blanked 90 days after it is done.")
    received_at = models.DateTimeField(db_default=Now())
    status = models.CharField(max_length=11, choices=StripeEventStatus)
    attempts = models.PositiveSmallIntegerField(default=0, db_default=0)
    next_attempt_at = models.DateTimeField(db_default=Now())
    error = models.TextField(blank=True, default="", db_default="")
    done_at = models.DateTimeField(null=True)

    objects = StripeEventQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="stripe_event_status", condition=Q(status__regex=rf"^({'|'.join(StripeEventStatus.values)})$")
            ),
            models.CheckConstraint(name="stripe_event_has_an_id", condition=~Q(event_id="")),
        ]
        indexes = [
            models.Index(
                name="stripe_event_pending", fields=["next_attempt_at"], condition=Q(status=StripeEventStatus.PENDING)
            ),
            models.Index(name="stripe_event_undecided", fields=["received_at"], condition=Q(status__in=UNDECIDED)),
            models.Index(name="stripe_event_by_receipt", fields=["received_at"]),
            models.Index(name="stripe_event_about", fields=["about"]),
        ]
        permissions = [("decide_stripeevent", "Can replay and dismiss events of Stripe")]

    def __str__(self) -> str:
        return f"{self.kind} {self.event_id}"

    def mark_done(self, *, now: datetime, note: str = "") -> None:
        """
        :param note: why nothing came of it
        """
        self.status, self.done_at, self.error = StripeEventStatus.DONE, now, note
        self.save(update_fields=["status", "done_at", "error"])

    def mark_failed(self, *, error: Exception, now: datetime) -> None:
        """Note why a try failed and when the next is due; after the last one it is given up, for staff to see.

        The try itself was counted before.
        """
        self.error = f"{type(error).__name__}: {error}"[:2000]
        if self.attempts > len(PAUSES):
            self.status = StripeEventStatus.DEAD
        else:
            asked_for = timedelta(seconds=getattr(error, "retry_after", 0))
            self.next_attempt_at = now + max(PAUSES[self.attempts - 1], asked_for)
        self.save(update_fields=["error", "status", "next_attempt_at"])

    def mark_to_be_tried(self, *, now: datetime) -> None:
        """Begin anew, as if it had just come."""
        self.status, self.attempts, self.next_attempt_at = StripeEventStatus.PENDING, 0, now
        self.save(update_fields=["status", "attempts", "next_attempt_at"])

    def mark_dismissed(self, *, now: datetime) -> None:
        """Nothing will come of it."""
        self.status, self.done_at = StripeEventStatus.DISMISSED, now
        self.save(update_fields=["status", "done_at"])


class StripeReadUpTo(UpTo):
    """Up to when Stripe's own list of events has been compared with what arrived."""

    objects: models.Manager[StripeReadUpTo] = models.Manager()

    class Meta:
        constraints = [models.CheckConstraint(name="stripe_read_up_to_is_one_row", condition=Q(id=1))]


class StripeCustomer(models.Model):
    """What Stripe calls a customer of ours: his cards and subscriptions are kept there under this name."""

    customer = models.OneToOneField(Customer, on_delete=models.PROTECT, primary_key=True, related_name="stripe")
    stripe_id = models.TextField(unique=True)
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.stripe_id


class DisputeQuerySet(models.QuerySet["Dispute"]):
    def open(self) -> Self:
        return self.filter(closed_at__isnull=True)


class Dispute(models.Model):
    """A bank wants a payment back for its cardholder, as Stripe last told it. Evidence is given in its dashboard."""

    dispute_id = models.TextField(primary_key=True)
    payment = models.ForeignKey(PaymentEvent, on_delete=models.PROTECT, related_name="disputes")
    amount = models.BigIntegerField(help_text="In the currency's smallest unit.")
    currency = models.CharField(max_length=3)
    reason = models.CharField(max_length=100, help_text="In Stripe's word, like fraudulent.")
    status = models.CharField(max_length=50, help_text="In Stripe's word, like needs_response or lost.")
    opened_at = models.DateTimeField()
    evidence_due_at = models.DateTimeField(null=True, help_text="Until then the bank hears our side.")
    closed_at = models.DateTimeField(null=True, help_text="When we learnt that it is won or lost.")
    updated_at = models.DateTimeField(db_default=Now())

    objects = DisputeQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(name="dispute_amount_not_negative", condition=Q(amount__gte=0)),
            models.CheckConstraint(name="dispute_currency", condition=Q(currency__regex=r"^[A-Z]{3}$")),
        ]
        indexes = [models.Index(name="dispute_open", fields=["opened_at"], condition=Q(closed_at__isnull=True))]

    def __str__(self) -> str:
        return f"{sum_in_words(self.amount, self.currency)} disputed: {self.why}, {self.standing}"

    @property
    def why(self) -> str:
        return self.reason.replace("_", " ")

    @property
    def standing(self) -> str:
        return self.status.replace("_", " ")
