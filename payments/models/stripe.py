"""What Stripe sends us and calls our customers, and the disputes of their banks."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from entitlements.models import Customer
from payments.models.ledger import PaymentEvent
from payments.models.letters import PAUSES, UNDECIDED, Letter, LetterQuerySet
from payments.models.up_to import UpTo
from payments.money import sum_in_words


class StripeEventStatus(models.TextChoices):
    PENDING = "pending", "to be processed"
    DONE = "done", "done"
    FOREIGN = "foreign", "for another account or mode"
    QUARANTINED = "quarantined", "not understood"
    DEAD = "dead", "given up"
    DISMISSED = "dismissed", "dismissed by staff"


class StripeEventQuerySet(LetterQuerySet["StripeEvent"]):
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


class StripeEvent(Letter):
    """One event as Stripe sent it, as bytes, stored before anything is done about it.

    It says what to look at; what is so is then read from Stripe. So neither its order nor its repetition matters.
    """

    event_id = models.TextField(unique=True, help_text="Stripe's; of what cannot be read, the digest of its bytes.")
    kind = models.CharField(max_length=100, help_text="Like checkout.session.completed; or unreadable.")
    about = models.TextField(blank=True, default="", help_text="The id of what it is about.")
    status = models.CharField(max_length=11, choices=StripeEventStatus)

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
