"""Revenue by day, so that a figure over years need not sum the ledger."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from payments.models.up_to import UpTo


class RevenueDay(models.Model):
    """The revenue of one UTC day for one plan, currency and payment method; sums in the currency's smallest unit.

    Covers what was recorded up to `RevenueUpTo.moment`; the rest is in the ledger alone (payments.revenue).
    """

    day = models.DateField(help_text="Of the payment or of the refund, in UTC.")
    plan_code = models.CharField(max_length=50, blank=True, default="", help_text="Empty: a payment without a plan.")
    currency = models.CharField(max_length=3)
    payment_method = models.CharField(max_length=20)
    # Wider than the ledger's amounts: no two payments, however large, may bring the summing to a stop.
    gross = models.DecimalField(max_digits=30, decimal_places=0, default=0)
    refunded = models.DecimalField(max_digits=30, decimal_places=0, default=0)
    disputed = models.DecimalField(max_digits=30, decimal_places=0, default=0, db_default=0)
    fees = models.DecimalField(max_digits=30, decimal_places=0, default=0, db_default=0)
    payments = models.BigIntegerField(default=0)
    refunds = models.BigIntegerField(default=0)
    renewals = models.BigIntegerField(default=0, db_default=0, help_text="Of the payments, how many renewed.")

    objects: models.Manager[RevenueDay] = models.Manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(name="revenue_day_once", fields=["day", "plan_code", "currency", "payment_method"]),
        ]
        permissions = [("view_revenue", "Can see revenue")]

    def __str__(self) -> str:
        return f"{self.day} {self.plan_code} {self.currency} {self.payment_method}"


class SubscriptionDay(models.Model):
    """What became of subscriptions of one plan, currency and method on one UTC day; all lines of a day add up.

    A trigger of theirs writes a line for each change that changes a figure, also one that takes back what another says,
    and a job brings them together. So many as began and did not end up to a day were active at its end, and what they
    bring in 30 days is the sum of `monthly_begun` less that of `monthly_ended` (payments.recurring).
    """

    day = models.DateField(help_text="On which they began or ended, in UTC.")
    plan_code = models.CharField(max_length=50, blank=True, default="", help_text="Empty: the plan is not known.")
    currency = models.CharField(max_length=3)
    payment_method = models.CharField(max_length=20)
    begun = models.BigIntegerField()
    ended = models.BigIntegerField()
    monthly_begun = models.DecimalField(max_digits=30, decimal_places=0, help_text="In the currency's smallest unit.")
    monthly_ended = models.DecimalField(max_digits=30, decimal_places=0, help_text="In the currency's smallest unit.")
    counted_at = models.DateTimeField(db_default=Now(), editable=False)

    objects: models.Manager[SubscriptionDay] = models.Manager()

    def __str__(self) -> str:
        return f"{self.day} {self.plan_code} {self.currency} {self.payment_method}"


class RevenueUpTo(UpTo):
    """Up to when the ledger has been summed into days."""

    class Meta:
        constraints = [models.CheckConstraint(name="revenue_up_to_is_one_row", condition=Q(id=1))]
