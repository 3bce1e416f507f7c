"""How a conversation begins, and what the bot says when it does not understand."""

from __future__ import annotations

from dataclasses import replace

from telegram_bot import keyboards, texts
from telegram_bot.gateway import gateway
from telegram_bot.handlers import shop
from telegram_bot.handlers.people import customer_of
from telegram_bot.updates import Command, Text

BUY = "buy_"  # a link t.me/<bot>?start=buy_<plan> leads straight to the plan


def start(command: Command) -> None:
    if command.argument.startswith(BUY):
        shop.buy(replace(command, argument=command.argument.removeprefix(BUY)))
        return
    customer_of(command.sender)
    gateway.send_message(
        chat_id=command.chat_id, text=texts.welcome(command.sender.first_name), keyboard=keyboards.see_plans()
    )


def show_help(command: Command) -> None:
    gateway.send_message(chat_id=command.chat_id, text=texts.help_text())


def unknown_command(command: Command) -> None:
    gateway.send_message(chat_id=command.chat_id, text=texts.unknown_command())


def not_understood(message: Text) -> None:
    gateway.send_message(chat_id=message.chat_id, text=texts.not_understood())
