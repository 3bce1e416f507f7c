"""The bot at work: a local Telegram, and a shop that takes what people say there and answers."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from telegram_bot import notices, processing
from telegram_bot.bot_settings import ALLOWED_UPDATES
from telegram_bot.gateway import gateway
from telegram_bot.models import IncomingUpdate, UpdateStatus
from telegram_bot.polling import take
from telegram_bot.receiving import receive
from telegram_bot.sandbox.server import LocalTelegram
from tests import updates


@pytest.fixture
def local_telegram(settings):
    """A Telegram of this test's own, to which the gateway speaks."""
    gateway.close()
    with LocalTelegram.running(token=settings.TELEGRAM_BOT_TOKEN) as telegram:
        settings.TELEGRAM_API_BASE_URL = telegram.base_url
        yield telegram
        gateway.close()


class Shop:
    """Does in one go what web server, worker and outbox do: nothing of it is replaced, only the waiting for it."""

    def __init__(self) -> None:
        self.offset = None

    def works(self) -> None:
        """Take the updates there are, process them and send what is owed, until there is nothing left to do."""
        while self.takes_updates():
            self.processes_updates()
            self.sends_notices()

    def takes_updates(self) -> int:
        came = gateway.updates(offset=self.offset, allowed_updates=ALLOWED_UPDATES, wait=0)
        for update_id, body in came:
            take(body)
            self.offset = update_id + 1
        return len(came)

    def processes_updates(self) -> None:
        for update in IncomingUpdate.objects.filter(status=UpdateStatus.PENDING).order_by("pk"):
            processing.process_update(update.pk, tried=update.attempts)

    def is_told(self, update: dict) -> None:
        """Process an update that the local Telegram would not send."""
        receive(updates.body(update))
        self.processes_updates()

    def sends_notices(self) -> float:
        with ThreadPoolExecutor(2) as senders:
            return notices.Outbox(notices.Pace(1000), senders).send_due()


@pytest.fixture
def shop(transactional_db, local_telegram):
    return Shop()
