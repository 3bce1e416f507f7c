"""The settings of a production, made of its environment as its processes make them."""

import os
import runpy
from typing import Any
from unittest.mock import patch

from config.env import BASE_DIR

ENVIRONMENT = {
    "ENV_FILE": "",
    "DEBUG": "false",
    "PUBLIC_URL": "https://shop.example",
    "SECRET_KEY": "the-secret-key-of-a-production-" + "x" * 30,
    "JWT_SIGNING_KEY": "the-jwt-signing-key-of-a-production-" + "x" * 30,
    "METRICS_TOKEN": "the-metrics-token-of-a-production",
    "TELEGRAM_BOT_TOKEN": "100000001:the-bot-token-of-a-production-00",
    "TELEGRAM_WEBHOOK_SECRET": "the-webhook-secret-of-a-production-0",
}
OF_THE_TESTS = {"DATABASES", "UNFOLD"}


def production_settings(**environment: str) -> dict[str, Any]:
    """What config/settings.py makes of it; nothing else of this process changes.

    :raises ImproperlyConfigured: as when a process starts
    """
    with patch.dict(os.environ, ENVIRONMENT | environment):
        made = runpy.run_path(str(BASE_DIR / "config" / "settings.py"))
    return {name: value for name, value in made.items() if name.isupper()}


def put_into(settings: Any, **environment: str) -> None:
    """Give this process the settings of a production, on the tests' own database."""
    for name, value in production_settings(**{"SILENCED_SYSTEM_CHECKS": ""} | environment).items():
        if name not in OF_THE_TESTS and getattr(settings, name, None) != value:
            setattr(settings, name, value)
