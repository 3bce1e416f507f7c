"""What buyers are told, and who wants no reminders."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from config.admin import FactAdmin
from payments.admin.filters import BY_CUSTOMER
from payments.models import Notice, WithoutReminders


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


@admin.register(WithoutReminders)
class WithoutRemindersAdmin(FactAdmin):
    list_display = ("customer", "since")
    list_select_related = ("customer",)
    search_fields = BY_CUSTOMER
