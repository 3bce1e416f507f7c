"""What production may not have between Telegram and us; see config/checks.py."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import Error, Tags, register

from config.checks import can_be_guessed, goes_in_the_clear
from telegram_bot.webhook import PATH

# Telegram allows shorter secrets; we do not.
WEBHOOK_SECRET = re.compile(r"[A-Za-z0-9_-]{32,256}")
WHAT_A_SECRET_IS = "32 to 256 random characters of A-Z, a-z, 0-9, _ and -"  # noqa: S105 - its form


@register(Tags.security, deploy=True)
def updates_are_telegrams(**_: Any) -> Iterator[Error]:
    secrets = settings.TELEGRAM_WEBHOOK_SECRETS
    if not secrets:
        yield Error(
            "TELEGRAM_WEBHOOK_SECRET is not set, so nobody could tell Telegram from a stranger.",
            hint=f"Set TELEGRAM_WEBHOOK_SECRET to {WHAT_A_SECRET_IS}.",
            id="starledger.E001",
        )
    elif len(secrets) > 2 or not all(map(WEBHOOK_SECRET.fullmatch, secrets)):
        yield Error(
            "TELEGRAM_WEBHOOK_SECRET is too short, too long, or has other characters.",
            hint=f"Set TELEGRAM_WEBHOOK_SECRET to {WHAT_A_SECRET_IS}; during a rotation two, with a comma.",
            id="starledger.E001",
        )
    elif any(map(can_be_guessed, secrets)):
        yield Error(
            "TELEGRAM_WEBHOOK_SECRET can be guessed: whoever does so reports payments that never were.",
            hint=f"Set TELEGRAM_WEBHOOK_SECRET to {WHAT_A_SECRET_IS}.",
            id="starledger.E001",
        )


@register(Tags.security, deploy=True)
def updates_arrive(**_: Any) -> Iterator[Error]:
    """Telegram is told an address that is served, and is known by its own behind the proxy that ends TLS."""
    address = urlsplit(settings.TELEGRAM_WEBHOOK_URL)
    if not address.path.endswith(PATH):
        yield Error(
            f"TELEGRAM_WEBHOOK_URL leads to {address.path or '/'}, where no update is taken.",
            hint=f"Leave TELEGRAM_WEBHOOK_URL out, or have it end with {PATH}.",
            id="starledger.E016",
        )
    if settings.TELEGRAM_IP_ALLOWLIST and not settings.TRUSTED_PROXIES and address.scheme == "https":
        yield Error(
            "TELEGRAM_IP_ALLOWLIST is set and TRUSTED_PROXIES is not: each update would seem to come from the proxy, "
            "and be refused.",
            hint="Set TRUSTED_PROXIES to the addresses of your proxies, like 127.0.0.1.",
            id="starledger.E017",
        )


@register(Tags.security, deploy=True)
def the_bot_is_ours_alone(**_: Any) -> Iterator[Error]:
    """Its token is also the key by which Mini Apps sign in."""
    if not settings.TELEGRAM_BOT_TOKEN or settings.TELEGRAM_IS_LOCAL:
        yield Error(
            "TELEGRAM_BOT_TOKEN is not set, or is every local Telegram's: anybody could sign buyers in with it.",
            hint="Set TELEGRAM_BOT_TOKEN to the token that @BotFather gave you.",
            id="starledger.E002",
        )


@register(Tags.security, deploy=True)
def secrets_go_unread(**_: Any) -> Iterator[Error]:
    what_goes_there = {"TELEGRAM_API_BASE_URL": "the bot's token", "TELEGRAM_WEBHOOK_URL": "the webhook's secret"}
    for name, secret in what_goes_there.items():
        if goes_in_the_clear(getattr(settings, name)):
            yield Error(
                f"{name} is plain http: whoever is on the way reads {secret}.",
                hint=f"Set {name} to an address of https.",
                id="starledger.E003",
            )
