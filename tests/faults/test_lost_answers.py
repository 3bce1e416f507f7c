"""T03: the connection breaks after each message to the database, so that nobody knows whether it was done."""

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client

from config import database
from payments.models import PaymentEvent
from telegram_bot.webhook import PATH, SECRET_HEADER
from tests import updates
from tests.books import faults_in_the_books
from tests.faults.cutting import CutWire
from tests.faults.test_crash_points import (
    ordinary_payment,
    payment_that_is_held,
    payment_whose_refund_came_first,
    refund,
    second_payment_for_what_is_active,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def wire(db, monkeypatch):
    """All that this test says to the database goes over a wire that can be cut."""
    given = connection.get_connection_params()
    with CutWire(given["host"], given.get("port") or "5432") as wire:
        _let_go_of_all_connections()
        monkeypatch.setitem(connection.settings_dict, "HOST", "127.0.0.1")
        monkeypatch.setitem(connection.settings_dict, "PORT", str(wire.port))
        yield wire
        _let_go_of_all_connections()


def _let_go_of_all_connections() -> None:
    connection.close()
    connection.close_pool()


def delivered(update: dict) -> int:
    headers = {SECRET_HEADER: settings.TELEGRAM_WEBHOOK_SECRETS[0]}
    return Client().post(PATH, updates.body(update), content_type="application/json", headers=headers).status_code


@pytest.mark.parametrize(
    "flow",
    [
        ordinary_payment,
        payment_that_is_held,
        payment_whose_refund_came_first,
        second_payment_for_what_is_active,
        refund,
    ],
)
def test_whatever_answer_is_lost_the_redelivery_leaves_the_books_right(wire, flow):
    message = 0
    while True:
        update = flow()
        wire.cut_after(message)
        first = delivered(update)
        wire.cut_after(None)
        if not wire.was_cut:
            break
        assert first in {200, 503}, message
        if first == 503:
            assert delivered(update) == 200, message
        message += 1
    assert message > 0
    assert faults_in_the_books() == []


def test_a_payment_whose_answer_was_lost_is_known_when_it_is_tried_again(wire):
    update = ordinary_payment()
    wire.cut_after(0)

    assert delivered(update) == 200
    assert wire.was_cut
    assert PaymentEvent.objects.count() == 1


def test_it_would_not_be_without_another_try(wire, monkeypatch):
    """The twin: a connection found broken is an error for the sender, who has to come again."""
    monkeypatch.setattr(database, "TRIES", 1)
    update = ordinary_payment()
    wire.cut_after(0)

    assert delivered(update) == 503
