"""How the admin shows facts: times, statuses, amounts and links, alike on every page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, TypeAlias

from django.contrib import admin
from django.contrib.admin.utils import get_fields_from_path
from django.core.exceptions import FieldDoesNotExist
from django.db.models import DateTimeField, DurationField, Model
from django.urls import reverse
from django.utils.html import format_html

NOTHING = "–"


class Tone(StrEnum):
    """What a status means for whoever looks: the colour of its badge."""

    GOOD = "good"
    WAITING = "waiting"
    BAD = "bad"
    QUIET = "quiet"


Tones: TypeAlias = Mapping[str, Mapping[Any, Tone]]  # field → value → tone
Column: TypeAlias = str | Callable[[Any], Any]


def time(moment: datetime | None) -> str:
    """In UTC here, in the reader's zone once his browser has read it (times.js); UTC stays on hover."""
    if moment is None:
        return NOTHING
    utc = moment.astimezone(UTC)
    return format_html(
        '<time datetime="{}" title="{} UTC">{} UTC</time>',
        utc.isoformat(),
        utc.strftime("%Y-%m-%d %H:%M:%S"),
        utc.strftime("%Y-%m-%d %H:%M"),
    )


def badge(words: str, tone: Tone) -> str:
    return format_html('<span class="badge badge-{}">{}</span>', tone.value, words)


def link(row: Model | None) -> str:
    """To the row's own page."""
    return NOTHING if row is None else format_html('<a class="link" href="{}">{}</a>', page_of(row), row)


def page_of(row: Model) -> str:
    return page_at(type(row), row.pk)


def page_at(model: type[Model], pk: object) -> str:
    return reverse(f"admin:{model._meta.label_lower.replace('.', '_')}_change", args=[pk])  # noqa: SLF001 - Django's API


def column(model: type[Model], name: Column, tones: Tones) -> Column:
    """A field as it is shown, in a list and on a page alike: times as `time`, those with tones as `badge`, periods in
    days.
    """
    if not isinstance(name, str):
        return name
    if name in tones:
        return _badge(model, name, tones[name])
    try:
        field = get_fields_from_path(model, name)[-1]
    except FieldDoesNotExist:
        return name
    match field:
        case DateTimeField():
            return _time(model, name)
        case DurationField():
            return _days(model, name)
    return name


def _time(model: type[Model], name: str) -> Column:
    @admin.display(description=_words(model, name))
    def shown(row: Model) -> str:
        return time(getattr(row, name))

    return shown


def _days(model: type[Model], name: str) -> Column:
    """Access is sold by the day."""

    @admin.display(description=_words(model, name))
    def shown(row: Model) -> str:
        duration = getattr(row, name)
        return f"{duration / timedelta(days=1):g} days" if duration else NOTHING

    return shown


def _badge(model: type[Model], name: str, tones: Mapping[Any, Tone]) -> Column:
    @admin.display(description=_words(model, name))
    def shown(row: Model) -> str:
        value = getattr(row, name)
        return badge(getattr(row, f"get_{name}_display")(), tones[value]) if value else NOTHING

    return shown


def _words(model: type[Model], name: str) -> str:
    return str(getattr(get_fields_from_path(model, name)[-1], "verbose_name", name))
