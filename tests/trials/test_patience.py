"""The judge of patience sees each call that comes too early, and no other."""

import pytest

from telegram_bot.sandbox.truth import Call
from telegram_bot.sandbox.world import Options, World
from tests.trials.patience import LIST, MESSAGE, REFUND, UNDER_WAY, Obedience

ALICE, BOB = 7_000_000_001, 7_000_000_002
NOON = 1_800_000_000.0
PAUSE = 10


@pytest.fixture
def world():
    return World(Options())


@pytest.fixture
def watch(world):
    watch = Obedience(world)
    watch.seconds = PAUSE
    return watch


@pytest.fixture
def calls(world):
    """Have the bot call a method so many seconds after noon; with `asked`, it is asked for patience."""

    def calls(method, after, *, asked=False, **arguments):
        fault = "429" if asked else None
        world.truth.calls.append(
            Call(1, NOON + after, method, {"text": "Hello", **arguments}, "http", None, None, fault, 0.0)
        )
        world.truth.touch()

    return calls


def test_a_message_to_a_chat_before_its_pause_is_over_is_too_early(watch, calls):
    calls(MESSAGE, 0, chat_id=ALICE, asked=True)
    calls(MESSAGE, PAUSE - 0.1, chat_id=ALICE)

    assert watch.too_early == {MESSAGE: 1}


def test_a_message_after_the_pause_or_to_another_chat_is_not(watch, calls):
    calls(MESSAGE, 0, chat_id=ALICE, asked=True)
    calls(MESSAGE, 1, chat_id=BOB)
    calls(MESSAGE, PAUSE, chat_id=ALICE)

    assert not watch.too_early
    assert watch.asked == {MESSAGE: 1}


def test_what_was_begun_before_the_news_could_reach_it_is_counted_apart(watch, calls):
    calls(MESSAGE, 0, chat_id=ALICE, asked=True)
    calls(MESSAGE, UNDER_WAY, chat_id=ALICE)

    assert not watch.too_early
    assert watch.under_way == {MESSAGE: 1}


def test_the_list_has_one_pause_for_the_whole_bot(watch, calls):
    calls(LIST, 0, offset=0, asked=True)
    calls(LIST, 5, offset=100)

    assert watch.too_early == {LIST: 1}


def test_each_refund_has_its_own(watch, calls):
    calls(REFUND, 0, user_id=ALICE, telegram_payment_charge_id="one", asked=True)
    calls(REFUND, 3, user_id=ALICE, telegram_payment_charge_id="two")
    calls(REFUND, 4, user_id=ALICE, telegram_payment_charge_id="one")

    assert watch.too_early == {REFUND: 1}


def test_every_call_during_a_silence_is_counted_and_a_pause_lasts_as_long_as_it(watch, calls):
    watch.silence[MESSAGE] = NOON + 4
    calls(MESSAGE, 0, chat_id=ALICE, asked=True)
    calls(MESSAGE, 1, chat_id=BOB, asked=True)
    calls(MESSAGE, 3, chat_id=ALICE)
    calls(MESSAGE, 4, chat_id=BOB)

    assert watch.while_silent == {MESSAGE: 3}
    assert watch.too_early == {MESSAGE: 1}
