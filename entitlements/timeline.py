"""What staff did, for the pages of those and of that to which it was done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import reduce
from operator import or_
from typing import Any

from django.db.models import Model, Q

from config.timeline import Entry
from entitlements.models import AuditEntry, Customer

LATEST = 20


def tell_of_customer(customer: Customer) -> Iterator[Entry]:
    """What staff did lately that concerns this customer."""
    entries = AuditEntry.objects.filter(customer=customer).order_by("-at", "-pk")[:LATEST]
    return map(_told, entries)


def deeds_about(rows: Iterable[Model]) -> Iterator[Entry]:
    """What staff did to any of these rows."""
    these = [Q(subject_type=row._meta.label_lower, subject_id=str(row.pk)) for row in rows]  # noqa: SLF001 - Django's API
    return map(_told, AuditEntry.objects.filter(reduce(or_, these)) if these else ())


def _told(entry: AuditEntry) -> Entry:
    changes = [_change(name, entry.before.get(name, new), new) for name, new in entry.after.items()]
    return Entry(entry.at, str(entry), " · ".join([entry.reason, *changes]), row=entry)


def _change(name: str, old: Any, new: Any) -> str:
    return f"{name}: {_words(new)}" if old == new else f"{name}: {_words(old)} → {_words(new)}"


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str("none" if value in (None, "") else value)
