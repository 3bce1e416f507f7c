"""What the admin pages of all apps share: facts are read there, never written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, cast

import unfold.admin
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import get_fields_from_path
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.functional import cached_property
from django.utils.html import conditional_escape

from config import shown
from config.bounded import BoundedList, BoundedPaginator
from config.filters import DayRange, is_by_day
from config.shown import Tones

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    ModelAdmin = admin.ModelAdmin[Any]
    TabularInline = admin.TabularInline[Any, Any]
else:
    ModelAdmin = unfold.admin.ModelAdmin
    TabularInline = unfold.admin.TabularInline

MOST_SHOWN = 20_000  # characters


def staff_of(request: HttpRequest) -> User:
    """Who is at the admin; nobody else gets to its views."""
    return cast("User", request.user)


def decided(request: HttpRequest) -> bool:
    """Whether a button of the page itself was pressed, so that something is to be done and not only shown."""
    return request.method == "POST" and "do" in request.POST


class ReadOnly:
    """Nobody adds, changes or deletes it here, a superuser neither."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class Shown:
    """What cannot be edited looks as everywhere in the house; `tones` names the fields that are badges."""

    tones: ClassVar[Tones] = {}
    model: type[Any]
    fields: ClassVar[Any] = None

    def get_form(self, request: HttpRequest, obj: Model | None = None, change: bool = False, **kwargs: Any) -> Any:
        """What the fields mean is text, though the templates take it for HTML: `staff:<id>` is no tag."""
        meanings = {field.name: conditional_escape(field.help_text) for field in self.model._meta.fields}  # noqa: SLF001 - Django's API
        return super().get_form(request, obj, change=change, **{"help_texts": meanings, **kwargs})  # type: ignore[misc]

    def get_list_display(self, request: HttpRequest) -> Any:
        return self._shown(super().get_list_display(request))  # type: ignore[misc]

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        names = super().get_readonly_fields(request, obj)  # type: ignore[misc]
        if not self.has_change_permission(request, obj):  # type: ignore[attr-defined]
            names = dict.fromkeys([*names, *(self.fields or ())])
        return self._shown(names)

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        names = super().get_fields(request, obj)  # type: ignore[misc]
        if not self.has_change_permission(request, obj):  # type: ignore[attr-defined]
            return self._shown(names)
        readonly = super().get_readonly_fields(request, obj)  # type: ignore[misc]
        return [self._shown([name])[0] if name in readonly else name for name in names]

    def _shown(self, names: Iterable[shown.Column]) -> list[shown.Column]:
        return [self._columns.setdefault(name, shown.column(self.model, name, self.tones)) for name in names]

    @cached_property
    def _columns(self) -> dict[shown.Column, shown.Column]:
        """Made once: Django compares columns by identity."""
        return {}


class Discreet:
    """Whoever may not see the rows is not told which there are."""

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """Django looks for the row first, and says of one that is missing that it is."""
        if not self.has_view_or_change_permission(request):  # type: ignore[attr-defined]
            raise PermissionDenied
        history: HttpResponse = super().history_view(request, object_id, extra_context)  # type: ignore[misc]
        return history


class LargeTableAdmin(Discreet, Shown, ModelAdmin):
    """Pages that stay quick over millions of rows: newest first by an index, never counted, found by whole values."""

    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = BoundedPaginator
    list_max_show_all = 0
    list_filter_submit = True
    sortable_by = ()
    list_per_page = 50
    ordering = ["-pk"]
    list_before_template = "admin/list_bounds.html"
    served_lookups: ClassVar[tuple[str, ...]] = ()  # of an address, which an index finds in any order
    search_bound = ""  # what a search does not look through, in words
    search_help_text = "Whole values are found, parts of them are not."

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[BoundedList]:
        return BoundedList

    def get_ordering(self, request: HttpRequest) -> Any:
        """By the days by which the list is narrowed: their index then gives the order as well."""
        filters = (each for each in self.list_filter if isinstance(each, tuple))
        fields = (str(field) for field, kind in filters if issubclass(kind, DayRange))
        return next(([f"-{field}"] for field in fields if is_by_day(request, field)), self.ordering)

    def response_action(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Have it done with the chosen rows, of which each is named by what can be a key."""
        try:
            for key in request.POST.getlist(ACTION_CHECKBOX_NAME):
                self.opts.pk.to_python(key)
        except ValidationError:
            messages.error(request, "Choose rows of the list.")
            return redirect(request.get_full_path())
        return super().response_action(request, *args, **kwargs)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Ask each field by itself: with OR between them the database would use no index at all."""
        if not search_term:
            return queryset, False
        found = [rows.values("pk") for rows in self.found_by(request, search_term)]
        return (queryset.filter(pk__in=found[0].union(*found[1:])) if found else queryset.none()), False

    def found_by(self, request: HttpRequest, search_term: str) -> list[QuerySet[Any]]:
        """The rows that each way to search finds, every one by an index."""
        return [
            self.searched().filter(**{path: value})
            for path in self.get_search_fields(request)
            if (value := self.value_for(path, search_term)) is not None
        ]

    def searched(self) -> QuerySet[Any]:
        """The rows among which is searched."""
        rows: QuerySet[Any] = self.model.objects.all()
        return rows

    def value_for(self, path: str, search_term: str) -> object:
        """The term as a value of the field, or None when it cannot be one."""
        try:
            return get_fields_from_path(self.model, path)[-1].to_python(search_term)
        except ValidationError:
            return None


class FactAdmin(ReadOnly, LargeTableAdmin):
    actions: Any = None


class FactInline(ReadOnly, Shown, TabularInline):
    extra = 0
    can_delete = False
    show_change_link = True


def as_text(stored: bytes | memoryview) -> str:
    """Bytes for people to read: whatever they hold, and not more than a page can bear."""
    text = bytes(stored).decode(errors="backslashreplace")
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}… ({len(text)} characters)"
