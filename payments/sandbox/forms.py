"""Parameters as Stripe's libraries write them: `line_items[0][price_data][currency]=gbp`."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl

PART = re.compile(r"\[([^\]]*)\]")


def read(encoded: str) -> dict[str, Any]:
    """The parameters, nested as they were meant; every value is a text."""
    found: dict[str, Any] = {}
    for name, value in parse_qsl(encoded, keep_blank_values=True, strict_parsing=bool(encoded)):
        head, *rest = name.partition("[")[0], *PART.findall(name)
        _put(found, [head, *rest], value)
    return {name: _lists(value) for name, value in found.items()}


def _put(into: dict[str, Any], path: list[str], value: str) -> None:
    key, *rest = path
    if not rest:
        into[key or str(len(into))] = value
        return
    _put(into.setdefault(key or str(len(into)), {}), rest, value)


def _lists(value: Any) -> Any:
    """What is numbered from 0 is a list."""
    if not isinstance(value, dict):
        return value
    inner = {key: _lists(each) for key, each in value.items()}
    if list(inner) == [str(number) for number in range(len(inner))]:
        return list(inner.values())
    return inner
