"""What several lists are narrowed and searched by."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from payments.models import Price

BY_CUSTOMER = ("customer__user_id", "customer__telegram_user_id")


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
