"""Lists of the admin as CSV: with their filters and search, for those who may, with a reason that is kept.

The rows are read a page at a time, each page after the last row of the one before: no transaction and no connection
lasts as long as the download, and memory stays flat. Rows that come in meanwhile are newer than the first page and
are left out.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import structlog
from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.core.serializers.json import DjangoJSONEncoder
from django.db import DEFAULT_DB_ALIAS, Error, transaction
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.duration import duration_iso_string

from config.admin import staff_of
from config.bounded import BEFORE
from config.database import database_now, long_statements, release_connection, retried
from config.replica import REPLICA, reader
from entitlements import audit
from entitlements.decisions import DecisionForm

if TYPE_CHECKING:
    from django.contrib.auth.models import User

log = structlog.get_logger(__name__)

PERMISSION = "payments.export"
ROWS_AT_ONCE = 2_000
# What a spreadsheet would compute, also where it takes a semicolon or a tab for the end of a cell.
SIGNS = "=+\\-@＝＋－＠"
FORMULA = re.compile(rf"^(?=[{SIGNS}\t\r\n])|(?<=[;\t\r\n])(?=[ \"]*[{SIGNS}])")


@transaction.atomic
def begin_export(*, staff: User, permission: str, what: str, filters: Mapping[str, Any], reason: str) -> None:
    """Allow an export and keep who took what and why. Asking again is kept again.

    :param permission: that of seeing the list
    :param what: the list, as in `payments`
    :raises PermissionDenied: this person may not export, or may not see the list
    :raises audit.ReasonMissing: no reason is given
    """
    reason = audit.authorised(staff=staff, permission=PERMISSION, reason=reason)
    if not staff.has_perm(permission):
        raise PermissionDenied
    audit.record(staff=staff, what=f"exported {what}", subject=staff, reason=reason, after={"filters": dict(filters)})


def export_view(
    request: HttpRequest,
    *,
    what: str,
    permission: str,
    filters: Mapping[str, Any],
    pages: Callable[[], Iterable[Iterable[Sequence[object]]]],
    back: str,
) -> HttpResponseBase:
    """Ask for the reason; given one, stream the pages as CSV. The first of them is the header."""
    if not request.user.has_perms([PERMISSION, permission]):
        raise PermissionDenied
    form = DecisionForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        reason = form.cleaned_data["reason"]
        begin_export(staff=staff_of(request), permission=permission, what=what, filters=filters, reason=reason)
        name = f"{what.replace(' ', '-')}-{database_now().astimezone(UTC):%Y-%m-%dT%H%M%SZ}.csv"
        headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
        return StreamingHttpResponse(as_csv(pages()), content_type="text/csv; charset=utf-8", headers=headers)
    context = {
        **admin.site.each_context(request),
        "title": f"Export {what}",
        "what": what,
        "filters": filters,
        "form": form,
        "back": back,
    }
    return TemplateResponse(request, "admin/export.html", context)


def asked_in(request: HttpRequest) -> dict[str, str]:
    """The filters and the search of a list's address, without its page."""
    return {
        name: ", ".join(request.GET.getlist(name))
        for name in sorted(request.GET)
        if name not in {"p", "e", "o", BEFORE}
    }


# --- A list of rows -------------------------------------------------------------------------------------------------


class ExportedList:
    """For the admin of a list that can be exported; its order begins with one field, newest first, never empty."""

    exported: ClassVar[Sequence[str]] = ()  # attributes of a row, with dots, like `customer.user_id`
    exported_as = ""
    model: type[Model]
    opts: Any
    admin_site: admin.AdminSite

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.export_view)
        return [path("export/", view, name=f"{self._list}_export"), *super().get_urls()]  # type: ignore[misc]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        allowed = request.user.has_perms([PERMISSION, self._permission])
        address = f"{reverse(f'admin:{self._list}_export')}?{request.GET.urlencode()}" if allowed else ""
        context = {**(extra_context or {}), "export_address": address}
        answer: HttpResponse = super().changelist_view(request, context)  # type: ignore[misc]
        return answer

    def export_view(self, request: HttpRequest) -> HttpResponseBase:
        """The list as its address asks for it, all of it."""
        back = reverse(f"admin:{self._list}_changelist")
        if not request.user.has_perms([PERMISSION, self._permission]):
            raise PermissionDenied
        try:
            rows: QuerySet[Any] = self.get_changelist_instance(request).whole  # type: ignore[attr-defined]
        except IncorrectLookupParameters:
            return redirect(back)
        (newest_first, *_) = self.get_ordering(request)  # type: ignore[attr-defined]
        return export_view(
            request,
            what=self.exported_as or str(self.opts.verbose_name_plural),
            permission=self._permission,
            filters=asked_in(request),
            pages=lambda: self._pages(rows, newest_first.removeprefix("-")),
            back=f"{back}?{request.GET.urlencode()}",
        )

    def _pages(self, rows: QuerySet[Any], field: str) -> Iterator[Iterable[Sequence[object]]]:
        related = {name.rpartition(".")[0].replace(".", "__") for name in self.exported if "." in name}
        yield [[name.replace(".", "_") for name in self.exported]]
        for page in in_pages(rows.select_related(None).select_related(*related), newest_first_by=field):
            yield ([_value(row, name) for name in self.exported] for row in page)

    @property
    def _list(self) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}"

    @property
    def _permission(self) -> str:
        return f"{self.opts.app_label}.view_{self.opts.model_name}"


def in_pages(rows: QuerySet[Any], *, newest_first_by: str) -> Iterator[list[Any]]:
    """All rows, by a field that is never empty, each page by one short statement and a connection of its own.

    They are read from the replica where there is one that has them all; a page that it fails to give, from the primary.
    """
    read = _read_from_replica if reader() == REPLICA else _read
    ordered = rows.order_by(f"-{newest_first_by}", "-pk")
    page = read(ordered)
    while page:
        yield page
        if len(page) < ROWS_AT_ONCE:
            return
        page = read(ordered.filter(_after(page[-1], newest_first_by)))


def _after(row: Model, field: str) -> Q:
    """Those that come after this row; said so that an index on the field finds where they begin."""
    if field == "pk":
        return Q(pk__lt=row.pk)
    value = getattr(row, field)
    return Q(**{f"{field}__lte": value}) & (Q(**{f"{field}__lt": value}) | Q(pk__lt=row.pk))


def _read_from_replica(rows: QuerySet[Any]) -> list[Any]:
    try:
        return _page(rows, using=REPLICA)
    except Error:
        log.warning("the replica did not give a page of an export", exc_info=True)
        return _read(rows)


@retried
def _read(rows: QuerySet[Any]) -> list[Any]:
    return _page(rows, using=DEFAULT_DB_ALIAS)


def _page(rows: QuerySet[Any], *, using: str) -> list[Any]:
    try:
        with long_statements(up_to=timedelta(seconds=60), using=using):  # few rows may be found among many
            return list(rows.using(using)[:ROWS_AT_ONCE])
    finally:
        release_connection(using)  # who reads slowly keeps none


def _value(row: object, name: str) -> object:
    for part in name.split("."):
        row = getattr(row, part, None)
    return row


# --- CSV ------------------------------------------------------------------------------------------------------------


def as_csv(pages: Iterable[Iterable[Sequence[object]]]) -> Iterator[bytes]:
    """RFC 4180 in UTF-8, a chunk for each page."""
    for page in pages:
        text = io.StringIO()
        csv.writer(text, lineterminator="\r\n").writerows([cell(value) for value in row] for row in page)
        yield text.getvalue().encode()


def cell(value: object) -> str | int:
    """A value as programs read it: times in RFC 3339 and UTC, numbers as they are, nothing as an empty cell.

    Whatever in a text a spreadsheet would take for a formula gets an apostrophe before it.
    """
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case int():
            return int(value)
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case date():
            return value.isoformat()
        case timedelta():
            return duration_iso_string(value)
        case dict() | list():
            text = json.dumps(value, cls=DjangoJSONEncoder, ensure_ascii=False)
        case _:
            text = str(value)
    return FORMULA.sub("'", text)
