"""What is paid on by itself, its periods, its changes, and what staff ordered about it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from config.admin import FactAdmin
from config.exports import ExportedList
from config.filters import DayRange, period
from payments.admin.filters import BY_CUSTOMER, CurrencyFilter
from payments.models import Subscription, SubscriptionChange, SubscriptionOrder, SubscriptionPayment, SubscriptionState
from payments.subscription_pages import SubscriptionPages
from payments.timeline import SUBSCRIPTION_TONES


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
