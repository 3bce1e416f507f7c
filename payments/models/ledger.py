"""The ledger of payment events, what the providers said, and what waits for a person's decision."""

from __future__ import annotations

from datetime import datetime
from typing import Self

import pgtrigger
from django.db import models
from django.db.models import OuterRef, Q
from django.db.models.functions import Coalesce, Mod, Now
from django.db.models.lookups import Exact

from entitlements.models import SAMPLED, Customer
from payments.identifiers import uuid7
from payments.models.catalogue import PaymentMethod, Plan
from payments.models.invoices import Invoice
from payments.money import Money


class EventType(models.TextChoices):
    """A method and what happened by it. Together with the provider's id it is the key of an event."""

    STARS_PAYMENT = "telegram_stars.successful_payment", "Stars paid"
    STARS_REFUND = "telegram_stars.refunded_payment", "Stars refunded"
    PROVIDER_PAYMENT = "telegram_provider.successful_payment", "card paid"
    PROVIDER_REFUND = "telegram_provider.refunded_payment", "card refunded"
    STRIPE_PAYMENT = "stripe.successful_payment", "paid with Stripe"
    STRIPE_REFUND = "stripe.refunded_payment", "refunded by Stripe"
    STRIPE_FAILED_REFUND = "stripe.failed_refund", "refund by Stripe that came back"
    STRIPE_FEE = "stripe.charged_fee", "fee of Stripe"
    STRIPE_RETURNED_FEE = "stripe.returned_fee", "fee returned by Stripe"
    STRIPE_DISPUTED = "stripe.disputed_payment", "taken back by the bank"
    STRIPE_REINSTATED = "stripe.reinstated_payment", "brought back by the bank"

    @classmethod
    def payment_by(cls, method: PaymentMethod) -> EventType:
        return cls(f"{method.value}.successful_payment")

    @classmethod
    def refund_by(cls, method: PaymentMethod) -> EventType:
        return cls(f"{method.value}.refunded_payment")


PAYMENTS = (EventType.STARS_PAYMENT, EventType.PROVIDER_PAYMENT, EventType.STRIPE_PAYMENT)
REFUNDS = (EventType.STARS_REFUND, EventType.PROVIDER_REFUND, EventType.STRIPE_REFUND)
# What a payment cost beside what was given back of it, and what of that came back.
FEES = (EventType.STRIPE_FEE, EventType.STRIPE_RETURNED_FEE)
DISPUTES = (EventType.STRIPE_DISPUTED, EventType.STRIPE_REINSTATED)
BROUGHT_BACK = (EventType.STRIPE_RETURNED_FEE, EventType.STRIPE_REINSTATED)
COST_KINDS = ("charged_fee", "returned_fee", "disputed_payment", "reinstated_payment")
KINDS = ("successful_payment", "refunded_payment", "failed_refund", *COST_KINDS)
# Money that had been given back and did not arrive: each undoes the refund with the same id.
FAILED_REFUNDS = (EventType.STRIPE_FAILED_REFUND,)
# Of the rows that belong to one payment, what is given back of it in all.
GIVEN_BACK = models.Sum(
    models.Case(
        models.When(event_type__in=FAILED_REFUNDS, then=-models.F("amount")),
        default=models.F("amount"),
        output_field=models.BigIntegerField(),
    )
)


class EventStatus(models.TextChoices):
    """As it was when the event was recorded; what became of a held one is in its hold."""

    PROCESSED = "processed", "processed"
    HELD = "held", "held"


class Origin(models.TextChoices):
    """How we learnt of an event."""

    WEBHOOK = "webhook", "webhook"
    API = "api", "API"
    RECONCILIATION = "reconciliation", "reconciliation"
    STAFF = "staff", "staff"


class PaymentEventQuerySet(models.QuerySet["PaymentEvent"]):
    def payments(self) -> Self:
        return self.filter(event_type__in=PAYMENTS)

    def refunds(self) -> Self:
        return self.filter(event_type__in=REFUNDS)

    def given_back(self) -> int:
        """Of the refunds of one payment, the sum of those that did arrive, in the currency's smallest unit."""
        return int(self.aggregate(sum=GIVEN_BACK)["sum"] or 0)

    def revenue(self) -> Self:
        """What payments.revenue counts: a payment processed or granted, what was given back or disputed of it, and the
        fees of every payment.

        Each held payment is looked up by itself: the planner never reads the other table whole for a few of them.
        """
        hold = Hold.objects.filter(event=OuterRef("pk"))
        counts = Q(status=EventStatus.PROCESSED) | Q(resolution=Resolution.GRANTED)
        resolution = models.Subquery(hold.values("resolution"))
        behind = Coalesce(OuterRef("refund_of"), OuterRef("cost_of"))
        payment = PaymentEvent.objects.filter(pk=behind).alias(resolution=resolution)
        paid = payment.annotate(counts=models.ExpressionWrapper(counts, models.BooleanField())).values("counts")
        return self.alias(resolution=resolution).filter(
            Q(event_type__in=PAYMENTS) & counts
            | Q(event_type__in=(*REFUNDS, *FAILED_REFUNDS, *DISPUTES)) & Q(models.Subquery(paid))
            | Q(event_type__in=FEES)
        )

    def newest_first(self) -> Self:
        return self.order_by("-occurred_at", "-pk")

    def with_refund(self) -> Self:
        """Each payment with `refunded_at`: the time from which all of it had been given back, or None."""
        refunds = PaymentEvent.objects.filter(refund_of=OuterRef("pk")).order_by().values("refund_of")
        summed = refunds.annotate(given_back=GIVEN_BACK, last=models.Max("occurred_at"))
        return self.annotate(
            refunded_at=models.Subquery(summed.filter(given_back__gte=OuterRef("amount")).values("last"))
        )


class PaymentEvent(models.Model):
    """One event of money, recorded once and never changed: a payment received, given back, or come back after all; a
    fee for it, or what a bank took back of it.

    `event_id` is the provider's charge id: opaque, case-sensitive, never trimmed. Where a payment can be given back in
    parts, each of them has the provider's id of that refund, as has the row that undoes it. A fee and what is disputed
    have that of the movement of the provider's balance.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    event_id = models.TextField()
    event_type = models.CharField(max_length=40, choices=EventType)
    payment_method = models.CharField(max_length=20, choices=PaymentMethod)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="payment_events", db_index=False)
    invoice = models.ForeignKey(
        Invoice, on_delete=models.PROTECT, null=True, related_name="payment_events", db_index=False
    )
    # No constraint of the database: each payment would lock the row of its plan, the same row for thousands of them.
    # A plan is never deleted and its code never changes; triggers say so.
    plan = models.ForeignKey(
        Plan,
        on_delete=models.PROTECT,
        null=True,
        related_name="payment_events",
        db_index=False,
        db_constraint=False,
    )
    amount = models.BigIntegerField(help_text="In the currency's smallest unit.")
    currency = models.CharField(max_length=3)
    status = models.CharField(max_length=9, choices=EventStatus)
    origin = models.CharField(max_length=14, choices=Origin)
    occurred_at = models.DateTimeField(help_text="When the provider says it happened, never later than received_at.")
    received_at = models.DateTimeField(help_text="When we recorded it, by the database's clock.")
    provider_charge_id = models.TextField(blank=True, default="", help_text="The payment provider's own id, for fiat.")
    reference = models.TextField(blank=True, default="", help_text="The payload or the sender's own reference.")
    period_ends_at = models.DateTimeField(null=True, help_text="The end that a subscription's payment bought.")
    refund_of = models.ForeignKey("self", on_delete=models.PROTECT, null=True, related_name="refunds", db_index=False)
    cost_of = models.ForeignKey(
        "self",
        on_delete=models.PROTECT,
        null=True,
        related_name="costs",
        db_index=False,
        help_text="Of a fee, or of what a bank took back: the payment. A fee may be in another currency.",
    )

    objects = PaymentEventQuerySet.as_manager()

    class Meta:
        # PostgreSQL parses each check anew for every statement, and a short one in a tenth of a long one's time.
        constraints = [
            models.UniqueConstraint(name="payment_event_once", fields=["event_id", "event_type"]),
            models.CheckConstraint(name="payment_event_amount_positive", condition=Q(amount__gt=0)),
            models.CheckConstraint(name="payment_event_currency", condition=Q(currency__regex=r"^[A-Z]{3}$")),
            models.CheckConstraint(name="payment_event_has_an_id", condition=~Q(event_id="")),
            models.CheckConstraint(
                name="payment_event_type_of_its_method",
                condition=Q(
                    models.Func(
                        "event_type", "payment_method", function="starts_with", output_field=models.BooleanField()
                    ),
                    event_type__regex=rf"^({'|'.join(PaymentMethod.values)})\.({'|'.join(KINDS)})$",
                ),
            ),
            models.CheckConstraint(
                name="payment_event_only_refunds_refund",
                condition=Q(refund_of__isnull=True) | Q(event_type__regex="(refunded_payment|failed_refund)$"),
            ),
            models.CheckConstraint(
                name="payment_event_only_costs_cost",
                condition=Q(cost_of__isnull=True) | Q(event_type__regex=f"({'|'.join(COST_KINDS)})$"),
            ),
            models.CheckConstraint(
                name="payment_event_not_before_it_happened", condition=Q(occurred_at__lte=models.F("received_at"))
            ),
        ]
        indexes = [
            models.Index(name="payment_event_of_customer", fields=["customer", "occurred_at"]),
            models.Index(name="payment_event_by_receipt", fields=["received_at"]),
            models.Index(name="held_event_by_receipt", fields=["received_at"], condition=Q(status=EventStatus.HELD)),
            models.Index(name="payment_event_by_day", fields=["occurred_at", "currency", "plan"]),
            models.Index(
                name="refund_event_by_day",
                fields=["occurred_at", "currency", "plan"],
                condition=Q(refund_of__isnull=False),
            ),
            models.Index(
                name="payer_sampled_by_day",
                fields=["occurred_at", "customer"],
                include=["event_type", "status", "id"],
                condition=Q(Exact(Mod("customer", SAMPLED), 0)),
            ),
            models.Index(
                name="payment_event_at_provider",
                fields=["provider_charge_id"],
                condition=Q(payment_method=PaymentMethod.TELEGRAM_PROVIDER),
            ),
            models.Index(name="payment_event_of_invoice", fields=["invoice"], condition=Q(invoice__isnull=False)),
            models.Index(name="payment_event_refund_of", fields=["refund_of"], condition=Q(refund_of__isnull=False)),
            models.Index(name="payment_event_cost_of", fields=["cost_of"], condition=Q(cost_of__isnull=False)),
            models.Index(
                name="cost_event_by_day",
                fields=["occurred_at", "currency", "plan"],
                condition=Q(cost_of__isnull=False),
            ),
        ]
        permissions = [("export", "Can export lists")]
        triggers = [
            pgtrigger.Protect(name="ledger_is_append_only", operation=pgtrigger.Update | pgtrigger.Delete),
        ]

    def __str__(self) -> str:
        return f"{self.get_event_type_display()}: {self.money}"

    @property
    def left(self) -> int:
        """Of a payment, what is not given back, in the currency's smallest unit."""
        return self.amount - self.refunds.given_back()

    @property
    def money(self) -> Money:
        return Money(self.amount, self.currency)

    @property
    def channel(self) -> str:
        """Whom we ask to give it back, or to renew it no more, for sentences."""
        return "Stripe" if self.payment_method == PaymentMethod.STRIPE else "Telegram"

    @property
    def source(self) -> str:
        """The source of the grant that this payment gave."""
        return f"{self.payment_method}:{self.event_id}"


class ProviderRecord(models.Model):
    """What the provider sent for an event, whole. Erasing a customer may blank it; the ledger keeps ids and amounts."""

    event = models.OneToOneField(
        PaymentEvent, on_delete=models.PROTECT, primary_key=True, related_name="provider_record"
    )
    body = models.BinaryField(help_text="JSON, as bytes: a genuine answer may hold what text columns cannot.")

    def __str__(self) -> str:
        return f"answer for {self.event_id}"


class HoldReason(models.TextChoices):
    UNKNOWN_PAYLOAD = "unknown_payload", "its payload is not one of our invoices"
    FOREIGN_PAYER = "foreign_payer", "somebody else paid the invoice"
    AMOUNT_MISMATCH = "amount_mismatch", "the amount is not the invoice's"
    CURRENCY_MISMATCH = "currency_mismatch", "the currency is not the invoice's"
    METHOD_MISMATCH = "method_mismatch", "it was paid by another method than quoted"
    PLAN_MISMATCH = "plan_mismatch", "the plan is not the invoice's"
    UNKNOWN_PLAN = "unknown_plan", "the plan is not in the catalogue"
    CUSTOMER_BLOCKED = "customer_blocked", "the customer is blocked"
    BOUGHT_TWICE = "bought_twice", "the customer had it already"
    FOREIGN_REFUND = "foreign_refund", "a refund that names another customer than the payment"
    REFUND_MISMATCH = "refund_mismatch", "a refund of another amount than was paid"
    REFUND_FAILED = "refund_failed", "a refund that did not arrive: the customer has neither money nor access"
    UNREADABLE = "unreadable", "its amount, currency or id cannot be read"


class Resolution(models.TextChoices):
    GRANTED = "granted", "access granted"
    REFUNDED = "refunded", "refunded"
    DISMISSED = "dismissed", "dismissed"


class HoldQuerySet(models.QuerySet["Hold"]):
    def unresolved(self) -> Self:
        return self.filter(resolution="")

    def oldest_unresolved(self) -> datetime | None:
        """Since when the first of those unresolved has waited."""
        return self.unresolved().order_by("held_at").values_list("held_at", flat=True).first()


class Hold(models.Model):
    """Money that was taken but not acted upon, with the reason, until a person (or the missing event) resolves it."""

    event = models.OneToOneField(PaymentEvent, on_delete=models.PROTECT, null=True, related_name="hold")
    evidence = models.BinaryField(null=True, help_text="The bytes of what could not become an event.")
    evidence_digest = models.BinaryField(max_length=32, null=True, unique=True)
    reason = models.CharField(max_length=20, choices=HoldReason)
    detail = models.TextField(blank=True, default="", help_text="What was expected and what came.")
    held_at = models.DateTimeField(db_default=Now())
    resolution = models.CharField(max_length=9, choices=Resolution, blank=True, default="")
    resolved_at = models.DateTimeField(null=True)
    resolved_by = models.TextField(blank=True, default="", help_text="staff:<id>, or what resolved it by itself.")
    resolved_why = models.TextField(blank=True, default="")

    objects = HoldQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="hold_of_an_event_or_of_bytes",
                condition=Q(event__isnull=False, evidence__isnull=True, evidence_digest__isnull=True)
                | Q(event__isnull=True, evidence_digest__isnull=False),
            ),
            models.CheckConstraint(
                name="hold_resolved_by_somebody",
                condition=Q(resolution="", resolved_at__isnull=True)
                | (~Q(resolution="") & Q(resolved_at__isnull=False) & ~Q(resolved_by="")),
            ),
        ]
        indexes = [
            models.Index(name="hold_unresolved", fields=["held_at"], condition=Q(resolution="")),
            models.Index(name="hold_granted", fields=["resolved_at"], condition=Q(resolution=Resolution.GRANTED)),
        ]
        permissions = [("resolve_hold", "Can decide about held payments")]
        triggers = [
            pgtrigger.ReadOnly(
                name="hold_facts_stay",
                exclude=["evidence", "resolution", "resolved_at", "resolved_by", "resolved_why"],
            ),
            pgtrigger.Protect(
                name="hold_resolved_once",
                operation=pgtrigger.Update,
                condition=pgtrigger.Condition(
                    "OLD.resolution <> '' AND (OLD.resolution, OLD.resolved_at, OLD.resolved_by, OLD.resolved_why)"
                    " IS DISTINCT FROM (NEW.resolution, NEW.resolved_at, NEW.resolved_by, NEW.resolved_why)"
                ),
            ),
            pgtrigger.Protect(name="hold_never_deleted", operation=pgtrigger.Delete),
        ]

    def __str__(self) -> str:
        return self.get_reason_display()


class EarlyRefundQuerySet(models.QuerySet["EarlyRefund"]):
    def waiting(self) -> Self:
        return self.filter(applied_at__isnull=True)

    def of(self, payment: PaymentEvent) -> Self:
        """Those of the payment's charge; one that names no money could not say by which method it was paid either."""
        of_its_method = Q(event_type=EventType.refund_by(PaymentMethod(payment.payment_method)))
        return self.filter(of_its_method | Q(amount__isnull=True), event_id=payment.event_id)


class EarlyRefund(models.Model):
    """A refund that overtook its payment. Recording the payment applies it in the same transaction."""

    event_id = models.TextField()
    event_type = models.CharField(max_length=40, choices=EventType)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="early_refunds")
    amount = models.BigIntegerField(null=True, help_text="Empty when the sender did not say: the whole payment.")
    currency = models.CharField(max_length=3, blank=True, default="")
    occurred_at = models.DateTimeField()
    origin = models.CharField(max_length=14, choices=Origin)
    body = models.BinaryField(help_text="What the provider sent, as bytes.")
    received_at = models.DateTimeField(db_default=Now())
    applied_at = models.DateTimeField(null=True)

    objects = EarlyRefundQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                "event_id", "event_type", "customer", Coalesce("amount", 0), "currency", name="early_refund_once"
            ),
            models.CheckConstraint(
                name="early_refund_is_a_refund", condition=Q(event_type__in=REFUNDS) & ~Q(event_id="")
            ),
        ]
        indexes = [
            models.Index(name="early_refund_waiting", fields=["received_at"], condition=Q(applied_at__isnull=True)),
        ]

    def __str__(self) -> str:
        return f"early refund of {self.event_id}"
