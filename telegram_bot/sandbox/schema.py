"""The Bot API's methods and types, and whether a value is one of them.

Telegram ignores what it does not know and coerces what it half understands. The local Telegram
refuses both on purpose: a misspelt parameter should fail here, not go unnoticed there.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from telegram_bot.sandbox.errors import BadRequest

Json = dict[str, Any]

BOT_API = Path(__file__).with_name("bot_api.json")
YES, NO = {"true", "True", "1", "yes"}, {"false", "False", "0", "no"}
INT64 = 2**63
EMPTY = {"chat_id": "chat_id is empty", "text": "message text is empty"}  # Telegram's own words for these


@dataclass(frozen=True)
class Field:
    types: tuple[str, ...]
    required: bool


@dataclass(frozen=True)
class Upload:
    """A file that came with a multipart request."""

    filename: str
    content: bytes


@dataclass(frozen=True)
class Schema:
    version: str
    methods: Mapping[str, Mapping[str, Field]]
    types: Mapping[str, Mapping[str, Field]]
    unions: Mapping[str, tuple[str, ...]]

    @staticmethod
    @cache
    def load() -> "Schema":
        described = json.loads(BOT_API.read_text(encoding="utf-8"))
        return Schema(
            version=described["version"],
            methods={name: _fields(entry) for name, entry in described["methods"].items()},
            types={name: _fields(entry) for name, entry in described["types"].items()},
            unions={name: tuple(forms) for name, forms in described["unions"].items()},
        )

    def method(self, name: str) -> str | None:
        """The name as the Bot API spells it; letter case does not matter to Telegram."""
        return _by_lower_case().get(name.lower())

    def arguments(self, method: str, given: Json) -> Json:
        """The parameters of a call as JSON values, however they came.

        :raises BadRequest: unknown, missing or wrongly typed parameter
        """
        fields = self.methods[method]
        for name in given:
            if name not in fields:
                raise BadRequest(f"unknown parameter {name}")
        for name, field in fields.items():
            if field.required and name not in given:
                raise BadRequest(EMPTY.get(name, f'parameter "{name}" is required'))
        return {name: self._argument(fields[name], value, name) for name, value in given.items()}

    def _argument(self, field: Field, value: object, name: str) -> object:
        """Forms and queries carry text only, and objects inside them JSON text: Telegram reads
        numbers, flags and objects out of strings in JSON bodies too."""
        problems = []
        for kind in field.types:
            candidate = _from_text(kind, value) if isinstance(value, str) else value
            problem = self.problem(kind, candidate, name)
            if problem is None:
                return candidate
            problems.append(problem)
        raise BadRequest(f"can't parse {name}: {problems[0]}")

    def problem(self, kind: str, value: object, where: str | None = None) -> str | None:
        """The first thing that keeps ``value`` from being a ``kind``, or None when it is one."""
        where = where or kind
        if kind.startswith("Array of "):
            if not isinstance(value, list):
                return f"{where} must be an {kind}"
            items = (self.problem(kind[9:], item, f"{where}[{at}]") for at, item in enumerate(value))
            return next(filter(None, items), None)
        if kind in _SIMPLE:
            return None if _SIMPLE[kind](value) else f"{where} must be of type {kind}"
        if kind in self.unions:
            fits = any(self.problem(form, value, where) is None for form in self.unions[kind])
            return None if fits else f"{where} is no {kind}"
        return self._object_problem(kind, value, where)

    def _object_problem(self, kind: str, value: object, where: str) -> str | None:
        if not isinstance(value, dict):
            return f"{where} must be an object of type {kind}"
        fields = self.types[kind]
        for name in value:
            if name not in fields:
                return f"{where} has an unknown field {name}"
        for name, field in fields.items():
            if name not in value:
                if field.required:
                    return f"{where} lacks {name}"
                continue
            problems = [self.problem(form, value[name], f"{where}.{name}") for form in field.types]
            if None not in problems:
                return problems[0]
        return None


@cache
def _by_lower_case() -> dict[str, str]:
    return {name.lower(): name for name in Schema.load().methods}


def _fields(entry: dict[str, str]) -> dict[str, Field]:
    return {
        name.removesuffix("?"): Field(tuple(types.split(" | ")), required=not name.endswith("?"))
        for name, types in entry.items()
    }


def _from_text(kind: str, text: str) -> object:
    """``text`` as a ``kind``; the text itself when it cannot be one."""
    if kind in ("String", "InputFile"):
        return text
    if kind == "Integer":
        return int(text) if re.fullmatch(r"-?[0-9]{1,19}", text) else text
    if kind == "Float":
        return float(text) if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text) else text
    if kind in ("Boolean", "True"):
        return True if text in YES else False if text in NO else text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -INT64 <= value < INT64


_SIMPLE: dict[str, Callable[[object], bool]] = {
    "Integer": _is_integer,
    "Float": lambda value: _is_integer(value) or isinstance(value, float),
    "String": lambda value: isinstance(value, str),
    "Boolean": lambda value: isinstance(value, bool),
    "True": lambda value: value is True,
    "InputFile": lambda value: isinstance(value, Upload | str),
}
