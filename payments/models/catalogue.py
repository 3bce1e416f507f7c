"""What is for sale: plans and their prices, one source of truth for every payment method."""

from __future__ import annotations

from datetime import timedelta
from typing import Self

import pgtrigger
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from payments.money import STARS, Money

MOST_STARS = 100_000  # what Telegram takes in one payment
MOST_STARS_RECURRING = 10_000
RECURRING_DAYS = 30
LONGEST_DAYS = 36_500


class PaymentMethod(models.TextChoices):
    TELEGRAM_STARS = "telegram_stars", "Telegram Stars"
    TELEGRAM_PROVIDER = "telegram_provider", "Card in Telegram"
    STRIPE = "stripe", "Stripe"


class WhenActive(models.TextChoices):
    """What happens to a purchase while the customer has the entitlement already."""

    REJECT = "reject", "refuse a second purchase"
    EXTEND = "extend", "add another period"


RECURRING_TERMS = """
    IF EXISTS (
        SELECT FROM payments_plan plan JOIN payments_price price ON price.plan_id = plan.code
        WHERE plan.code = NEW.{code} AND plan.recurring AND NOT (
            (price.payment_method = 'telegram_stars' AND price.amount <= 10000) OR price.payment_method = 'stripe')
    ) THEN
        RAISE EXCEPTION 'A recurring plan is sold for at most 10000 Stars, or by Stripe.'
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
"""


class PlanQuerySet(models.QuerySet["Plan"]):
    def on_sale(self) -> Self:
        return self.filter(withdrawn_at__isnull=True).order_by("position", "code")


class Plan(models.Model):
    """Something that can be bought. Its code is its identity; a plan is withdrawn, never deleted."""

    code = models.CharField(max_length=50, primary_key=True)
    title = models.CharField(max_length=32)
    description = models.CharField(max_length=255)
    entitlement = models.CharField(max_length=50)
    features = models.JSONField(default=dict, blank=True)
    duration_days = models.PositiveIntegerField(null=True, blank=True, help_text="Empty: for life.")
    recurring = models.BooleanField(default=False)
    when_active = models.CharField(max_length=6, choices=WhenActive, default=WhenActive.REJECT)
    need_name = models.BooleanField(
        default=False, db_default=False, help_text="Whether who pays a Telegram provider is asked for his name."
    )
    need_phone_number = models.BooleanField(default=False, db_default=False)
    need_email = models.BooleanField(default=False, db_default=False)
    position = models.PositiveIntegerField(default=0, help_text="Its place in lists.")
    withdrawn_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = PlanQuerySet.as_manager()

    class Meta:
        ordering = ["position", "code"]
        constraints = [
            models.CheckConstraint(name="plan_code", condition=Q(code__regex=r"^[a-z0-9_]{1,50}$")),
            models.CheckConstraint(name="plan_entitlement", condition=Q(entitlement__regex=r"^[a-z0-9_]{1,50}$")),
            models.CheckConstraint(name="plan_words", condition=~Q(title="") & ~Q(description="")),
            models.CheckConstraint(
                name="plan_duration",
                condition=Q(duration_days__isnull=True) | Q(duration_days__range=(1, LONGEST_DAYS)),
            ),
            models.CheckConstraint(
                name="plan_recurs_every_30_days", condition=Q(recurring=False) | Q(duration_days=RECURRING_DAYS)
            ),
        ]
        triggers = [
            pgtrigger.Trigger(
                name="plan_recurring_terms",
                when=pgtrigger.After,
                operation=pgtrigger.UpdateOf("recurring"),
                func=RECURRING_TERMS.format(code="code"),
            ),
            pgtrigger.ReadOnly(name="plan_code_stays", fields=["code", "created_at"]),
            pgtrigger.Protect(name="plan_never_deleted", operation=pgtrigger.Delete),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def needs(self) -> list[str]:
        """What who pays a Telegram provider is asked for, of `name`, `phone_number` and `email`."""
        asked = {"name": self.need_name, "phone_number": self.need_phone_number, "email": self.need_email}
        return [need for need, is_asked in asked.items() if is_asked]

    @property
    def duration(self) -> timedelta | None:
        return None if self.duration_days is None else timedelta(days=self.duration_days)


class Price(models.Model):
    """What a plan costs in one currency by one method. Edited by the catalogue; invoices keep their own copy."""

    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="prices")
    payment_method = models.CharField(max_length=20, choices=PaymentMethod)
    currency = models.CharField(max_length=3)
    amount = models.BigIntegerField(help_text="In the currency's smallest unit.")
    stripe_price_id = models.CharField(max_length=255, blank=True, default="")
    position = models.PositiveIntegerField(default=0, help_text="Its place among the plan's prices.")

    class Meta:
        ordering = ["position", "pk"]
        constraints = [
            models.UniqueConstraint(name="price_once", fields=["plan", "currency", "payment_method"]),
            models.CheckConstraint(name="price_amount_positive", condition=Q(amount__gt=0)),
            models.CheckConstraint(name="price_currency", condition=Q(currency__regex=r"^[A-Z]{3}$")),
            models.CheckConstraint(
                name="price_stars_are_stars",
                condition=Q(payment_method=PaymentMethod.TELEGRAM_STARS, currency=STARS, amount__lte=MOST_STARS)
                | (~Q(payment_method=PaymentMethod.TELEGRAM_STARS) & ~Q(currency=STARS)),
            ),
            models.CheckConstraint(
                name="price_stripe_id_for_stripe",
                condition=Q(stripe_price_id="") | Q(payment_method=PaymentMethod.STRIPE),
            ),
        ]
        triggers = [
            pgtrigger.Trigger(
                name="price_recurring_terms",
                when=pgtrigger.After,
                operation=pgtrigger.Insert | pgtrigger.Update,
                func=RECURRING_TERMS.format(code="plan_id"),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.plan_id}: {self.money}"

    @property
    def money(self) -> Money:
        return Money(self.amount, self.currency)
