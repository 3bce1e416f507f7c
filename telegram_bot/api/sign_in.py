"""Mini App sign-in: what Telegram hands to the page proves who opened it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.conf import settings
from init_data_py import User, validate_by_hash
from init_data_py.errors import InvalidInitDataError

from config.api.fields import LARGEST_TELEGRAM_ID
from telegram_bot.updates import Person

LIFETIME = timedelta(hours=1)
CLOCKS_MAY_DIFFER_BY = timedelta(seconds=60)


class InvalidInitData(Exception):
    """Forged, altered, of another bot, too old, from the future, or nothing of the kind."""


def opener_of(init_data: str, *, now: datetime) -> Person:
    """Who opened the Mini App.

    The library refuses a field given twice, and takes the check string from what was sent, unknown fields included.

    :raises InvalidInitData:
    """
    if not settings.TELEGRAM_BOT_TOKEN:
        raise InvalidInitData("without a token anybody could sign it")
    try:
        proven = validate_by_hash(init_data, settings.TELEGRAM_BOT_TOKEN, expires_in=LIFETIME, now=now)
    except (InvalidInitDataError, OverflowError, RecursionError) as error:
        # It reads before it checks: times beyond the calendar and nesting beyond the stack come from anybody.
        raise InvalidInitData(type(error).__name__) from error
    if datetime.fromtimestamp(proven.auth_date, UTC) > now + CLOCKS_MAY_DIFFER_BY:
        raise InvalidInitData("from the future")
    if proven.user is None or not 0 < proven.user.id <= LARGEST_TELEGRAM_ID:
        raise InvalidInitData("names no user")
    return _person(proven.user)


def _person(user: User) -> Person:
    return Person(
        id=user.id,
        first_name=user.first_name,
        last_name=user.last_name or "",
        username=user.username or "",
        language_code=user.language_code or "",
    )
