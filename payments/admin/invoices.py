"""The quotes, and what was decided when somebody was about to pay one."""

from __future__ import annotations

from django.contrib import admin

from config.admin import FactAdmin
from config.exports import ExportedList
from config.shown import Tone
from payments.admin.filters import BY_CUSTOMER
from payments.models import CheckoutDecision, ExpiryUpTo, Invoice, InvoiceStatus

INVOICE_TONES = {
    InvoiceStatus.DRAFT: Tone.QUIET,
    InvoiceStatus.SENT: Tone.WAITING,
    InvoiceStatus.UNCLEAR: Tone.WAITING,
    InvoiceStatus.VOID: Tone.BAD,
    InvoiceStatus.EXPIRED: Tone.QUIET,
    InvoiceStatus.PAID: Tone.GOOD,
}


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


@admin.register(ExpiryUpTo)
class ExpiryUpToAdmin(FactAdmin):
    list_display = ("moment",)
