"""T14: whatever people do in whatever order, the books say what a plain model in Python says."""

import os
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, seed
from hypothesis import settings as how
from hypothesis.stateful import run_state_machine_as_test

from payments.sandbox.server import LocalStripe
from tests.clock import a_clock_to_move
from tests.stripe.machine import ShopWithStripe
from tests.stripe.shop import KEY, set_up

THOROUGH = bool(os.environ.get("THOROUGH"))  # other steps in each run, and more of them
RUNS, STEPS = (200 if THOROUGH else 40), 50
PARTS = 5  # for several workers


@pytest.fixture
def opened(settings, transactional_db) -> Callable[[], ShopWithStripe]:
    """Opens a shop anew, in which nothing has happened yet."""
    with LocalStripe.running(secret_key=KEY) as local, a_clock_to_move() as clock:
        stripe = set_up(settings, local)
        yield lambda: ShopWithStripe(clock, stripe)


@pytest.mark.parametrize("part", range(PARTS))
def test_the_books_follow_the_model_whatever_happens(opened, part):
    run_state_machine_as_test(
        opened if THOROUGH else seed(part)(opened),
        settings=how(
            max_examples=RUNS // PARTS,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
