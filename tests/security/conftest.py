"""The shop of these tests, and another issuer of tokens beside it."""

from collections.abc import Iterator

import pytest
from procrastinate.contrib.django import app as jobs

from config.api import tokens
from config.database import database_now
from config.staff import Role, group_of
from tests.api.test_tokens import Issuer
from tests.everything import write_one_of_everything
from tests.factories import CustomerFactory
from tests.security.callers import everybody
from tests.security.shop import Shop


@pytest.fixture(scope="module")
def host() -> Iterator[Issuer]:
    """It signs tokens for its users, and publishes the keys to check them with."""
    tokens.key_set.cache_clear()
    issuer = Issuer()
    yield issuer
    issuer.close()
    tokens.key_set.cache_clear()


@pytest.fixture
def shop(alice, bob, gold, invoice, host, settings) -> Shop:
    """The host's tokens are accepted there, and /metrics is closed."""
    settings.JWT_JWKS_URL, settings.JWT_JWKS_ISSUER = host.url, "https://host.example"
    settings.METRICS_TOKEN = "the-metrics-token-of-the-matrix"
    settings.OPEN_CALLS_PER_MINUTE = 100_000  # everybody has one address, and many wrong credentials
    write_one_of_everything(alice, gold, invoice)
    jobs.configure_task("nothing", allow_unknown=True).defer()
    group_of(Role.ADMIN)
    blocked = CustomerFactory(blocked_at=database_now())
    return Shop(alice, invoice, everybody(alice, bob, blocked, host))
