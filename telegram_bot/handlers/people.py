"""Who speaks to the bot."""

from __future__ import annotations

from entitlements.identities import customer_from_telegram
from entitlements.models import Customer
from telegram_bot.updates import Person


def customer_of(person: Person) -> Customer:
    """The customer that a Telegram user is; from the first time he says something on."""
    return customer_from_telegram(
        telegram_user_id=person.id,
        display_name=person.display_name,
        username=person.username,
        language_code=person.language_code,
    )
