"""The intent to give a payment back, which outlives the process that acts upon it, and Telegram's own list of Stars."""

from __future__ import annotations

from datetime import datetime
from typing import Self
from uuid import UUID

import pgtrigger
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Cast, Coalesce, Now
from django.db.models.lookups import Exact

from payments.identifiers import uuid7
from payments.models.ledger import PaymentEvent
from payments.money import NANOSTARS, Money


class RefundStatus(models.TextChoices):
    PROPOSED = "proposed", "waiting for a second person"
    REQUESTED = "requested", "asked for, not sent"
    SENDING = "sending", "being sent"
    VERIFY = "verify", "sent, not confirmed yet"
    CONFIRMED = "confirmed", "given back"
    REFUSED = "refused", "refused by the channel"
    DECLINED = "declined", "declined by staff"


TRANSITIONS = (
    ("proposed", "requested"),  # by a second person
    ("proposed", "declined"),
    ("requested", "sending"),
    ("sending", "requested"),  # it certainly was not done, and may be tried again
    ("sending", "verify"),
    ("verify", "sending"),
    ("verify", "refused"),
    # Whoever brings the news that it was given back, it is so.
    ("proposed", "confirmed"),
    ("requested", "confirmed"),
    ("sending", "confirmed"),
    ("verify", "confirmed"),
)
DECIDED_BY = r"^staff:.+$"
ALLOWED = ", ".join(f"('{before}', '{after}')" for before, after in TRANSITIONS)
UNDER_WAY = (RefundStatus.REQUESTED, RefundStatus.SENDING, RefundStatus.VERIFY)
OPEN = (RefundStatus.PROPOSED, *UNDER_WAY)
LEFT_ALONE = (RefundStatus.PROPOSED, RefundStatus.DECLINED)  # by us; what Telegram refuses was under way
CANCELLATION = ("cancel_next_attempt_at", "subscription_cancelled_at", "cancel_refused_at")


SINCE = Coalesce("decided_at", "created_at")


class RefundQuerySet(models.QuerySet["Refund"]):
    def open(self) -> Self:
        return self.filter(status__in=OPEN)

    def proposed(self) -> Self:
        return self.filter(status=RefundStatus.PROPOSED)

    def under_way(self) -> Self:
        """Open, and waiting for no person."""
        return self.filter(status__in=UNDER_WAY)

    def oldest_under_way(self) -> datetime | None:
        """When the first of those under way was asked for or, where that needed a second person, approved."""
        since = self.under_way().annotate(since=SINCE).order_by("since")
        return since.values_list("since", flat=True).first()

    def due_at(self, now: datetime) -> Self:
        """Under way, and neither waiting for its next try nor in the hands of somebody whose lease still runs."""
        return self.under_way().filter(next_attempt_at__lte=now)

    def to_cancel_at(self, now: datetime) -> Self:
        """Those with which a subscription is to be cancelled, and whose next try has come."""
        return self.filter(cancel_next_attempt_at__lte=now).exclude(status__in=LEFT_ALONE)

    def taken(self, refund_id: UUID) -> Refund | None:
        """This one, locked with its payment and customer read, if it is among them and nobody else has it."""
        locked = self.select_for_update(of=("self",), skip_locked=True, no_key=True)
        return locked.select_related("payment__customer").filter(pk=refund_id).first()


class Refund(models.Model):
    """That somebody wants a payment given back, and how far that has come. At most one is open per payment.

    `next_attempt_at` is when it is next looked at; while somebody works on it, when his lease ends.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    payment = models.ForeignKey(PaymentEvent, on_delete=models.PROTECT, related_name="refund_intents")
    amount = models.BigIntegerField(
        null=True, help_text="In the currency's smallest unit; empty where only the whole payment can be given back."
    )
    reason = models.TextField()
    requested_by = models.TextField(help_text="staff:<id>, api:<prefix> or system.")
    status = models.CharField(max_length=9, choices=RefundStatus, default=RefundStatus.REQUESTED)
    attempts = models.PositiveIntegerField(default=0, help_text="How often the channel was called.")
    faults = models.PositiveIntegerField(
        default=0, db_default=0, help_text="How often the channel said what it would say again under the same key."
    )
    checks = models.PositiveIntegerField(default=0, help_text="How often the channel's list was searched in vain.")
    missed_at = models.DateTimeField(
        null=True, help_text="When the list was first searched in vain since the last call."
    )
    listed = models.BigIntegerField(default=0, help_text="The length of the mirrored list when the call was made.")
    next_attempt_at = models.DateTimeField(db_default=Now())
    refusal = models.TextField(blank=True, default="", help_text="The channel's words, when it said no.")
    detail = models.TextField(blank=True, default="", help_text="How it stands, in plain words.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    confirmed_at = models.DateTimeField(null=True)
    approved_by = models.TextField(blank=True, db_default="", help_text="The second person, where one was needed.")
    declined_by = models.TextField(blank=True, db_default="")
    decided_at = models.DateTimeField(null=True, help_text="When it was approved or declined.")
    cancel_subscription = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Whether the subscription that the payment belongs to is cancelled with it.",
    )
    cancel_attempts = models.PositiveIntegerField(db_default=0, help_text="How often Telegram was asked to cancel it.")
    cancel_next_attempt_at = models.DateTimeField(null=True, help_text="Empty when nothing more is to be done.")
    cancel_detail = models.TextField(blank=True, db_default="", help_text="Why it is not cancelled yet.")
    cancel_refusal = models.TextField(blank=True, db_default="", help_text="Telegram's words, when it said no.")
    cancel_refused_at = models.DateTimeField(null=True)
    subscription_cancelled_at = models.DateTimeField(null=True)

    objects = RefundQuerySet.as_manager()

    class Meta:
        permissions = [("request_refund", "Can give payments back")]
        constraints = [
            models.UniqueConstraint(name="refund_open_once", fields=["payment"], condition=Q(status__in=OPEN)),
            models.CheckConstraint(
                name="refund_status", condition=Q(status__regex=rf"^({'|'.join(RefundStatus.values)})$")
            ),
            models.CheckConstraint(name="refund_amount_positive", condition=Q(amount__isnull=True) | Q(amount__gt=0)),
            models.CheckConstraint(name="refund_has_a_reason", condition=~Q(reason="")),
            models.CheckConstraint(
                name="refund_asked_by_somebody", condition=Q(requested_by__regex=r"^(staff:.+|api:.+|system)$")
            ),
            models.CheckConstraint(
                name="refund_confirmed_at_a_time",
                condition=Q(status=RefundStatus.CONFIRMED, confirmed_at__isnull=False)
                | (~Q(status=RefundStatus.CONFIRMED) & Q(confirmed_at__isnull=True)),
            ),
            models.CheckConstraint(
                name="refund_refused_in_words", condition=~Q(status=RefundStatus.REFUSED) | ~Q(refusal="")
            ),
            models.CheckConstraint(name="refund_approved_by_another", condition=~Q(approved_by=F("requested_by"))),
            models.CheckConstraint(
                name="refund_decided_by_somebody",
                condition=Q(decided_at__isnull=True, approved_by="", declined_by="")
                | Q(Q(approved_by__regex=DECIDED_BY, declined_by="") | Q(approved_by="", declined_by__regex=DECIDED_BY))
                & Q(decided_at__isnull=False),
            ),
            models.CheckConstraint(
                name="refund_declined_by_somebody",
                condition=Q(status=RefundStatus.DECLINED) & ~Q(declined_by="")
                | ~Q(status=RefundStatus.DECLINED) & Q(declined_by=""),
            ),
            # Where it is wanted, it is still to be done or was done or refused; where not, it is none of these.
            models.CheckConstraint(
                name="refund_cancels_on_demand",
                condition=Exact(
                    models.Func(*CANCELLATION, function="num_nonnulls", output_field=models.IntegerField()),
                    Cast("cancel_subscription", models.IntegerField()),
                ),
            ),
            models.CheckConstraint(
                name="refund_cancels_when_under_way", condition=~Q(status__in=LEFT_ALONE) | Q(cancel_attempts=0)
            ),
            models.CheckConstraint(
                name="refund_cancellation_was_tried",
                condition=Q(cancel_attempts__gt=0)
                | Q(subscription_cancelled_at__isnull=True, cancel_refused_at__isnull=True),
            ),
            models.CheckConstraint(
                name="refund_cancellation_refused_in_words",
                condition=Q(cancel_refused_at__isnull=True, cancel_refusal="")
                | Q(cancel_refused_at__isnull=False) & ~Q(cancel_refusal=""),
            ),
        ]
        indexes = [
            models.Index(name="refund_due", fields=["next_attempt_at"], condition=Q(status__in=UNDER_WAY)),
            models.Index(
                name="refund_cancellation_due",
                fields=["cancel_next_attempt_at"],
                condition=Q(cancel_next_attempt_at__isnull=False),
            ),
            models.Index(SINCE, name="refund_unconfirmed", condition=Q(status__in=UNDER_WAY)),
        ]
        triggers = [
            pgtrigger.ReadOnly(
                name="refund_facts_stay",
                fields=["id", "payment", "amount", "reason", "requested_by", "created_at", "cancel_subscription"],
            ),
            pgtrigger.Protect(
                name="refund_states",
                operation=pgtrigger.UpdateOf("status"),
                condition=pgtrigger.Condition(
                    f"OLD.status <> NEW.status AND (OLD.status, NEW.status) NOT IN ({ALLOWED})"
                ),
            ),
            pgtrigger.Protect(
                name="refund_sent_after_approval",
                operation=pgtrigger.UpdateOf("status"),
                condition=pgtrigger.Condition(
                    "OLD.status = 'proposed' AND NEW.status = 'requested' AND NEW.approved_by = ''"
                ),
            ),
            pgtrigger.Protect(
                name="refund_decision_stays",
                operation=pgtrigger.Update,
                condition=pgtrigger.Condition(
                    "OLD.decided_at IS NOT NULL AND (OLD.approved_by, OLD.declined_by, OLD.decided_at)"
                    " IS DISTINCT FROM (NEW.approved_by, NEW.declined_by, NEW.decided_at)"
                ),
            ),
            pgtrigger.Protect(
                name="refund_cancellation_stays",
                operation=pgtrigger.Update,
                condition=pgtrigger.Condition(
                    "coalesce(OLD.subscription_cancelled_at, OLD.cancel_refused_at) IS NOT NULL"
                    " AND (OLD.subscription_cancelled_at, OLD.cancel_refused_at, OLD.cancel_refusal)"
                    " IS DISTINCT FROM (NEW.subscription_cancelled_at, NEW.cancel_refused_at, NEW.cancel_refusal)"
                ),
            ),
            pgtrigger.Protect(name="refund_never_deleted", operation=pgtrigger.Delete),
        ]

    def __str__(self) -> str:
        return f"{self.get_status_display()}: {self.payment_id}"

    @property
    def money(self) -> Money:
        """What is to be given back."""
        return Money(self.amount or self.payment.amount, self.payment.currency)


class RefundResult(models.TextChoices):
    """The `result` of `telegram_refunds_total`."""

    CONFIRMED = "confirmed", "given back"
    REFUSED = "refused", "refused by the channel"


class RefundTally(models.Model):
    """How many refunds ended so, by how we learnt of it; counted in the transaction that ends them."""

    result = models.CharField(max_length=9, choices=RefundResult)
    source = models.CharField(max_length=14)
    count = models.BigIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(name="refund_tally_once", fields=["result", "source"])]

    def __str__(self) -> str:
        return f"{self.result} {self.source}"


class Direction(models.TextChoices):
    IN = "in", "received"
    OUT = "out", "paid out"


class StarTransaction(models.Model):
    """A row of Telegram's list of Stars, as it was read. A refund has the id of its payment and goes the other way."""

    transaction_id = models.TextField()
    direction = models.CharField(max_length=3, choices=Direction)
    amount = models.BigIntegerField(help_text="Whole Stars.")
    nanostar_amount = models.BigIntegerField(default=0, help_text="Billionths of a Star beside them.")
    date = models.DateTimeField()
    telegram_user_id = models.BigIntegerField(null=True, help_text="Empty where the other side is no person.")
    payload = models.TextField(blank=True, default="", help_text="That of the invoice; empty for all but sales.")
    renews = models.BooleanField(db_default=False, help_text="Whether it paid for a period of a subscription.")
    commission = models.BigIntegerField(
        db_default=0, help_text="What an affiliate got for it, in billionths of a Star."
    )
    raw = models.BinaryField(help_text="JSON, as bytes: a genuine row may hold what text columns cannot.")
    mirrored_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(name="star_transaction_once", fields=["transaction_id", "direction"]),
        ]
        triggers = [
            pgtrigger.Protect(name="star_transaction_stays", operation=pgtrigger.Update | pgtrigger.Delete),
        ]

    def __str__(self) -> str:
        return f"{self.get_direction_display()}: {self.amount} ⭐"

    @property
    def nanostars(self) -> int:
        return self.amount * NANOSTARS + self.nanostar_amount

    @property
    def is_of_a_sale(self) -> bool:
        """Whether it is a payment of an invoice, or one given back; not a gift, a withdrawal or the like."""
        return self.telegram_user_id is not None and self.payload != ""

    def is_of(self, money: Money) -> bool:
        """Whether that much may have been paid: it is not documented whether an affiliate's share is in the amount."""
        return money.amount * NANOSTARS in (self.nanostars, self.nanostars + self.commission)


class MirrorCursor(models.Model):
    """The one row that says how far Telegram's list has been mirrored."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    length = models.BigIntegerField(default=0, help_text="Rows from the oldest on; the next is at this offset.")
    read_at = models.DateTimeField(null=True, help_text="When the last reading that came to the list's end began.")
    not_before = models.DateTimeField(null=True, help_text="Telegram asked us to wait until then.")
    balance = models.DecimalField(
        max_digits=40, decimal_places=0, db_default=0, help_text="What the rows amount to, in billionths of a Star."
    )

    class Meta:
        constraints = [models.CheckConstraint(name="mirror_cursor_is_one_row", condition=Q(id=1))]

    def __str__(self) -> str:
        return f"{self.length} rows"
