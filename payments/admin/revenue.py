"""Sums of the books: revenue, subscriptions and results by day or in all."""

from __future__ import annotations

from django.contrib import admin

from config.admin import FactAdmin
from payments.models import RevenueDay, RevenueUpTo, SubscriptionDay, Tally, TallyUpTo
from payments.revenue_pages import RevenuePages


@admin.register(RevenueDay)
class RevenueDayAdmin(RevenuePages):
    list_display = (
        "day", "plan_code", "currency", "payment_method", "gross", "refunded", "disputed", "fees", "payments",
        "refunds", "renewals",
    )  # fmt: skip
    ordering = ["-day", "plan_code", "currency", "payment_method"]
    list_filter = ("currency", "payment_method")


@admin.register(RevenueUpTo)
class RevenueUpToAdmin(FactAdmin):
    list_display = ("moment",)


@admin.register(SubscriptionDay)
class SubscriptionDayAdmin(FactAdmin):
    list_display = (
        "day", "plan_code", "currency", "payment_method", "begun", "ended", "monthly_begun", "monthly_ended",
        "counted_at",
    )  # fmt: skip
    ordering = ["-day", "plan_code", "currency", "payment_method"]
    list_filter = ("currency", "payment_method")


@admin.register(Tally)
class TallyAdmin(FactAdmin):
    list_display = ("result", "plan_code", "currency", "count", "amount")
    ordering = ["result", "plan_code", "currency"]
    list_filter = ("result",)


@admin.register(TallyUpTo)
class TallyUpToAdmin(FactAdmin):
    list_display = ("moment",)
