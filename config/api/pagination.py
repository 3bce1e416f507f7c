"""Pages of 50, newest first. A cursor names a row, so pages stay true while new rows arrive."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from django.conf import settings
from django.db.models import Model, QuerySet
from rest_framework.request import Request
from rest_framework.utils.urls import replace_query_param

from config.api.problems import Code, Problem

PAGE = 50

Row = TypeVar("Row", bound=Model)


@dataclass(frozen=True, slots=True)
class Cursor:
    """The row that a page lies beside: before it in the list, or behind it."""

    before: bool
    occurred_at: datetime
    pk: UUID

    def encode(self) -> str:
        words = f"{'before' if self.before else 'behind'} {self.occurred_at.isoformat()} {self.pk}"
        return base64.urlsafe_b64encode(words.encode()).decode()

    @classmethod
    def decode(cls, encoded: str) -> Cursor:
        """:raises ValueError:"""
        side, occurred_at, pk = base64.urlsafe_b64decode(encoded.encode("ascii")).decode("ascii").split(" ")
        moment = datetime.fromisoformat(occurred_at)
        if side not in {"before", "behind"} or moment.tzinfo is None:
            raise ValueError(encoded)
        return cls(side == "before", moment, UUID(pk))


def page_of(rows: QuerySet[Row], request: Request, *, as_row: Callable[[Row], dict[str, Any]]) -> dict[str, Any]:
    """One page of rows that have an `occurred_at` and a UUID as key: `next`, `previous` and `results`.

    :raises Problem: `invalid` for a cursor that is not one
    """
    cursor = _cursor_of(request)
    found = list(_beside(rows, cursor)[: PAGE + 1])
    more, page = len(found) > PAGE, found[:PAGE]
    if cursor and cursor.before:
        page.reverse()
    newer, older = (more, True) if cursor and cursor.before else (cursor is not None, more)
    return {
        "next": _link(request, page[-1], before=False) if page and older else None,
        "previous": _link(request, page[0], before=True) if page and newer else None,
        "results": [as_row(row) for row in page],
    }


def _cursor_of(request: Request) -> Cursor | None:
    given = request.GET.get("cursor")
    try:
        return Cursor.decode(given) if given else None
    except ValueError as error:
        raise Problem(Code.INVALID, errors={"cursor": ["Not a cursor of this list."]}) from error


def _beside(rows: QuerySet[Row], cursor: Cursor | None) -> QuerySet[Row]:
    """The rows of the page and beyond, the nearest to the cursor first."""
    if cursor is None:
        return rows.order_by("-occurred_at", "-pk")
    at, pk = cursor.occurred_at, cursor.pk
    if cursor.before:
        return rows.filter(occurred_at__gte=at).exclude(occurred_at=at, pk__lte=pk).order_by("occurred_at", "pk")
    return rows.filter(occurred_at__lte=at).exclude(occurred_at=at, pk__gte=pk).order_by("-occurred_at", "-pk")


def _link(request: Request, row: Any, *, before: bool) -> str:
    address = request.build_absolute_uri()
    if settings.SECURE:
        # The proxy in front speaks https, whatever reaches us.
        address = address.replace("http://", "https://", 1)
    return replace_query_param(address, "cursor", Cursor(before, row.occurred_at, row.pk).encode())
