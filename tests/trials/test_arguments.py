"""Which trials are made, and in which sizes."""

import pytest

from tests.trials.__main__ import parse
from tests.trials.trial import TRIALS


def names(*arguments):
    trials, _ = parse(arguments, TRIALS)
    return [trial.name for trial in trials]


def test_all_are_made_when_none_is_named():
    assert names() == ["T08", "T12", "T13", "T15", "T37", "T38", "T40"]


def test_those_that_are_named_are_made_in_that_order():
    assert names("T40", "T08") == ["T40", "T08"]


def test_their_sizes_are_those_of_the_yardstick():
    poison, _, side_by_side, slow_clients, *_, rolling = TRIALS

    assert (poison.payments, poison.chats) == (10_000, 200)
    assert side_by_side.payments == 10_000
    assert slow_clients.clients == 500
    assert rolling.restarts == 20


def test_a_size_is_that_of_every_trial_that_has_it():
    trials, _ = parse(["T08", "T40", "--size", "payments=30", "--size", "restarts=2"], TRIALS)

    assert [trial.payments for trial in trials] == [30, 30]
    assert trials[1].restarts == 2


@pytest.mark.parametrize(
    "arguments",
    [["T99"], ["--size", "colour=3"], ["T08", "--size", "restarts=3"], ["--size", "payments=0"], ["--size"]],
)
def test_what_does_not_exist_is_refused(arguments, capsys):
    with pytest.raises(SystemExit):
        parse(arguments, TRIALS)
