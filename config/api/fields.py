"""Fields that take what they name and nothing that could be turned into it."""

from __future__ import annotations

import re
from datetime import date
from enum import StrEnum
from typing import Any

from rest_framework import serializers
from rest_framework.fields import empty

LARGEST_INTEGER = 2**63 - 1
LARGEST_TELEGRAM_ID = 2**52 - 1


class Text(serializers.CharField):
    """A string as it came, never trimmed, not made from a number; without NUL and lone surrogates."""

    def __init__(self, **options: Any) -> None:
        shortest = None if options.get("allow_blank") else 1
        super().__init__(trim_whitespace=False, min_length=shortest, **options)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return data


class UserId(Text):
    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=255, **options)


class Currency(serializers.RegexField):
    """`XTR`, or an ISO 4217 code; in capitals."""

    default_error_messages = {"invalid": "Must be three capital letters."}

    def __init__(self, **options: Any) -> None:
        super().__init__(re.compile(r"^[A-Z]{3}\Z"), trim_whitespace=False, **options)


class Integer(serializers.IntegerField):
    """An integer of JSON: not `"100"`, `1.0` or `true`."""

    def to_internal_value(self, data: Any) -> int:
        if type(data) is not int:
            self.fail("invalid")
        return data


class Amount(Integer):
    """An amount of money above zero, in the currency's smallest unit."""

    def __init__(self, **options: Any) -> None:
        super().__init__(min_value=1, max_value=LARGEST_INTEGER, **options)


class TelegramId(Integer):
    def __init__(self, **options: Any) -> None:
        super().__init__(min_value=1, max_value=LARGEST_TELEGRAM_ID, **options)


class Word(serializers.ChoiceField):
    """One of a few words; a wrong one is not repeated in the answer."""

    default_error_messages = {"invalid_choice": "Not one of the words that are understood."}


class Words(serializers.CharField):
    """Some of a few words, with commas between; as a tuple of the enumeration that names them."""

    default_error_messages = {"unknown": "Must be some of {words}, with commas between."}

    def __init__(self, words: type[StrEnum], **options: Any) -> None:
        self.words = words
        super().__init__(trim_whitespace=False, **options)

    def to_internal_value(self, data: Any) -> tuple[StrEnum, ...]:  # type: ignore[override]
        try:
            return tuple(self.words(word) for word in str(data).split(","))
        except ValueError:
            self.fail("unknown", words=", ".join(self.words))


class Day(serializers.DateField):
    """A day like `2026-11-21`, from 1970 on."""

    default_error_messages = {"invalid": "Must be a day like 2026-11-21, from 1970 on."}

    def get_value(self, dictionary: Any) -> Any:
        """Also of a query, where DRF takes an empty text for nothing at all."""
        return dictionary.get(self.field_name, empty)

    def to_internal_value(self, value: Any) -> date:
        try:
            day = date.fromisoformat(value)
        except (TypeError, ValueError):
            self.fail("invalid", format="")
        if day.year < 1970 or day.isoformat() != value:
            self.fail("invalid", format="")
        return day
