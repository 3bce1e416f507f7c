"""What is paid on by itself: subscriptions at a channel, their payments and history, and what staff want of them."""

from __future__ import annotations

from datetime import datetime
from typing import Self
from uuid import UUID

import pgtrigger
from django.db import models
from django.db.models import Q, Value
from django.db.models.functions import Now
from django.db.models.lookups import Exact

from entitlements.models import Customer
from payments.identifiers import uuid7
from payments.models.catalogue import PaymentMethod, Plan
from payments.models.ledger import PaymentEvent
from payments.models.notices import NoticeKind
from payments.money import Money


class SubscriptionState(models.TextChoices):
    ACTIVE = "active", "renews by itself"
    CANCELED = "canceled", "cancelled, runs to its end"
    FAILED = "failed", "the renewal was not paid"
    ENDED = "ended", "ended"


TRANSITIONS = (
    ("active", "canceled"),
    ("active", "failed"),
    ("active", "ended"),
    ("canceled", "active"),
    ("canceled", "failed"),
    ("canceled", "ended"),
    ("failed", "active"),
    ("failed", "canceled"),
    ("failed", "ended"),
    ("ended", "active"),  # it was renewed late, or we had not heard of the renewal
)
SETTLED = ("next_attempt_at", "done_at", "refused_at")
ALLOWED = ", ".join(f"('{before}', '{after}')" for before, after in TRANSITIONS)
# What a subscription adds to the figures of the days on which it began and ended (SubscriptionDay): a change takes back
# what it added before, and most changes add and take back the same.
COUNT_BY_DAY = """
    INSERT INTO payments_subscriptionday (
        day, plan_code, currency, payment_method, begun, ended, monthly_begun, monthly_ended)
    SELECT (at AT TIME ZONE 'UTC')::date, coalesce(plan_id, ''), currency, payment_method, sum(begun), sum(ended),
           sum(begun * amount), sum(ended * amount)
    FROM (VALUES
        (OLD.started_at, OLD.plan_id, OLD.currency, OLD.payment_method, OLD.amount, -1, 0),
        (NEW.started_at, NEW.plan_id, NEW.currency, NEW.payment_method, NEW.amount, 1, 0),
        (CASE OLD.state WHEN 'ended' THEN OLD.state_changed_at END,
         OLD.plan_id, OLD.currency, OLD.payment_method, OLD.amount, 0, -1),
        (CASE NEW.state WHEN 'ended' THEN NEW.state_changed_at END,
         NEW.plan_id, NEW.currency, NEW.payment_method, NEW.amount, 0, 1)
    ) AS line (at, plan_id, currency, payment_method, amount, begun, ended)
    WHERE at IS NOT NULL
    GROUP BY 1, 2, 3, 4
    HAVING (sum(begun), sum(ended), sum(begun * amount), sum(ended * amount)) <> (0, 0, 0, 0);
    RETURN NULL;
"""


class SubscriptionQuerySet(models.QuerySet["Subscription"]):
    def running(self) -> Self:
        return self.exclude(state=SubscriptionState.ENDED)

    def active_at(self, moment: datetime) -> Self:
        """Those that had begun before that moment, and that had not ended."""
        return self.filter(started_at__lt=moment).filter(
            ~Q(state=SubscriptionState.ENDED) | Q(state_changed_at__gte=moment)
        )

    def over_at(self, now: datetime) -> Self:
        """Those that have ended by then and are not marked so: cancelled ones at once, others when no renewal came
        within the grace.
        """
        cancelled = Q(state=SubscriptionState.CANCELED, current_period_end__lte=now)
        lapsed = Q(state__in=(SubscriptionState.ACTIVE, SubscriptionState.FAILED), grace_ends_at__lte=now)
        return self.running().filter(current_period_end__lte=now).filter(cancelled | lapsed)

    def in_grace_at(self, now: datetime) -> Self:
        """Those that nobody has paid for any more, and that still give access for a while."""
        return self.filter(current_period_end__lte=now, grace_ends_at__gt=now)


class Subscription(models.Model):
    """What a customer pays for period by period, without being asked again, until he or we cancel it.

    Its dates are what the channel says they are, also where a payment was held or given back: `current_period_end` is
    when it is charged next. What the customer has of it is in his grants.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="subscriptions", db_index=False)
    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, null=True, related_name="subscriptions", db_index=False)
    entitlement = models.CharField(max_length=50, blank=True, help_text="Empty where the plan is not known.")
    payment_method = models.CharField(max_length=20, choices=PaymentMethod)
    reference = models.TextField(help_text="The invoice's payload, or Stripe's own name of the subscription.")
    first_charge_id = models.TextField(help_text="By which its channel knows it; of what we know, the first.")
    first_charge_known = models.BooleanField(
        default=True, help_text="Whether that payment began it, and not one before it that we have not heard of."
    )
    amount = models.BigIntegerField(help_text="Of a period, in the currency's smallest unit.")
    currency = models.CharField(max_length=3)
    state = models.CharField(max_length=8, choices=SubscriptionState, default=SubscriptionState.ACTIVE)
    state_changed_at = models.DateTimeField()
    started_at = models.DateTimeField()
    current_period_end = models.DateTimeField(help_text="When it is charged next, or else ends.")
    grace_ends_at = models.DateTimeField(help_text="Until when access goes on while no renewal has come.")
    renewals = models.PositiveIntegerField(default=0, help_text="How many periods were paid after the first.")
    stopped_at = models.DateTimeField(
        null=True, help_text="When the channel was told to renew it no more; the customer cannot undo that by himself."
    )
    # So that the clock need not look at each again and again; whether a reminder is owed, the notices tell.
    reminded_of = models.CharField(
        max_length=20, blank=True, default="", db_default="", editable=False, help_text="Of its period, the last."
    )

    objects = SubscriptionQuerySet.as_manager()

    class Meta:
        permissions = [("edit_subscription", "Can cancel subscriptions and allow them again")]
        constraints = [
            models.UniqueConstraint(name="subscription_once", fields=["first_charge_id", "payment_method"]),
            models.CheckConstraint(name="subscription_amount_positive", condition=Q(amount__gt=0)),
            models.CheckConstraint(name="subscription_currency", condition=Q(currency__regex=r"^[A-Z]{3}$")),
            models.CheckConstraint(
                name="subscription_has_its_ids", condition=~Q(reference="") & ~Q(first_charge_id="")
            ),
            models.CheckConstraint(
                name="subscription_state", condition=Q(state__regex=rf"^({'|'.join(SubscriptionState.values)})$")
            ),
            models.CheckConstraint(
                name="subscription_dates_in_order",
                condition=Q(grace_ends_at__gte=models.F("current_period_end")),
            ),
        ]
        indexes = [
            models.Index(name="subscription_of_customer", fields=["customer"]),
            models.Index(name="subscription_by_reference", fields=["reference"]),
            models.Index(name="subscription_by_start", fields=["started_at"]),
            models.Index(name="subscription_by_period_end", fields=["current_period_end"]),
            models.Index(
                name="subscription_ended", fields=["state_changed_at"], condition=Q(state=SubscriptionState.ENDED)
            ),
            models.Index(
                name="subscription_running", fields=["current_period_end"], condition=~Q(state=SubscriptionState.ENDED)
            ),
            models.Index(
                name="subscription_ending_untold",
                fields=["current_period_end"],
                condition=~Q(state=SubscriptionState.ENDED) & ~Q(reminded_of=NoticeKind.SUBSCRIPTION_ENDING),
            ),
            models.Index(
                name="subscription_failed_untold",
                fields=["current_period_end"],
                condition=Q(state=SubscriptionState.FAILED) & ~Q(reminded_of=NoticeKind.SUBSCRIPTION_FAILED),
            ),
            models.Index(
                name="subscription_ended_untold",
                fields=["state_changed_at"],
                condition=Q(state=SubscriptionState.ENDED) & ~Q(reminded_of=NoticeKind.SUBSCRIPTION_ENDED),
            ),
        ]
        triggers = [
            pgtrigger.Trigger(
                name="subscription_counts",
                when=pgtrigger.After,
                operation=pgtrigger.Insert | pgtrigger.Update,
                func=COUNT_BY_DAY,
            ),
            pgtrigger.ReadOnly(
                name="subscription_facts_stay", fields=["id", "customer", "payment_method", "reference"]
            ),
            pgtrigger.Protect(
                name="subscription_states",
                operation=pgtrigger.UpdateOf("state"),
                condition=pgtrigger.Condition(f"OLD.state <> NEW.state AND (OLD.state, NEW.state) NOT IN ({ALLOWED})"),
            ),
            pgtrigger.Protect(
                name="subscription_paid_periods_stay",
                operation=pgtrigger.UpdateOf("current_period_end"),
                condition=pgtrigger.Condition("NEW.current_period_end < OLD.current_period_end"),
            ),
            pgtrigger.Protect(name="subscription_never_deleted", operation=pgtrigger.Delete),
        ]

    def __str__(self) -> str:
        return f"{self.plan_id or 'unknown plan'} for {self.money} a period"

    @property
    def money(self) -> Money:
        return Money(self.amount, self.currency)

    @property
    def channel(self) -> str:
        """Whom we ask to renew it no more, for sentences."""
        return "Stripe" if self.payment_method == PaymentMethod.STRIPE else "Telegram"

    @property
    def renews(self) -> bool:
        """Whether the channel charges for it again by itself, as far as we know."""
        return self.state == SubscriptionState.ACTIVE


class SubscriptionPayment(models.Model):
    """That a payment was for a period of a subscription."""

    event = models.OneToOneField(
        PaymentEvent, on_delete=models.PROTECT, primary_key=True, related_name="subscription_payment"
    )
    subscription = models.ForeignKey(Subscription, on_delete=models.PROTECT, related_name="payments")
    period_ends_at = models.DateTimeField(help_text="As the channel said, or as good as we could tell without it.")
    is_renewal = models.BooleanField(db_default=False, help_text="Whether it followed a period paid before.")

    class Meta:
        triggers = [
            pgtrigger.Protect(name="subscription_payment_stays", operation=pgtrigger.Update | pgtrigger.Delete),
        ]

    def __str__(self) -> str:
        return f"until {self.period_ends_at:%Y-%m-%d %H:%M} UTC"


class SubscriptionChange(models.Model):
    """That a subscription came into a state: when, by whom or what, and why."""

    subscription = models.ForeignKey(Subscription, on_delete=models.PROTECT, related_name="changes")
    state = models.CharField(max_length=8, choices=SubscriptionState)
    at = models.DateTimeField(help_text="When it became so, as far as we were told.")
    why = models.TextField(help_text="In plain words.")

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="subscription_change_state",
                condition=Q(state__regex=rf"^({'|'.join(SubscriptionState.values)})$") & ~Q(why=""),
            ),
        ]
        triggers = [
            pgtrigger.Protect(name="subscription_change_stays", operation=pgtrigger.Update | pgtrigger.Delete),
        ]

    def __str__(self) -> str:
        return f"{self.get_state_display()}: {self.why}"


class Order(models.TextChoices):
    """What staff want the channel to be told."""

    CANCEL = "cancel", "renew it no more"
    ALLOW = "allow", "let the customer renew it again"


class SubscriptionOrderQuerySet(models.QuerySet["SubscriptionOrder"]):
    def open(self) -> Self:
        return self.filter(next_attempt_at__isnull=False)

    def due_at(self, now: datetime) -> Self:
        """Neither waiting for the next try nor in the hands of somebody whose lease still runs."""
        return self.filter(next_attempt_at__lte=now)

    def taken(self, order_id: UUID) -> SubscriptionOrder | None:
        """This one, locked with its subscription read, if it is among them and nobody else has it."""
        locked = self.select_for_update(of=("self",), skip_locked=True, no_key=True)
        return locked.select_related("subscription__customer").filter(pk=order_id).first()


class SubscriptionOrder(models.Model):
    """What staff want Telegram to be told of a subscription, and how far that has come. At most one is open of each.

    `next_attempt_at` is when it is told next; while somebody is at it, when his lease ends; empty when all is done.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    subscription = models.ForeignKey(Subscription, on_delete=models.PROTECT, related_name="orders")
    what = models.CharField(max_length=6, choices=Order)
    reason = models.TextField()
    ordered_by = models.TextField(help_text="staff:<id>.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    attempts = models.PositiveIntegerField(default=0, help_text="How often Telegram was asked.")
    next_attempt_at = models.DateTimeField(null=True)
    done_at = models.DateTimeField(null=True)
    refused_at = models.DateTimeField(null=True)
    detail = models.TextField(blank=True, default="", help_text="Why it is not done, in plain words.")

    objects = SubscriptionOrderQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="subscription_order_open_once",
                fields=["subscription"],
                condition=Q(next_attempt_at__isnull=False),
            ),
            models.CheckConstraint(
                name="subscription_order_by_somebody",
                condition=Q(what__regex=rf"^({'|'.join(Order.values)})$", ordered_by__regex="^staff:.+$")
                & ~Q(reason=""),
            ),
            models.CheckConstraint(
                name="subscription_order_open_or_settled",
                condition=Exact(
                    models.Func(*SETTLED, function="num_nonnulls", output_field=models.IntegerField()), Value(1)
                ),
            ),
        ]
        indexes = [
            models.Index(
                name="subscription_order_due",
                fields=["next_attempt_at"],
                condition=Q(next_attempt_at__isnull=False),
            ),
        ]
        triggers = [
            pgtrigger.ReadOnly(
                name="subscription_order_facts_stay",
                fields=["id", "subscription", "what", "reason", "ordered_by", "created_at"],
            ),
            pgtrigger.Protect(name="subscription_order_never_deleted", operation=pgtrigger.Delete),
        ]

    def __str__(self) -> str:
        return self.get_what_display()
