"""What `manage.py doctor` looks at. Each app brings its checks, named by dotted path in `settings.DOCTOR_CHECKS`.

A check is a function without arguments that yields findings. It may fail in any way: that is a finding too, and the
others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from django.conf import settings
from django.db import Error, connection
from django.utils.module_loading import import_string


class Health(StrEnum):
    OK = "ok"
    FAIL = "fail"
    SKIPPED = "-"  # has no meaning here


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, what was seen, and what to do where that is not as it should be."""

    what: str
    health: Health
    seen: str
    to_do: str = ""


Check = Callable[[], Iterable[Finding]]


def good(what: str, seen: str) -> Finding:
    return Finding(what, Health.OK, seen)


def bad(what: str, seen: str, to_do: str) -> Finding:
    return Finding(what, Health.FAIL, seen, to_do)


def skipped(what: str, why: str) -> Finding:
    return Finding(what, Health.SKIPPED, why)


def examine() -> Iterator[Finding]:
    """Every finding, each as soon as it is there."""
    for path in settings.DOCTOR_CHECKS:
        yield from _findings(import_string(path))


def _findings(check: Check) -> Iterator[Finding]:
    """Those of one check, up to where it breaks off. Of an error only the kind is told: its text may hold a secret."""
    what = check.__name__.replace("_", " ")
    try:
        yield from check()
    except Error as error:
        connection.close()  # whatever is wrong with it, the next check gets another
        kind = type(error).__name__
        yield bad(what, f"the database did not answer this ({kind})", "See what is said about the database.")
    except Exception as error:
        # A doctor that faints helps nobody: what is broken may be anything.
        kind = type(error).__name__
        yield bad(what, f"this could not be looked at ({kind})", "It is a fault of this check or of what it looks at.")
