"""What the bot answers: one file for each part of its life, and the way to it from an update."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import structlog

from payments import invoicing
from payments.channels import base as channel
from telegram_bot import texts
from telegram_bot.gateway import gateway
from telegram_bot.handlers import account, shop, start, support
from telegram_bot.updates import ButtonPress, Command, Membership, ShippingQuestion, Text

logger = structlog.get_logger(__name__)

Conversation: TypeAlias = Command | Text | ButtonPress | Membership | ShippingQuestion

COMMANDS: dict[str, Callable[[Command], None]] = {
    "start": start.start,
    "help": start.show_help,
    "plans": shop.plans,
    "buy": shop.buy,
    "status": account.status,
    "history": account.history,
    "reminders": account.reminders,
    "paysupport": support.paysupport,
    "support": support.support,
    "terms": support.terms,
}


def handle(update: Conversation) -> None:
    """Answer somebody in his language. Repeated, it answers again, which costs nobody anything.

    :raises payments.channels.base.ChannelError: when Telegram did not take the answer, so that it is tried again
    """
    with texts.speaking(update.sender.language_code):
        try:
            _answer(update)
        except (channel.ChatUnavailable, invoicing.ChatUnavailable):
            logger.info("nobody there to answer to", telegram_user_id=update.sender.id)


def _answer(update: Conversation) -> None:
    match update:
        case Command(is_private=True):
            COMMANDS.get(update.name, start.unknown_command)(update)
        case Text(is_private=True):
            start.not_understood(update)
        case ButtonPress():
            shop.pressed(update)
        case Command():
            gateway.send_message(chat_id=update.chat_id, text=texts.only_in_private())
        case Text():
            pass  # what people say to each other in a group is not for us
        case ShippingQuestion(query_id=query_id):
            gateway.refuse_shipping(query_id=query_id, error_message=texts.nothing_is_shipped())
        case Membership():
            logger.info("chat membership", chat_id=update.chat_id, can_write=update.can_write)
