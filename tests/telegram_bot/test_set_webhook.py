"""Telling Telegram where to send updates, and who the bot is."""

import io

import pytest
from django.core.management import CommandError, call_command

from telegram_bot.gateway import gateway

ADDRESS = "https://shop.example/api/v1/telegram/webhook"


@pytest.fixture(autouse=True)
def address(settings):
    settings.TELEGRAM_WEBHOOK_URL = ADDRESS


def set_webhook(**options):
    printed = io.StringIO()
    call_command("set_webhook", stdout=printed, **options)
    return printed.getvalue()


class TestSettingTheWebhook:
    def test_gives_telegram_the_address_and_the_secret(self, local_telegram, settings):
        set_webhook(max_connections=7)

        webhook = local_telegram.truth.webhook
        assert (webhook.url, webhook.secret_token) == (ADDRESS, settings.TELEGRAM_WEBHOOK_SECRETS[0])
        assert webhook.max_connections == 7

    def test_prints_what_telegram_now_says(self, local_telegram):
        assert set_webhook() == (
            f"url: {ADDRESS}\n"
            "updates: message, callback_query, pre_checkout_query, subscription, my_chat_member\n"
            "at most at once: 40\n"
            "waiting: 0\n"
        )

    def test_registers_commands_and_descriptions_for_everybody_and_for_russians(self, local_telegram):
        set_webhook()

        bot = local_telegram.truth.bot
        commands = {entry["language_code"]: entry["commands"] for entry in bot.commands}
        assert commands[""][0] == {"command": "plans", "description": "Plans and prices"}
        assert commands["ru"][0] == {"command": "plans", "description": "Тарифы и цены"}
        assert [command["command"] for command in commands[""]] == (
            ["plans", "buy", "status", "history", "reminders", "paysupport", "support", "terms", "help"]
        )
        assert set(bot.descriptions) == set(bot.short_descriptions) == {"", "ru"}
        assert bot.short_descriptions["ru"] == "Тарифы, оплата и доступ в два касания."

    def test_may_be_repeated(self, local_telegram):
        assert set_webhook() == set_webhook()


class TestItsFailures:
    def test_without_a_secret_name_the_variable(self, local_telegram, settings):
        settings.TELEGRAM_WEBHOOK_SECRETS = []

        with pytest.raises(CommandError, match="TELEGRAM_WEBHOOK_SECRET is not set"):
            set_webhook()
        assert local_telegram.truth.calls == []

    def test_with_a_wrong_token_name_the_variable(self, local_telegram, settings):
        gateway.close()
        settings.TELEGRAM_BOT_TOKEN = "100000001:not-the-token-of-this-bot-0000000"

        with pytest.raises(CommandError, match="Set TELEGRAM_BOT_TOKEN"):
            set_webhook()

    def test_by_a_refusal_give_telegrams_words(self, local_telegram, settings):
        settings.TELEGRAM_WEBHOOK_URL = "shop.example/webhook"

        with pytest.raises(CommandError, match=r"Telegram refused: .*invalid webhook url"):
            set_webhook()

    def test_without_a_network_name_the_address(self, settings):
        gateway.close()
        settings.TELEGRAM_API_BASE_URL = "http://127.0.0.1:9"

        with pytest.raises(CommandError, match=r"cannot be reached at http://127\.0\.0\.1:9"):
            set_webhook()
        gateway.close()
