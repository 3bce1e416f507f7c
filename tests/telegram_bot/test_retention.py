from datetime import timedelta

import pytest

from config.database import database_now
from telegram_bot.models import IncomingUpdate, UpdateStatus
from telegram_bot.retention import blank_old_bodies

pytestmark = pytest.mark.django_db


def stored(number: int, *, days_ago: float, status: UpdateStatus = UpdateStatus.DONE) -> IncomingUpdate:
    at = database_now() - timedelta(days=days_ago)
    return IncomingUpdate.objects.create(
        bot_id=1,
        update_id=number,
        digest=number.to_bytes(32, "big"),
        kind="message",
        body=b"{}",
        received_at=at,
        status=status,
        done_at=at if status == UpdateStatus.DONE else None,
    )


class TestBlankOldBodies:
    @pytest.mark.parametrize("stride", [1, 2, 10_000])
    def test_empties_what_was_done_90_days_ago_and_keeps_the_rest(self, stride):
        stored(1, days_ago=200)
        stored(2, days_ago=100, status=UpdateStatus.DEAD)
        stored(3, days_ago=100, status=UpdateStatus.QUARANTINED)
        stored(4, days_ago=90.1)
        stored(5, days_ago=89.9)

        assert blank_old_bodies(now=database_now(), stride=stride) == 2

        bodies = {update.update_id: bytes(update.body) for update in IncomingUpdate.objects.all()}
        assert bodies == {1: b"", 2: b"{}", 3: b"{}", 4: b"", 5: b"{}"}
        assert blank_old_bodies(now=database_now(), stride=stride) == 0

    def test_has_nothing_to_do_in_an_empty_inbox(self):
        assert blank_old_bodies(now=database_now()) == 0
