"""Reports of errors say what happened and tell no secret: Django's pages and mails, and Sentry's."""

import json
import sys

import pytest
from django.conf import settings as configured
from django.test import RequestFactory
from django.views.debug import get_exception_reporter_class

from config import logging as house_logging
from tests.canaries import SECRETS, leaks_in

API_KEY = f"abcd1234.{'canary_' * 6}c"


def fail(secret: str) -> None:
    """Break where a secret is in variables of innocent names, and in what the error says."""
    innocent = {"words": [secret, secret.encode()], "place": f"https://api.telegram.org/bot{secret}/getMe"}
    raise LookupError(f"{innocent['place']} is not there")


def report(secret: str, kind: str) -> str:
    """Django's report of a failed request that holds the secret wherever it can."""
    request = RequestFactory().post(
        f"/api/v1/catalog?secret={secret}",
        {"field": secret},
        headers={
            "Authorization": f"Api-Key {API_KEY}",
            "X-Telegram-Bot-Api-Secret-Token": secret,
            "Cookie": f"a={secret}",
        },
    )
    try:
        fail(secret)
    except LookupError:
        reporter = get_exception_reporter_class(request)(request, *sys.exc_info())
    return reporter.get_traceback_html() if kind == "html" else reporter.get_traceback_text()


@pytest.fixture
def every_secret(settings):
    """One in each setting that can hold one."""
    canaries = dict(SECRETS)
    for name in ("METRICS_TOKEN", "STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET"):
        canaries[name] = f'canary-of-<{name}>-&-"{"x" * 20}'
        setattr(settings, name, canaries[name])
    canaries["SENTRY_DSN"] = settings.SENTRY_DSN = "https://canary-of-sentry@sentry.example/1"
    canaries["the password of Redis"] = "canary-of-redis-0000"
    settings.REDIS_URL = "redis://:canary-of-redis-0000@127.0.0.1:1/0"
    return canaries


@pytest.mark.parametrize("debug", [True, False], ids=["debug", "production"])
@pytest.mark.parametrize("kind", ["html", "text"])
class TestAReport:
    def test_tells_no_secret_and_says_what_happened(self, every_secret, settings, kind, debug):
        settings.DEBUG = debug
        for name, secret in every_secret.items():
            told = report(secret, kind)

            assert "LookupError" in told
            assert "is not there" in told
            assert not [*leaks_in(told.encode(), {name: secret, "an API key": API_KEY.partition(".")[2]})]

    def test_would_tell_them_without_the_redaction(self, every_secret, settings, monkeypatch, kind, debug):
        settings.DEBUG = debug
        monkeypatch.setattr(house_logging.Redactor, "__call__", lambda self, text: text)

        told = report(secret := configured.TELEGRAM_BOT_TOKEN, kind)

        assert [*leaks_in(told.encode(), {"the token": secret})]


class TestAReportToSentry:
    def test_holds_no_secret_in_any_corner(self, every_secret):
        redact = house_logging.Redactor(house_logging.configured_secrets())
        for name, secret in every_secret.items():
            event = {
                "exception": {"values": [{"value": f"{secret} was rejected", "stacktrace": {"frames": [{}]}}]},
                "request": {"url": f"https://shop.example/{secret}", "headers": {"Authorization": f"Bearer {secret}"}},
                "breadcrumbs": {"values": [{"message": f"GET /bot{secret}/getMe", "data": {"url": [secret]}}]},
                "extra": {"sys.argv": ["manage.py", secret], secret: 1},
            }

            sent = json.dumps(redact.report(event, {}))

            assert "was rejected" in sent
            assert not [*leaks_in(sent.encode(), {name: secret})]
