"""What all tests share: the cast, a client that speaks as Telegram, and the local Telegram itself."""

import pytest
import structlog
from django.conf import settings
from django.test import Client

from telegram_bot.webhook import PATH, SECRET_HEADER
from tests import updates
from tests.factories import CustomerFactory, InvoiceFactory, PlanFactory


class TelegramPosts:
    """Posts updates to the webhook as Telegram does, and keeps every answer."""

    def __init__(self) -> None:
        self.client = Client()

    def __call__(self, update: dict | bytes, *, secret: str | None = None, **headers):
        body = update if isinstance(update, bytes) else updates.body(update)
        secret = settings.TELEGRAM_WEBHOOK_SECRETS[0] if secret is None else secret
        return self.client.post(
            PATH,
            body,
            content_type="application/json",
            headers={SECRET_HEADER: secret, **headers},
            CONTENT_LENGTH=str(len(body)),
        )


@pytest.fixture
def telegram_posts() -> TelegramPosts:
    return TelegramPosts()


@pytest.fixture
def gold(db):
    return PlanFactory()


@pytest.fixture
def alice(db):
    return CustomerFactory(display_name="Alice")


@pytest.fixture
def bob(db):
    return CustomerFactory(display_name="Bob")


@pytest.fixture
def invoice(alice, gold):
    """Gold for a month, quoted to Alice for 500 Stars."""
    return InvoiceFactory(customer=alice, plan=gold)


@pytest.fixture
def logged():
    """What is logged meanwhile, as structlog's events."""
    with structlog.testing.capture_logs() as lines:
        yield lines
