"""A pytest plugin: the environment of the tests, with one throw-away PostgreSQL for all workers of a run.

It is loaded with `-p`, because pytest-django reads the settings before it looks at any conftest.
"""

import os

import pytest

from config.embedded_postgres import temporary
from tests import migrated

DATABASE_PASSWORD = "the-database-password-of-the-tests"  # our own server trusts anybody who can reach its socket
ENVIRONMENT = {
    "ENV_FILE": "",
    "DEBUG": "false",
    "PUBLIC_URL": "http://localhost:8000",
    "SECRET_KEY": "the-secret-key-of-the-tests-" + "x" * 30,
    "JWT_SIGNING_KEY": "the-jwt-signing-key-of-the-tests-" + "x" * 30,
    "LOG_LEVEL": "DEBUG",
    "TELEGRAM_BOT_TOKEN": "100000001:the-bot-token-of-the-tests-0000000",
    "TELEGRAM_PAYMENT_PROVIDER_TOKEN": "284685063:TEST:of-the-tests",
    "TELEGRAM_WEBHOOK_SECRET": "the-webhook-secret-of-the-tests-0000",
    "SILENCED_SYSTEM_CHECKS": "starledger.E013",  # their own server forgets a crash, for speed
}
LEFT_TO_THE_TESTS = (
    "TELEGRAM_",
    "STRIPE_",
    "JWT_",
    "LOG_",
    "REDIS_URL",
    "METRICS_TOKEN",
    "SENTRY_DSN",
    "TRUSTED_PROXIES",
    "REPLICA_",
)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    for name in filter(lambda name: name.startswith(LEFT_TO_THE_TESTS), list(os.environ)):
        del os.environ[name]
    os.environ.update(ENVIRONMENT)
    given = os.environ.get("TEST_DATABASE_URL") or os.environ.get("DATABASE_URL")
    if given:
        os.environ["DATABASE_URL"] = given
    else:
        server = temporary().start()
        early_config.add_cleanup(server.stop)
        os.environ["DATABASE_URL"] = server.url.replace("postgres@", f"postgres:{DATABASE_PASSWORD}@", 1)
        os.environ["TEST_POSTGRES_LOG"] = str(server.log)
    if migrated.VARIABLE not in os.environ:  # in the workers of a run it is
        early_config.add_cleanup(migrated.start_making())
