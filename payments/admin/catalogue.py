"""Plans, their prices, and what Telegram's providers take."""

from __future__ import annotations

from django.contrib import admin

from config.admin import FactAdmin, FactInline
from payments.models import Plan, Price, TelegramCurrency


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
