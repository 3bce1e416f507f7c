"""Quotes to customers, and what was decided when somebody was about to pay one."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self

import pgtrigger
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from entitlements.models import Customer
from payments.identifiers import uuid7
from payments.models.catalogue import PaymentMethod, Plan, WhenActive
from payments.models.up_to import UpTo
from payments.money import Money


class InvoiceStatus(models.TextChoices):
    DRAFT = "draft", "written, not sent yet"
    SENT = "sent", "sent"
    UNCLEAR = "unclear", "perhaps sent"
    VOID = "void", "refused by the channel"
    EXPIRED = "expired", "expired unpaid"
    PAID = "paid", "paid"


TRANSITIONS = (
    ("draft", "sent"),
    ("draft", "unclear"),
    ("draft", "void"),
    ("draft", "expired"),
    ("sent", "expired"),
    ("unclear", "expired"),
    # Money that was taken is honoured whatever we thought of the invoice.
    ("draft", "paid"),
    ("sent", "paid"),
    ("unclear", "paid"),
    ("void", "paid"),
    ("expired", "paid"),
)
ALLOWED = ", ".join(f"('{before}', '{after}')" for before, after in TRANSITIONS)
# What was quoted, which never changes.
QUOTE = (
    "id",
    "customer_id",
    "plan_id",
    "payment_method",
    "amount",
    "currency",
    "entitlement",
    "features",
    "duration",
    "recurring",
    "when_active",
    "payload",
    "created_at",
    "expires_at",
)
OPEN = (InvoiceStatus.DRAFT, InvoiceStatus.SENT, InvoiceStatus.UNCLEAR)


class InvoiceQuerySet(models.QuerySet["Invoice"]):
    def open_at(self, now: datetime) -> Self:
        """Those that can still be paid: sent, or perhaps sent, and not yet expired."""
        return self.filter(status__in=OPEN, expires_at__gt=now)

    def quote(self, plan: Plan, **facts: Any) -> Invoice:
        """Write a new one for what the plan gives at this moment."""
        return self.create(
            plan=plan,
            entitlement=plan.entitlement,
            features=plan.features,
            duration=plan.duration,
            recurring=plan.recurring,
            when_active=plan.when_active,
            **facts,
        )

    def priced(self, price: Money) -> Self:
        return self.filter(amount=price.amount, currency=price.currency)

    def mark_paid(self) -> None:
        """All of them, whatever we thought of them: their money was taken."""
        self.exclude(status=InvoiceStatus.PAID).update(status=InvoiceStatus.PAID)


class Invoice(models.Model):
    """A quote to one customer: what he gets and what it costs, as the catalogue said at that moment.

    The payload is what comes back with the payment; it is unique and bound to the quote by a MAC (payments.payloads).
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="invoices")
    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="invoices", db_index=False)
    payment_method = models.CharField(max_length=20, choices=PaymentMethod)
    amount = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    entitlement = models.CharField(max_length=50)
    features = models.JSONField(default=dict)
    duration = models.DurationField(null=True)
    recurring = models.BooleanField(default=False)
    when_active = models.CharField(max_length=6, choices=WhenActive)
    payload = models.CharField(max_length=128)
    status = models.CharField(max_length=7, choices=InvoiceStatus, default=InvoiceStatus.DRAFT)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True)
    link = models.TextField(blank=True, default="")
    message_id = models.BigIntegerField(null=True)

    objects = InvoiceQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(name="invoice_payload_once", fields=["payload"]),
            models.CheckConstraint(name="invoice_amount_positive", condition=Q(amount__gt=0)),
            models.CheckConstraint(name="invoice_currency", condition=Q(currency__regex=r"^[A-Z]{3}$")),
            models.CheckConstraint(name="invoice_payload_not_empty", condition=~Q(payload="")),
            models.CheckConstraint(
                name="invoice_status", condition=Q(status__regex=rf"^({'|'.join(InvoiceStatus.values)})$")
            ),
        ]
        indexes = [
            # Of all rows, not of the open ones: as it does not know the status, a payment need not touch it.
            models.Index(name="invoice_by_expiry", fields=["expires_at"]),
            models.Index(name="invoice_by_sending", fields=["sent_at"]),
        ]
        triggers = [
            pgtrigger.Protect(
                name="invoice_quote_stays",
                operation=pgtrigger.UpdateOf(*QUOTE),
                condition=pgtrigger.AnyChange(*QUOTE),
            ),
            # As a condition of the trigger: PostgreSQL judges it without starting a function for each payment.
            pgtrigger.Protect(
                name="invoice_states",
                operation=pgtrigger.UpdateOf("status"),
                condition=pgtrigger.Condition(
                    f"OLD.status <> NEW.status AND (OLD.status, NEW.status) NOT IN ({ALLOWED})"
                ),
            ),
            pgtrigger.Protect(name="invoice_never_deleted", operation=pgtrigger.Delete),
        ]

    def __str__(self) -> str:
        return f"{self.plan_id} for {self.price}"

    @property
    def price(self) -> Money:
        return Money(self.amount, self.currency)


class CheckoutDecision(models.Model):
    """What we answered to one pre-checkout, written with the answer; asked again, the answer is the same."""

    query_id = models.TextField()
    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, null=True, related_name="decisions")
    payer_telegram_id = models.BigIntegerField()
    ok = models.BooleanField()
    reason = models.CharField(max_length=30, blank=True, default="")
    decided_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(name="checkout_decided_once", fields=["query_id"]),
            models.CheckConstraint(name="checkout_refused_for_a_reason", condition=Q(ok=True) ^ ~Q(reason="")),
        ]
        triggers = [
            pgtrigger.Protect(name="checkout_decision_stays", operation=pgtrigger.Update | pgtrigger.Delete),
        ]

    def __str__(self) -> str:
        return "ok" if self.ok else self.reason


class ExpiryUpTo(UpTo):
    """Up to when lapsed invoices have been marked expired."""

    class Meta:
        constraints = [models.CheckConstraint(name="expiry_up_to_is_one_row", condition=Q(id=1))]
