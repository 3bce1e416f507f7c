"""The catalogue, the quotes, the ledger and what is owed because of it, for reading."""

from __future__ import annotations

from django.contrib import admin

from config.admin import FactAdmin, FactInline, as_text
from payments.models import (
    CheckoutDecision,
    EarlyRefund,
    ExpiryUpTo,
    Hold,
    Invoice,
    Notice,
    PaymentEvent,
    Plan,
    Price,
    ProviderRecord,
    Tally,
    TallyUpTo,
)

BY_CUSTOMER = ("customer__user_id", "customer__telegram_user_id")


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


@admin.register(Invoice)
class InvoiceAdmin(FactAdmin):
    list_display = ("id", "status", "plan", "customer", "price", "payment_method", "created_at", "expires_at")
    list_select_related = ("customer", "plan")
    list_filter = ("status", "payment_method")
    search_fields = ("id", "payload", *BY_CUSTOMER)


@admin.register(CheckoutDecision)
class CheckoutDecisionAdmin(FactAdmin):
    list_display = ("query_id", "ok", "reason", "payer_telegram_id", "invoice", "decided_at")
    list_select_related = ("invoice",)
    list_filter = ("ok", "reason")
    search_fields = ("query_id", "invoice__id")


class HoldInline(FactInline):
    model = Hold
    fields = ("reason", "detail", "held_at", "resolution", "resolved_by", "resolved_at")


class NoticeInline(FactInline):
    model = Notice
    fields = ("kind", "created_at", "attempts", "sent_at", "given_up_at", "error")


@admin.register(PaymentEvent)
class PaymentEventAdmin(FactAdmin):
    list_display = ("id", "event_type", "status", "plan", "customer", "money", "occurred_at", "received_at", "origin")
    list_select_related = ("customer", "plan")
    list_filter = ("event_type", "status", "currency", "origin", "received_at")
    ordering = ["-received_at"]
    search_fields = ("event_id", "id", *BY_CUSTOMER)
    inlines = (HoldInline, NoticeInline)


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

    @admin.display(ordering="event__received_at")
    def received_at(self, record: ProviderRecord) -> object:
        return record.event.received_at


@admin.register(Hold)
class HoldAdmin(FactAdmin):
    list_display = ("reason", "event", "detail", "held_at", "resolution", "resolved_by", "resolved_at")
    list_select_related = ("event",)
    list_filter = (("resolved_at", admin.EmptyFieldListFilter), "reason", "resolution")
    search_fields = ("event__event_id", "event__customer__user_id")
    fields = (
        "event",
        "reason",
        "detail",
        "held_at",
        "bytes_held",
        "resolution",
        "resolved_at",
        "resolved_by",
        "resolved_why",
    )
    readonly_fields = ("bytes_held",)

    @admin.display(description="what could not be recorded")
    def bytes_held(self, hold: Hold) -> str:
        return as_text(hold.evidence or b"")


@admin.register(EarlyRefund)
class EarlyRefundAdmin(FactAdmin):
    list_display = ("event_id", "event_type", "customer", "amount", "currency", "received_at", "applied_at")
    list_select_related = ("customer",)
    list_filter = (("applied_at", admin.EmptyFieldListFilter),)
    search_fields = ("event_id", *BY_CUSTOMER)


@admin.register(Notice)
class NoticeAdmin(FactAdmin):
    list_display = ("kind", "event", "created_at", "attempts", "sent_at", "given_up_at", "error")
    list_select_related = ("event",)
    list_filter = ("kind", ("sent_at", admin.EmptyFieldListFilter), ("given_up_at", admin.EmptyFieldListFilter))
    search_fields = ("event__event_id", "event__customer__user_id")


@admin.register(Tally)
class TallyAdmin(FactAdmin):
    list_display = ("result", "plan_code", "currency", "count", "amount")
    ordering = ["result", "plan_code", "currency"]
    list_filter = ("result",)


@admin.register(TallyUpTo)
class TallyUpToAdmin(FactAdmin):
    list_display = ("moment",)


@admin.register(ExpiryUpTo)
class ExpiryUpToAdmin(FactAdmin):
    list_display = ("moment",)
