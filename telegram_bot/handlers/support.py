"""The texts that Telegram requires of a bot that sells."""

from __future__ import annotations

from telegram_bot import texts
from telegram_bot.gateway import gateway
from telegram_bot.updates import Command


def paysupport(command: Command) -> None:
    gateway.send_message(chat_id=command.chat_id, text=texts.page("paysupport"))


def support(command: Command) -> None:
    gateway.send_message(chat_id=command.chat_id, text=texts.page("support"))


def terms(command: Command) -> None:
    gateway.send_message(chat_id=command.chat_id, text=texts.page("terms"))
