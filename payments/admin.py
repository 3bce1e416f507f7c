"""The catalogue, the quotes, the ledger and what is owed because of it, for reading."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.text import Truncator

from config import shown
from config.admin import FactAdmin, FactInline, as_text
from config.exports import ExportedList
from config.filters import DayRange, DrillDown, is_by_day, period
from config.shown import Tone
from config.timeline import told
from entitlements import audit
from entitlements.models import MOST_NAMED, Customer
from payments import staff_refunds
from payments.hold_pages import HoldPages
from payments.models import (
    CheckoutDecision,
    Discrepancy,
    Dispute,
    EarlyRefund,
    ExpiryUpTo,
    Hold,
    InvariantCheck,
    Invoice,
    InvoiceStatus,
    MirrorCursor,
    Notice,
    OrderInfo,
    PaymentEvent,
    Plan,
    Price,
    ProviderRecord,
    ReconciliationRun,
    Refund,
    RefundStatus,
    RefundTally,
    Resolution,
    RevenueDay,
    RevenueUpTo,
    StarTransaction,
    StripeCustomer,
    StripeEvent,
    StripeEventStatus,
    StripeReadUpTo,
    Subscription,
    SubscriptionChange,
    SubscriptionDay,
    SubscriptionOrder,
    SubscriptionPayment,
    SubscriptionState,
    Tally,
    TallyUpTo,
    TelegramCurrency,
    WithoutReminders,
)
from payments.models.ledger import BROUGHT_BACK, DISPUTES, FAILED_REFUNDS, FEES, PAYMENTS
from payments.money import sum_in_words
from payments.order_info_pages import OrderInfoPages
from payments.reconciliation_pages import DiscrepancyPages, RunPages
from payments.refund_pages import ApprovalPages, RefundPages
from payments.revenue_pages import RevenuePages
from payments.selectors import PaymentStatus, status_of
from payments.stripe.event_pages import EventPages
from payments.subscription_pages import SubscriptionPages
from payments.timeline import SUBSCRIPTION_TONES

BY_CUSTOMER = ("customer__user_id", "customer__telegram_user_id")
INVOICE_TONES = {
    InvoiceStatus.DRAFT: Tone.QUIET,
    InvoiceStatus.SENT: Tone.WAITING,
    InvoiceStatus.UNCLEAR: Tone.WAITING,
    InvoiceStatus.VOID: Tone.BAD,
    InvoiceStatus.EXPIRED: Tone.QUIET,
    InvoiceStatus.PAID: Tone.GOOD,
}
STANDING_TONES = {
    PaymentStatus.PROCESSED: Tone.GOOD,
    PaymentStatus.HELD: Tone.WAITING,
    PaymentStatus.REFUNDED: Tone.BAD,
    PaymentStatus.DISMISSED: Tone.QUIET,
}
RESOLUTION_TONES = {Resolution.GRANTED: Tone.GOOD, Resolution.REFUNDED: Tone.BAD, Resolution.DISMISSED: Tone.QUIET}

REFUND_TONES = {
    RefundStatus.PROPOSED: Tone.WAITING,
    RefundStatus.DECLINED: Tone.QUIET,
    RefundStatus.REQUESTED: Tone.WAITING,
    RefundStatus.SENDING: Tone.WAITING,
    RefundStatus.VERIFY: Tone.WAITING,
    RefundStatus.CONFIRMED: Tone.GOOD,
    RefundStatus.REFUSED: Tone.BAD,
}


class PriceInline(FactInline):
    model = Price


@admin.register(Plan)
class PlanAdmin(FactAdmin):
    """Plans and prices are edited in the catalogue file; see `manage.py load_catalog`."""

    list_display = ("code", "title", "entitlement", "duration_days", "recurring", "when_active", "withdrawn_at")
    ordering = ["position", "code"]
    inlines = (PriceInline,)


@admin.register(Price)
class PriceAdmin(FactAdmin):
    list_display = ("plan", "payment_method", "money", "stripe_price_id")
    list_select_related = ("plan",)
    list_filter = ("payment_method", "currency")


@admin.register(TelegramCurrency)
class TelegramCurrencyAdmin(FactAdmin):
    """Read from Telegram's own table; see `manage.py refresh_currencies`."""

    list_display = ("code", "least", "most", "read_at")
    search_fields = ("code",)


@admin.register(Invoice)
class InvoiceAdmin(ExportedList, FactAdmin):
    exported = (
        "id", "status", "plan_id", "customer.user_id", "customer.telegram_user_id", "customer.display_name",
        "payment_method", "amount", "currency", "price", "created_at", "sent_at", "expires_at",
    )  # fmt: skip
    list_display = ("id", "status", "plan", "customer", "price", "payment_method", "created_at", "expires_at")
    list_select_related = ("customer", "plan")
    list_filter = ("status", "payment_method")
    search_fields = ("id", "payload", *BY_CUSTOMER)
    tones = {"status": INVOICE_TONES}


@admin.register(CheckoutDecision)
class CheckoutDecisionAdmin(FactAdmin):
    list_display = ("query_id", "ok", "reason", "payer_telegram_id", "invoice", "decided_at")
    list_select_related = ("invoice",)
    list_filter = ("ok",)
    search_fields = ("query_id", "invoice__id")


class CurrencyFilter(admin.SimpleListFilter):
    """The currencies of the catalogue and the one asked for: to ask the ledger for its own would read all of it."""

    title = "currency"
    parameter_name = "currency"
    judged_in_order_of = "occurred_at"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        currencies = {*Price.objects.values_list("currency", flat=True).distinct(), *request.GET.getlist("currency")}
        return [(currency, currency) for currency in sorted(currencies)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(currency=self.value()) if self.value() else queryset


class PlanFilter(admin.RelatedFieldListFilter):
    judged_in_order_of = "occurred_at"


ITS_OWN_INDEX = ("refunds", "disputes", "fees")


class KindFilter(admin.SimpleListFilter):
    """Payments, or refunds of known ones, or what these cost; by their own indexes, which a condition on the type would
    only hide.
    """

    title = "kind"
    parameter_name = "kind"
    closed = True
    served_in_order_of = "occurred_at"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("payments", "payments"),
            ("renewals", "renewals of subscriptions"),
            ("refunds", "refunds"),
            ("sales", "payments and refunds"),
            ("disputes", "disputed"),
            ("fees", "fees"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[PaymentEvent]) -> QuerySet[PaymentEvent]:
        match self.value():
            case "payments":
                return queryset.filter(event_type__in=PAYMENTS)
            case "renewals":
                return queryset.filter(subscription_payment__is_renewal=True)
            case "refunds":
                return queryset.filter(refund_of__isnull=False)
            case "sales":
                return queryset.filter(cost_of__isnull=True)
            case "disputes":
                return queryset.filter(cost_of__isnull=False, event_type__in=DISPUTES)
            case "fees":
                return queryset.filter(cost_of__isnull=False, event_type__in=FEES)
            case _:
                return queryset

    def within(self, request: HttpRequest, queryset: QuerySet[PaymentEvent]) -> QuerySet[PaymentEvent]:
        return self.queryset(request, queryset) if self.value() in ITS_OWN_INDEX else queryset


class RevenueDays(DayRange):
    """What the revenue of these days is made of: payments by the day they were made, the others by their own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title = "day it counts as revenue"

    def queryset(self, request: HttpRequest, queryset: QuerySet[PaymentEvent]) -> QuerySet[PaymentEvent]:
        narrowed = super().queryset(request, queryset)
        return narrowed.revenue() if self.used_parameters else narrowed  # type: ignore[attr-defined]


class StatusFilter(admin.ChoicesFieldListFilter):
    served_in_order_of = "received_at"


@admin.register(PaymentEvent)
class PaymentEventAdmin(ExportedList, OrderInfoPages, RefundPages):
    """The ledger: payments, refunds, and what they cost, each with its whole story."""

    exported_as = "payments"
    exported = (
        "id", "event_type", "status", "event_id", "payment_method", "plan_id",
        "customer.user_id", "customer.telegram_user_id", "customer.display_name",
        "amount", "currency", "money", "origin", "occurred_at", "received_at",
        "invoice_id", "refund_of_id", "cost_of_id", "provider_charge_id", "reference",
    )  # fmt: skip

    list_display = ("happened", "money", "standing", "plan", "customer", "payment_method", "origin", "received_at")
    list_select_related = ("customer", "plan", "hold")
    list_filter = (
        DrillDown,
        ("received_at", DayRange),
        ("occurred_at", RevenueDays),
        KindFilter,
        "event_type",
        ("status", StatusFilter),
        ("plan", PlanFilter),
        CurrencyFilter,
        "payment_method",
        "origin",
    )
    ordering = ["-received_at"]
    served_lookups = ("customer__id__exact",)
    search_fields = ("event_id", "id", "invoice__id", *BY_CUSTOMER)
    search_help_text = "Charge id, payment or invoice id, user id, Telegram id or name: the whole of it."
    search_bound = f"Of customers who share a name, the newest {MOST_NAMED:,} are looked for."
    fields = (
        "happened",
        "money",
        "standing",
        "customer",
        "plan",
        "invoice",
        "payment_method",
        "origin",
        "occurred_at",
        "received_at",
        "event_id",
        "provider_charge_id",
        "reference",
        "period_ends_at",
        "refund_of",
        "cost_of",
        "id",
    )
    change_form_outer_before_template = "admin/payments/payment.html"

    def get_ordering(self, request: HttpRequest) -> Any:
        """By the day it counts where it is asked for, and what has an index that knows no other; else by receipt."""
        by_receipt = is_by_day(request, "received_at") or request.GET.get("period")
        by_day = request.GET.get("kind") in ITS_OWN_INDEX and not by_receipt
        return ["-occurred_at"] if by_day or is_by_day(request, "occurred_at") else self.ordering

    def found_by(self, request: HttpRequest, search_term: str) -> list[QuerySet[Any]]:
        named = PaymentEvent.objects.filter(customer__in=Customer.objects.newest_named(search_term))
        return [*super().found_by(request, search_term), named]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        payment = self.get_object(request, object_id)
        known: dict[str, Any] = {}
        if payment:
            known["story"] = told(settings.TIMELINE_SOURCES, payment.refund_of or payment.cost_of or payment)
            known["why_not"] = staff_refunds.why_not(payment)
            known["recordable"] = staff_refunds.can_be_recorded(payment)
            known["pending"] = payment.refund_intents.open().first()
        return super().change_view(request, object_id, form_url, known | (extra_context or {}))

    def get_queryset(self, request: HttpRequest) -> QuerySet[PaymentEvent]:
        return super().get_queryset(request).prefetch_related("refunds")

    @admin.display(description="event")
    def happened(self, event: PaymentEvent) -> str:
        return event.get_event_type_display()

    @admin.display(description="status")
    def standing(self, event: PaymentEvent) -> str:
        """What became of a payment up to now, rather than how it was recorded."""
        if event.cost_of_id:
            brought_back = event.event_type in BROUGHT_BACK
            return shown.badge("brought back", Tone.GOOD) if brought_back else shown.badge("taken", Tone.QUIET)
        if event.refund_of_id:
            came_back = event.event_type in FAILED_REFUNDS
            return shown.badge("came back", Tone.WAITING) if came_back else shown.badge("given back", Tone.BAD)
        refunds = list(event.refunds.all())
        given_back: int = sum(
            -refund.amount if refund.event_type in FAILED_REFUNDS else refund.amount for refund in refunds
        )
        is_whole = bool(refunds) and given_back >= event.amount
        event.refunded_at = max(refund.occurred_at for refund in refunds) if is_whole else None  # type: ignore[attr-defined]
        status = status_of(event)
        if status == PaymentStatus.PROCESSED and given_back > 0:
            return shown.badge("given back in part", Tone.WAITING)
        return shown.badge(status.value, STANDING_TONES[status])


@admin.register(ProviderRecord)
class ProviderRecordAdmin(FactAdmin):
    list_display = ("event", "received_at")
    list_select_related = ("event",)
    search_fields = ("event__event_id", "event__id")
    fields = ("event", "answer")
    readonly_fields = ("answer",)

    @admin.display(description="answer of the provider")
    def answer(self, record: ProviderRecord) -> str:
        return as_text(record.body)

    @admin.display
    def received_at(self, record: ProviderRecord) -> str:
        return shown.time(record.event.received_at)


@admin.register(OrderInfo)
class OrderInfoAdmin(FactAdmin):
    """Erased on the page of its payment."""

    list_display = ("event", "name", "phone_number", "email", "erased_at")
    list_select_related = ("event",)
    ordering = ["-event"]
    search_fields = ("event__event_id", "event__id", "event__customer__user_id", "event__customer__telegram_user_id")


class UnresolvedFilter(admin.EmptyFieldListFilter):
    """By the index of the few that wait for a person."""

    served_in_order_of = "pk"

    def get_lookup_condition(self) -> Q:
        return Q(resolution="")


@admin.register(Hold)
class HoldAdmin(ExportedList, HoldPages):
    exported_as = "held payments"
    exported = (
        "id", "reason", "detail", "held_at", "resolution", "resolved_at", "resolved_by", "resolved_why", "event_id",
        "event.event_id", "event.customer.user_id", "event.customer.telegram_user_id", "event.customer.display_name",
        "event.amount", "event.currency", "event.money", "event.occurred_at",
    )  # fmt: skip
    list_display = ("reason", "event", "detail", "held_at", "decision", "resolved_by", "resolved_at")
    list_select_related = ("event",)
    list_filter = (("resolved_at", UnresolvedFilter), "reason", "resolution")
    tones = {"resolution": RESOLUTION_TONES}
    search_fields = ("event__event_id", "event__customer__user_id")
    fields = (
        "event",
        "reason",
        "detail",
        "held_at",
        "bytes_held",
        "decision",
        "resolved_at",
        "resolved_by",
        "resolved_why",
    )
    readonly_fields = ("bytes_held", "decision")
    change_form_outer_before_template = "admin/payments/hold/state.html"

    @admin.display(description="what could not be recorded")
    def bytes_held(self, hold: Hold) -> str:
        return as_text(hold.evidence or b"")


@admin.register(EarlyRefund)
class EarlyRefundAdmin(FactAdmin):
    list_display = ("event_id", "event_type", "customer", "amount", "currency", "received_at", "applied_at")
    list_select_related = ("customer",)
    list_filter = (("applied_at", admin.EmptyFieldListFilter),)
    search_fields = ("event_id", *BY_CUSTOMER)


class NoticeFilter(admin.SimpleListFilter):
    """What became of it."""

    title = parameter_name = "state"
    served_in_order_of = "pk"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("owed", "owed"), ("sent", "sent"), ("given_up", "given up")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Notice]) -> QuerySet[Notice]:
        match self.value():
            case "owed":
                return queryset.owed()  # type: ignore[attr-defined, no-any-return]
            case "sent":
                return queryset.filter(sent_at__isnull=False)
            case "given_up":
                return queryset.filter(given_up_at__isnull=False)
            case _:
                return queryset


@admin.register(Notice)
class NoticeAdmin(FactAdmin):
    list_display = ("kind", "event", "created_at", "attempts", "sent_at", "given_up_at", "error")
    list_select_related = ("event",)
    list_filter = (NoticeFilter, "kind")
    search_fields = ("event__event_id", "event__customer__user_id")


@admin.register(Tally)
class TallyAdmin(FactAdmin):
    list_display = ("result", "plan_code", "currency", "count", "amount")
    ordering = ["result", "plan_code", "currency"]
    list_filter = ("result",)


@admin.register(TallyUpTo)
class TallyUpToAdmin(FactAdmin):
    list_display = ("moment",)


@admin.register(RevenueDay)
class RevenueDayAdmin(RevenuePages):
    list_display = (
        "day", "plan_code", "currency", "payment_method", "gross", "refunded", "disputed", "fees", "payments",
        "refunds", "renewals",
    )  # fmt: skip
    ordering = ["-day", "plan_code", "currency", "payment_method"]
    list_filter = ("currency", "payment_method")


@admin.register(SubscriptionDay)
class SubscriptionDayAdmin(FactAdmin):
    list_display = (
        "day", "plan_code", "currency", "payment_method", "begun", "ended", "monthly_begun", "monthly_ended",
        "counted_at",
    )  # fmt: skip
    ordering = ["-day", "plan_code", "currency", "payment_method"]
    list_filter = ("currency", "payment_method")


@admin.register(RevenueUpTo)
class RevenueUpToAdmin(FactAdmin):
    list_display = ("moment",)


@admin.register(ExpiryUpTo)
class ExpiryUpToAdmin(FactAdmin):
    list_display = ("moment",)


@admin.register(Refund)
class RefundAdmin(ExportedList, ApprovalPages):
    exported = (
        "id", "status", "reason", "requested_by", "created_at", "confirmed_at", "attempts", "refusal", "detail",
        "payment_id", "payment.event_id", "payment.customer.user_id", "payment.customer.telegram_user_id",
        "payment.customer.display_name", "payment.amount", "payment.currency", "payment.money", "payment.occurred_at",
        "cancel_subscription", "subscription_cancelled_at", "cancel_refusal",
    )  # fmt: skip
    list_display = ("money", "status", "payment", "reason", "requested_by", "created_at", "confirmed_at")
    list_select_related = ("payment",)
    list_filter = ("status",)
    search_fields = ("id", "payment__event_id", "payment__customer__user_id")
    tones = {"status": REFUND_TONES}
    change_form_outer_before_template = "admin/payments/refund/state.html"

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        refund = self.get_object(request, object_id)
        asked_by = audit.known_as(refund.requested_by) if refund else ""
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), "asked_by": asked_by})


class ActiveOnFilter(admin.SimpleListFilter):
    """Those that were active at the end of a day, or before another: they had begun and not ended."""

    title = "active at the end of"
    parameter_name = "active_on"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(day, day) for day in request.GET.getlist(self.parameter_name)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Subscription]) -> QuerySet[Subscription]:
        return queryset.active_at(period(self.value() or "")[1]) if self.value() else queryset  # type: ignore[attr-defined]


class CurrencyOfSubscription(CurrencyFilter):
    judged_in_order_of = ""


class RunningFilter(admin.SimpleListFilter):
    title = parameter_name = "standing"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("running", "not ended"), *SubscriptionState.choices]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Subscription]) -> QuerySet[Subscription]:
        match self.value():
            case None:
                return queryset
            case "running":
                return queryset.running()  # type: ignore[attr-defined, no-any-return]
        return queryset.filter(state=self.value())


@admin.register(Subscription)
class SubscriptionAdmin(ExportedList, SubscriptionPages):
    """What is paid on by itself, each with its payments and its whole story."""

    exported = (
        "id", "state", "plan_id", "customer.user_id", "customer.telegram_user_id", "customer.display_name",
        "payment_method", "amount", "currency", "started_at", "renewals", "current_period_end", "stopped_at",
        "first_charge_id",
    )  # fmt: skip
    list_display = (
        "plan", "state", "customer", "money", "payment_method", "started_at", "renewals", "current_period_end",
    )  # fmt: skip
    list_select_related = ("customer", "plan")
    list_filter = (
        RunningFilter,
        ActiveOnFilter,
        ("started_at", DayRange),
        ("current_period_end", DayRange),
        ("state_changed_at", DayRange),
        CurrencyOfSubscription,
        "payment_method",
    )
    served_lookups = ("customer__id__exact",)
    search_fields = ("id", "first_charge_id", "reference", *BY_CUSTOMER)
    tones = {"state": SUBSCRIPTION_TONES}
    fields = (
        "plan", "state", "customer", "money", "payment_method", "started_at", "renewals", "current_period_end",
        "grace_ends_at", "state_changed_at", "stopped_at", "first_charge_id", "first_charge_known", "reference", "id",
    )  # fmt: skip
    change_form_outer_before_template = "admin/payments/subscription/state.html"


@admin.register(SubscriptionPayment)
class SubscriptionPaymentAdmin(FactAdmin):
    list_display = ("event", "subscription", "period_ends_at")
    list_select_related = ("event__customer", "event__plan", "subscription__customer")
    search_fields = ("event__id", "event__event_id", "subscription__id")


@admin.register(SubscriptionChange)
class SubscriptionChangeAdmin(FactAdmin):
    list_display = ("state", "at", "why", "subscription")
    list_select_related = ("subscription__customer",)
    search_fields = ("subscription__id",)


@admin.register(SubscriptionOrder)
class SubscriptionOrderAdmin(FactAdmin):
    list_display = ("what", "subscription", "reason", "ordered_by", "created_at", "done_at", "detail")
    list_select_related = ("subscription",)
    search_fields = ("id", "subscription__id")


@admin.register(WithoutReminders)
class WithoutRemindersAdmin(FactAdmin):
    list_display = ("customer", "since")
    list_select_related = ("customer",)
    search_fields = BY_CUSTOMER


@admin.register(RefundTally)
class RefundTallyAdmin(FactAdmin):
    list_display = ("result", "source", "count")
    ordering = ["result", "source"]


LONGEST_ERROR = 80  # letters in the list
EVENT_TONES = {
    StripeEventStatus.PENDING: Tone.WAITING,
    StripeEventStatus.DONE: Tone.GOOD,
    StripeEventStatus.FOREIGN: Tone.BAD,
    StripeEventStatus.QUARANTINED: Tone.BAD,
    StripeEventStatus.DEAD: Tone.BAD,
    StripeEventStatus.DISMISSED: Tone.QUIET,
}


class UndecidedFilter(admin.SimpleListFilter):
    """By the index of the few that wait for a person."""

    title = "waits for a person"
    parameter_name = "undecided"
    served_in_order_of = "received_at"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("1", "yes")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[StripeEvent]) -> QuerySet[StripeEvent]:
        return queryset.undecided() if self.value() else queryset  # type: ignore[attr-defined]


@admin.register(StripeEvent)
class StripeEventAdmin(EventPages):
    list_display = ("kind", "status", "outcome", "received_at", "attempts")
    list_filter = (UndecidedFilter,)
    ordering = ["-received_at"]
    tones = {"status": EVENT_TONES}
    search_fields = ("event_id", "about")
    search_help_text = "Stripe's id of the event, or of what it is about."
    fields = (
        "event_id",
        "kind",
        "about",
        "status",
        "received_at",
        "attempts",
        "next_attempt_at",
        "done_at",
        "error",
        "body_as_text",
    )
    readonly_fields = ("body_as_text",)

    @admin.display(description="error")
    def outcome(self, event: StripeEvent) -> str:
        """As much of it as a row has room for."""
        return Truncator(event.error).chars(LONGEST_ERROR) or shown.NOTHING

    @admin.display(description="body")
    def body_as_text(self, event: StripeEvent) -> str:
        return as_text(event.body)


class OpenDisputesFilter(admin.EmptyFieldListFilter):
    """By the index of the few that are open."""

    served_in_order_of = "opened_at"


DISPUTE_TONES = {"won": Tone.GOOD, "lost": Tone.BAD}


@admin.register(Dispute)
class DisputeAdmin(FactAdmin):
    """What banks dispute; it is answered in Stripe's dashboard."""

    list_display = ("money", "standing", "why", "customer", "opened_at", "evidence_due_at", "closed_at")
    list_select_related = ("payment__customer",)
    list_filter = (("closed_at", OpenDisputesFilter),)
    ordering = ["-opened_at"]
    search_fields = ("dispute_id", "payment__event_id", "payment__customer__user_id")
    search_help_text = "Stripe's id of the dispute or of the payment, or the user id."
    fields = (
        "money", "standing", "why", "customer", "payment", "opened_at", "evidence_due_at", "closed_at", "updated_at",
        "dispute_id",
    )  # fmt: skip
    change_form_outer_before_template = "admin/payments/dispute/state.html"

    @admin.display(description="status")
    def standing(self, dispute: Dispute) -> str:
        tone = DISPUTE_TONES.get(dispute.status, Tone.QUIET if dispute.closed_at else Tone.WAITING)
        return shown.badge(dispute.standing, tone)

    @admin.display(description="reason")
    def why(self, dispute: Dispute) -> str:
        return dispute.why

    @admin.display
    def customer(self, dispute: Dispute) -> str:
        return shown.link(dispute.payment.customer)

    @admin.display
    def money(self, dispute: Dispute) -> str:
        return sum_in_words(dispute.amount, dispute.currency)


@admin.register(StripeCustomer)
class StripeCustomerAdmin(FactAdmin):
    list_display = ("stripe_id", "customer", "created_at")
    list_select_related = ("customer",)
    search_fields = ("stripe_id", *BY_CUSTOMER)


@admin.register(StripeReadUpTo)
class StripeReadUpToAdmin(FactAdmin):
    list_display = ("moment",)


@admin.register(StarTransaction)
class StarTransactionAdmin(FactAdmin):
    list_display = ("transaction_id", "direction", "amount", "nanostar_amount", "date", "telegram_user_id", "renews")
    list_filter = ("direction",)
    search_fields = ("transaction_id",)


@admin.register(MirrorCursor)
class MirrorCursorAdmin(FactAdmin):
    list_display = ("length", "balance", "read_at", "not_before")


@admin.register(ReconciliationRun)
class ReconciliationRunAdmin(RunPages):
    list_display = ("started_at", "payment_method", "outcome", "asked_for_by", "came_of_it", "error")
    list_filter = ("outcome", "payment_method")


class OpenFilter(admin.EmptyFieldListFilter):
    """By the index of the few that wait for a person."""

    served_in_order_of = "pk"


@admin.register(Discrepancy)
class DiscrepancyAdmin(DiscrepancyPages):
    list_display = ("kind", "event", "telegram_says", "we_have", "found_at", "state")
    list_select_related = ("event",)
    list_filter = (("resolved_at", OpenFilter), "kind")
    search_fields = ("transaction_id", "event__customer__user_id", "event__customer__telegram_user_id")


@admin.register(InvariantCheck)
class InvariantCheckAdmin(FactAdmin):
    list_display = ("check_name", "contradictions", "first", "checked_at", "passed_at", "seconds")
    ordering = ["-differences", "check_name"]
    fields = ("check_name", "differences", "found", "position", "tried_at", "checked_at", "passed_at", "seconds")
    change_form_outer_before_template = "admin/payments/check.html"

    @admin.display(description="contradictions")
    def contradictions(self, check: InvariantCheck) -> str:
        if check.differences:
            return shown.badge(f"{check.differences:,}", Tone.BAD)
        return "none" if check.checked_at else shown.badge("not looked yet", Tone.WAITING)

    @admin.display(description="the first of them")
    def first(self, check: InvariantCheck) -> str:
        return check.detail.partition("\n")[0] or shown.NOTHING
