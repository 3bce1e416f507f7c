"""What comparing the ledger with Telegram's list came to, and what it could not mend."""

from __future__ import annotations

from typing import Self

import pgtrigger
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from payments.models.catalogue import PaymentMethod
from payments.models.ledger import PaymentEvent
from payments.models.refunds import Direction

BY_ITSELF = "reconciliation"  # who resolved a discrepancy that a later run no longer found
SETTLED_BY = rf"^(staff:.+|{BY_ITSELF})$"


class RunOutcome(models.TextChoices):
    RUNNING = "running", "running"
    CLEAN = "clean", "everything is accounted for"
    ATTENTION = "attention", "something needs a person"
    FAILED = "failed", "failed"
    DIED = "died", "its process ended"


COMPARED_WITH = (
    (PaymentMethod.TELEGRAM_STARS.value, "Telegram's list of Stars"),
    (PaymentMethod.TELEGRAM_PROVIDER.value, "a report of the provider"),
)
TO_THE_END = (RunOutcome.CLEAN, RunOutcome.ATTENTION)


class ReconciliationRunQuerySet(models.QuerySet["ReconciliationRun"]):
    def compared_with(self, method: PaymentMethod) -> Self:
        """Those with Telegram's list of Stars, or with a report of the provider behind Telegram."""
        return self.filter(payment_method=method)

    def to_the_end(self) -> Self:
        """Those that compared all there was."""
        return self.filter(outcome__in=TO_THE_END)


class ReconciliationRun(models.Model):
    """One comparison of the ledger with Telegram's list, or with a report of the payment provider, and how far it came:
    the next goes on from there.

    As long as it is running, `lease_until` is moved on; once that has passed, whoever was at it is dead.
    """

    payment_method = models.CharField(
        "compared with",
        max_length=20,
        choices=COMPARED_WITH,
        default=PaymentMethod.TELEGRAM_STARS,
        db_default=PaymentMethod.TELEGRAM_STARS,
    )
    started_at = models.DateTimeField(db_default=Now())
    asked_by = models.TextField(help_text="schedule, command or staff:<id>.")
    full = models.BooleanField(default=False, help_text="Whether it compared everything from the beginning.")
    outcome = models.CharField(max_length=9, choices=RunOutcome, default=RunOutcome.RUNNING)
    error = models.TextField(blank=True, default="", help_text="Why it failed.")
    lease_until = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    compared_up_to = models.BigIntegerField(default=0, help_text="The key of the last row of the mirror compared.")
    ledger_up_to = models.DateTimeField(null=True, help_text="What was recorded up to then was looked for in the list.")
    true_at = models.DateTimeField(null=True, help_text="Everything listed up to then is compared.")
    matched = models.BigIntegerField("known", default=0, help_text="Rows that say what the ledger says.")
    recorded = models.BigIntegerField(default=0, help_text="Payments that were missing here, with their access.")
    held = models.BigIntegerField(default=0, help_text="Reports that were missing here and wait for a decision.")
    refunded = models.BigIntegerField("refunds recorded", default=0, help_text="Refunds that were missing here.")
    other = models.BigIntegerField("no sales of ours", default=0, help_text="Withdrawals, gifts and the like.")
    found = models.BigIntegerField("discrepancies found", default=0)
    healed = models.BigIntegerField("discrepancies gone", default=0, help_text="Those no longer found.")

    objects = ReconciliationRunQuerySet.as_manager()

    class Meta:
        verbose_name = "reconciliation"
        permissions = [("reconcile", "Can have the ledger compared with Telegram's list")]
        constraints = [
            models.UniqueConstraint(
                name="reconciliation_one_at_a_time", fields=["payment_method"], condition=Q(outcome=RunOutcome.RUNNING)
            ),
            models.CheckConstraint(
                name="reconciliation_method",
                condition=Q(payment_method__regex=rf"^({'|'.join(method for method, _ in COMPARED_WITH)})$"),
            ),
            models.CheckConstraint(
                name="reconciliation_outcome", condition=Q(outcome__regex=rf"^({'|'.join(RunOutcome.values)})$")
            ),
            models.CheckConstraint(
                name="reconciliation_ends_with_an_outcome",
                condition=Q(outcome=RunOutcome.RUNNING, finished_at__isnull=True)
                | ~Q(outcome=RunOutcome.RUNNING) & Q(finished_at__isnull=False),
            ),
            models.CheckConstraint(
                name="reconciliation_to_the_end_says_when",
                condition=~Q(outcome__in=TO_THE_END) | Q(true_at__isnull=False, ledger_up_to__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.started_at:%Y-%m-%d %H:%M} UTC: {self.get_outcome_display()}"


class DiscrepancyKind(models.TextChoices):
    MISSING_THERE = "missing_there", "in our books, and not in the other list"
    AMOUNT_DIFFERS = "amount_differs", "the amounts differ"
    USER_DIFFERS = "user_differs", "the buyers differ"
    NOT_RECORDED = "not_recorded", "in the other list, and not in our books"
    BALANCE = "balance", "the balance is not what Telegram's list amounts to"


class DiscrepancyQuerySet(models.QuerySet["Discrepancy"]):
    def unresolved(self) -> Self:
        return self.filter(resolved_at__isnull=True)

    def found_with(self, method: PaymentMethod) -> Self:
        return self.filter(run__payment_method=method)


class Discrepancy(models.Model):
    """Something on which Telegram or the payment provider and our books disagree, until a person settles it or a later
    run finds it gone.
    """

    kind = models.CharField(max_length=14, choices=DiscrepancyKind)
    transaction_id = models.TextField(blank=True, default="", help_text="The charge; empty for the balance.")
    direction = models.CharField(max_length=3, choices=Direction, blank=True, default="")
    difference = models.DecimalField(
        max_digits=40,
        decimal_places=0,
        default=0,
        help_text="Theirs less ours, in the currency's smallest unit; in billionths of a Star.",
    )
    event = models.ForeignKey(PaymentEvent, on_delete=models.PROTECT, null=True, related_name="discrepancies")
    telegram_says = models.TextField()
    we_have = models.TextField()
    run = models.ForeignKey(ReconciliationRun, on_delete=models.PROTECT, related_name="discrepancies")
    found_at = models.DateTimeField(db_default=Now())
    resolved_at = models.DateTimeField(null=True)
    resolved_by = models.TextField(blank=True, default="", help_text=f"staff:<id>, or {BY_ITSELF}.")
    resolved_why = models.TextField(blank=True, default="")

    objects = DiscrepancyQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "discrepancies"
        permissions = [("resolve_discrepancy", "Can settle discrepancies")]
        constraints = [
            models.UniqueConstraint(
                name="discrepancy_once", fields=["kind", "transaction_id", "direction", "difference"]
            ),
            models.CheckConstraint(
                name="discrepancy_kind", condition=Q(kind__regex=rf"^({'|'.join(DiscrepancyKind.values)})$")
            ),
            models.CheckConstraint(
                name="discrepancy_of_a_charge_or_the_balance",
                condition=Q(kind=DiscrepancyKind.BALANCE, transaction_id="", direction="")
                | ~Q(kind=DiscrepancyKind.BALANCE) & ~Q(transaction_id="") & ~Q(direction=""),
            ),
            models.CheckConstraint(
                name="discrepancy_resolved_by_somebody",
                condition=Q(resolved_at__isnull=True, resolved_by="", resolved_why="")
                | Q(resolved_at__isnull=False, resolved_by__regex=SETTLED_BY) & ~Q(resolved_why=""),
            ),
        ]
        indexes = [
            models.Index(name="discrepancy_unresolved", fields=["id"], condition=Q(resolved_at__isnull=True)),
        ]
        triggers = [
            pgtrigger.ReadOnly(
                name="discrepancy_facts_stay",
                exclude=["run", "found_at", "resolved_at", "resolved_by", "resolved_why"],
            ),
            pgtrigger.Protect(
                name="discrepancy_decision_stays",
                operation=pgtrigger.Update,
                condition=pgtrigger.Condition(
                    "OLD.resolved_by LIKE 'staff:%' AND (OLD.resolved_at, OLD.resolved_by, OLD.resolved_why)"
                    " IS DISTINCT FROM (NEW.resolved_at, NEW.resolved_by, NEW.resolved_why)"
                ),
            ),
            pgtrigger.Protect(name="discrepancy_never_deleted", operation=pgtrigger.Delete),
        ]

    def __str__(self) -> str:
        return self.get_kind_display()

    @property
    def other_side(self) -> str:
        """Who says something else than our books."""
        return "Telegram" if self.run.payment_method == PaymentMethod.TELEGRAM_STARS else "The provider"
