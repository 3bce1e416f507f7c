import os
import uuid
from contextlib import closing
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from telegram_bot.sandbox.server import LocalTelegram
from tests.flows.house import House


@pytest.fixture(scope="session")
def house(tmp_path_factory):
    """One house for all flows of this test process."""
    server = os.environ["DATABASE_URL"]
    name = f"flows_{uuid.uuid4().hex[:8]}"
    with closing(psycopg.connect(server, autocommit=True)) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    with LocalTelegram.running(token=os.environ["TELEGRAM_BOT_TOKEN"], pace=0.05) as telegram:
        house = House(telegram, urlunsplit(urlsplit(server)._replace(path=f"/{name}")), tmp_path_factory.mktemp("logs"))
        try:
            house.open()
            yield house
        finally:
            house.close()


@pytest.fixture
def alice(house):
    return house.telegram.person("Alice", language_code="en")


@pytest.fixture
def bob(house):
    return house.telegram.person("Bob", language_code="en")
