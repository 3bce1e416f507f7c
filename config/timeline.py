"""The story of a row, told by every part of the house that knows some of it.

Settings name the tellers by dotted path, so that an app need not import those above it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from django.db.models import Model
from django.utils.module_loading import import_string

from config.shown import Tone


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that happened: when, in a few words, what else is known of it, and the row that holds it."""

    at: datetime
    what: str
    detail: str = ""
    tone: Tone = Tone.QUIET
    row: Model | None = None


Teller: TypeAlias = Callable[[Any], Iterable[Entry]]


def told(sources: Iterable[str], about: Model) -> list[Entry]:
    """What each of the tellers, named by dotted path, knows about a row; oldest first."""
    tellers: list[Teller] = [import_string(path) for path in sources]
    return sorted((entry for tell in tellers for entry in tell(about)), key=lambda entry: entry.at)
