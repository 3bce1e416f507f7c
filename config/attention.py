"""The first page of the admin: what waits for a person, each figure with a link to its rows.

`settings.ATTENTION_SOURCES` names by dotted path who knows a figure. None of them counts a large table: they ask
partial indexes that hold only what waits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.module_loading import import_string

from config.shown import Tone

MOST_COUNTED = 1000


@dataclass(frozen=True, slots=True)
class Figure:
    """What waits, how many or for how long, and where its rows are; `permission` says who may see them."""

    what: str
    value: str
    address: str
    permission: str
    tone: Tone


def figures(request: HttpRequest) -> list[Figure]:
    """Those that this person may look into; a source that has nothing to do here gives None."""
    sources: list[Callable[[], Figure | None]] = [import_string(path) for path in settings.ATTENTION_SOURCES]
    told = [figure for source in sources if (figure := source()) is not None]
    return [figure for figure in told if request.user.has_perm(figure.permission)]


def first_page(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """The context of the admin's index: the figures, the apps' sections, and the menu; each as far as he may see it."""
    menu = ((group.get("title"), group["items"]) for group in context["sidebar_navigation"])
    tasks = {title: [item for item in items if item["has_permission"]] for title, items in menu if title}
    tasks = {title: items for title, items in tasks.items() if items}
    sections = [import_string(path)(request) for path in settings.FIRST_PAGE_SECTIONS]
    return context | {"title": "Overview", "figures": figures(request), "tasks": tasks, "sections": sections}


def how_many(count: int) -> str:
    """A count of at most MOST_COUNTED + 1 rows, in words."""
    return f"more than {MOST_COUNTED}" if count > MOST_COUNTED else str(count)


def how_long(seconds: float) -> str:
    """`45 s`, `12 min`, `5 h`, `3 days`."""
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
