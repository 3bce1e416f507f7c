"""The ledger, with the providers' answers and what buyers were asked to enter."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from config import shown
from config.admin import FactAdmin, as_text
from config.exports import ExportedList
from config.filters import DayRange, DrillDown, is_by_day
from config.shown import Tone
from config.timeline import told
from entitlements.models import MOST_NAMED, Customer
from payments import staff_refunds
from payments.admin.filters import BY_CUSTOMER, CurrencyFilter
from payments.models import OrderInfo, PaymentEvent, ProviderRecord
from payments.models.ledger import BROUGHT_BACK, DISPUTES, FAILED_REFUNDS, FEES, PAYMENTS
from payments.order_info_pages import OrderInfoPages
from payments.refund_pages import RefundPages
from payments.selectors import PaymentStatus, status_of

STANDING_TONES = {
    PaymentStatus.PROCESSED: Tone.GOOD,
    PaymentStatus.HELD: Tone.WAITING,
    PaymentStatus.REFUNDED: Tone.BAD,
    PaymentStatus.DISMISSED: Tone.QUIET,
}
ITS_OWN_INDEX = ("refunds", "disputes", "fees")


class PlanFilter(admin.RelatedFieldListFilter):
    judged_in_order_of = "occurred_at"


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
