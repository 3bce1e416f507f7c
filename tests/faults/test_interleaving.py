"""The orders in which two operations are played are all there are, and a lock in the way is seen."""

from collections.abc import Callable

import pytest
from django.db import connection, transaction

from config.database import retried
from entitlements.models import Customer
from tests.factories import CustomerFactory
from tests.faults.interleaving import Choice, Stage, Turn, every_order, some_orders, stage

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def actors():
    with stage() as prepared:
        yield prepared


def taken(turns: list[Turn]) -> str:
    return "".join(str(turn.taken) for turn in turns)


def ask_twice() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.execute("SELECT 2")


def asking(actors: Stage) -> Callable[[Choice], list[Turn]]:
    return lambda choose: actors.play((ask_twice, ask_twice), choose)


@pytest.mark.parametrize(
    ("interruptions", "orders"),
    [
        (0, {"0011", "1100"}),
        (1, {"0011", "1100", "0110", "1001"}),
        (2, {"0011", "1100", "0110", "1001", "0101", "1010"}),
    ],
)
def test_each_order_with_so_many_interruptions_is_played_once(actors, interruptions, orders):
    played = [taken(turns) for turns in every_order(asking(actors), interruptions=interruptions)]

    assert sorted(played) == sorted(orders)


def test_where_there_are_too_many_those_with_the_fewest_interruptions_are_played(actors):
    played = {taken(turns) for turns in every_order(asking(actors), interruptions=2, at_most=4)}

    assert played == {"0011", "1100", "0110", "1001"}


def test_lots_fall_alike_for_the_same_seed(actors):
    first, second = ([taken(turns) for turns in some_orders(asking(actors), count=6, seed=1)] for _ in range(2))

    assert first == second
    assert len(set(first)) > 1


def lock(customers: list[Customer]) -> None:
    with transaction.atomic():
        for customer in customers:
            Customer.objects.locked().get(pk=customer.pk)


@pytest.mark.parametrize(("prepared", "deadlocks"), [(lambda operation: operation, True), (retried, False)])
def test_a_deadlock_that_nobody_tries_again_is_an_error(actors, prepared, deadlocks):
    customers = [CustomerFactory(), CustomerFactory()]
    operations = [prepared(lambda: lock(customers)), prepared(lambda: lock(customers[::-1]))]

    def errors(choose: Choice) -> list[Turn]:
        turns = actors.play(operations, choose)
        found.extend(actors.errors())
        return turns

    found: list[str] = []
    list(every_order(errors, interruptions=1))

    assert any("deadlock" in error for error in found) == deadlocks
    assert bool(found) == deadlocks
