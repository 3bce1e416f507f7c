"""Bodies: JSON objects, read strictly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, Any, NoReturn

from rest_framework.parsers import BaseParser

from config.api.problems import Code, Problem


class StrictJSONParser(BaseParser):
    """One JSON object in UTF-8, each name once, no NaN; anything else is `malformed`."""

    media_type = "application/json"

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        return parse_object(stream.read())


def parse_object(body: bytes) -> dict[str, Any]:
    """:raises Problem: `malformed`, without a word of what was sent"""
    try:
        parsed = json.loads(body.decode(), parse_constant=_refuse_constant, object_pairs_hook=_each_name_once)
    except (ValueError, RecursionError) as error:
        # ValueError: also for bytes that are not UTF-8, and for integers of more than 4,300 digits.
        raise Problem(Code.MALFORMED) from error
    if not isinstance(parsed, dict):
        raise Problem(Code.MALFORMED, "The body is JSON, but not an object.")
    return parsed


def _refuse_constant(name: str) -> NoReturn:
    message = f"{name} is not JSON"
    raise ValueError(message)


def _each_name_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        message = "a name comes twice"
        raise ValueError(message)
    return members
