"""The stopwatch times a payment from its first post, whatever came in between, and what the buyer was told of it."""

import json

import pytest

from telegram_bot.sandbox.truth import Call, Charge, Delivery, Invoice
from telegram_bot.sandbox.world import Options, World
from tests.chaos.verdict import PAID, Message
from tests.trials.stopwatch import Stopwatch

ALICE = 7_000_000_001
NOON = 1_800_000_000
CONFIRMATION = Message(ALICE, "Pass A", PAID)


@pytest.fixture
def world():
    world = World(Options())
    world.truth.add_invoice(Invoice(1, "Pass A", "One day.", "payload", "XTR", [], NOON, chat_id=ALICE))
    world.truth.charges["stx1"] = Charge("stx1", ALICE, 1, "payload", "XTR", 10, NOON)
    return world


@pytest.fixture
def watch(world):
    return Stopwatch(world)


@pytest.fixture
def posted(world):
    def posted(after, *, seconds=0.5, error=None):
        body = json.dumps({"message": {"successful_payment": {"telegram_payment_charge_id": "stx1"}}}).encode()
        status = 503 if error else 200
        world.truth.deliveries.append(
            Delivery(1, NOON + after, 1, "successful_payment", "", 1, body, status, b"", error, seconds)
        )
        world.truth.touch()

    return posted


@pytest.fixture
def said(world):
    def said(after, text):
        arguments = {"chat_id": ALICE, "text": text}
        world.truth.calls.append(Call(1, NOON + after, "sendMessage", arguments, "http", 200, {}, None, 0.1))
        world.truth.touch()

    return said


def test_a_payment_is_timed_from_its_first_post_to_the_answer_that_took_it(watch, posted):
    posted(0, error="Wrong response from the webhook: 503")
    assert watch.recorded == {}

    posted(2)
    posted(60)

    assert watch.recorded == {CONFIRMATION: 2.5}


def test_its_buyer_is_told_by_the_first_message_about_it(watch, posted, said):
    posted(0)
    said(1, "Hello")
    said(3, "✅ Paid: Pass A, 10 ⭐.")
    said(9, "✅ Paid: Pass A, 10 ⭐.")

    assert watch.told_after == {CONFIRMATION: 3}
    assert watch.told[CONFIRMATION] == 2


def test_another_round_begins_with_nothing_timed(watch, posted, said):
    posted(0)
    said(1, "✅ Paid: Pass A, 10 ⭐.")

    watch.begin_anew()

    assert (watch.recorded, watch.told_after) == ({}, {})
    assert watch.confirmed == {CONFIRMATION}
