import os
import uuid

import pytest

from telegram_bot.sandbox.server import LocalTelegram
from tests import migrated
from tests.flows.house import House


@pytest.fixture(scope="session")
def house(tmp_path_factory):
    """One house for all flows of this test process."""
    database_url = migrated.copy_to(f"flows_{uuid.uuid4().hex[:8]}")
    with LocalTelegram.running(token=os.environ["TELEGRAM_BOT_TOKEN"], pace=0.05) as telegram:
        house = House(telegram, database_url, tmp_path_factory.mktemp("logs"))
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
