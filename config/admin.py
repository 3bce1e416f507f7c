"""What the admin pages of all apps share: facts are read there, never written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.utils import get_fields_from_path
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.http import HttpRequest

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
    TabularInline = admin.TabularInline[Any, Any]
else:
    ModelAdmin = admin.ModelAdmin
    TabularInline = admin.TabularInline

MOST_SHOWN = 20_000  # characters


class ReadOnly:
    """Nobody adds, changes or deletes it here, a superuser neither."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class LargeTableAdmin(ModelAdmin):
    """Pages that stay quick over millions of rows: newest first by an index, counted once, searched by whole values."""

    show_full_result_count = False
    list_per_page = 50
    ordering = ["-pk"]
    search_help_text = "Whole values are found, parts of them are not."

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Ask each field by itself: with OR between them the database would use no index at all."""
        found = [
            self.searched().order_by().filter(**{path: value}).values("pk")
            for path in self.get_search_fields(request)
            if (value := self.value_for(path, search_term)) is not None
        ]
        if not search_term or not found:
            return (queryset.none() if search_term else queryset), False
        return queryset.filter(pk__in=found[0].union(*found[1:])), False

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
    actions = None


class FactInline(ReadOnly, TabularInline):
    extra = 0
    can_delete = False
    show_change_link = True


def as_text(stored: bytes | memoryview) -> str:
    """Bytes for people to read: whatever they hold, and not more than a page can bear."""
    text = bytes(stored).decode(errors="backslashreplace")
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}… ({len(text)} characters)"
