"""Telegram's own list of Stars, and how the ledger compares with it."""

from __future__ import annotations

from django.contrib import admin

from config.admin import FactAdmin
from payments.models import Discrepancy, MirrorCursor, ReconciliationRun, StarTransaction
from payments.reconciliation_pages import DiscrepancyPages, RunPages


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
