"""Filters for lists of millions of rows: what they offer is known without reading the table."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import RangeDateFilter

LAST_YEAR = 9999  # after which there are no datetimes


def period(text: str) -> tuple[datetime, datetime]:
    """The first moment of a year, a month or a day of UTC, `2026-11-21`, and the first moment after it.

    :raises IncorrectLookupParameters: for what is none of these; the admin then shows the whole list
    """
    try:
        first = datetime.strptime(text, {4: "%Y", 7: "%Y-%m", 10: "%Y-%m-%d"}[len(text)]).replace(tzinfo=UTC)
    except (KeyError, ValueError) as error:
        raise IncorrectLookupParameters from error
    if first.year == LAST_YEAR:
        raise IncorrectLookupParameters
    if len(text) == 4:
        return first, first.replace(year=first.year + 1)
    if len(text) == 7:
        return first, (first + timedelta(days=31)).replace(day=1)
    return first, first + timedelta(days=1)


class DayRange(RangeDateFilter):  # type: ignore[misc]
    """From one day of UTC to another, both included."""

    @property
    def served_in_order_of(self) -> str:
        return str(self.field_path)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return self.within(request, queryset)

    def within(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        first = self.used_parameters.get(f"{self.parameter_name}_from")
        last = self.used_parameters.get(f"{self.parameter_name}_to")
        if first:
            queryset = queryset.filter(**{f"{self.parameter_name}__gte": period(first)[0]})
        if last:
            queryset = queryset.filter(**{f"{self.parameter_name}__lt": period(last)[1]})
        return queryset


def is_by_day(request: HttpRequest, field: str) -> bool:
    """Whether the list is narrowed by the days of this field, whose index then gives its order as well."""
    return any(request.GET.get(f"{field}_{end}") for end in ("from", "to"))


class DrillDown(admin.SimpleListFilter):
    """Years, then months of one, then its days: `?period=2026`, `2026-11`, `2026-11-21`.

    Django's `date_hierarchy` reads every row to know which days have some; this one offers all between the first
    row and the last, which an index knows.
    """

    title = "period"
    parameter_name = "period"
    field = served_in_order_of = "received_at"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        ends = model_admin.model.objects.order_by(self.field).values_list(self.field, flat=True)
        first, last = ends.first(), ends.last()
        self.reach = (first.date(), last.date()) if first and last else None
        return [("", "")] if self.reach else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return queryset
        first, end = period(self.value() or "")
        return queryset.filter(**{f"{self.field}__gte": first, f"{self.field}__lt": end})

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        chosen = self.value() or ""
        yield self._choice(changelist, "All", "", chosen)
        above = [chosen[:length] for length in (4, 7) if len(chosen) > length]
        for step in above:
            yield self._choice(changelist, step, step, chosen)
        if chosen:
            yield self._choice(changelist, chosen, chosen, chosen)
        for step in self._within(chosen):
            yield self._choice(changelist, step, step, chosen)

    def _choice(self, changelist: ChangeList, words: str, value: str, chosen: str) -> dict[str, Any]:
        change = {self.parameter_name: value} if value else {}
        return {
            "selected": value == chosen,
            "query_string": SafeString(changelist.get_query_string(change, [self.parameter_name])),
            "display": words,
        }

    def _within(self, chosen: str) -> list[str]:
        """The next smaller periods of the chosen one in which there may be rows."""
        if self.reach is None or len(chosen) > 7:
            return []
        length = {0: 4, 4: 7, 7: 10}[len(chosen)]
        first, last = self.reach
        if chosen:
            start, end = period(chosen)
            first, last = max(first, start.date()), min(last, (end - timedelta(days=1)).date())
        days = ((first + timedelta(days=number)).isoformat() for number in range((last - first).days + 1))
        return list(dict.fromkeys(day[:length] for day in days))
