"""A request repeated under one Idempotency-Key is done once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from config.api.idempotency import Once, forget_old_keys
from config.api.problems import Code, Problem
from entitlements.models import IdempotencyKey

pytestmark = pytest.mark.django_db


def request(body="{}", key="key-1", path="/api/v1/orders"):
    headers = {} if key is None else {"Idempotency-Key": key}
    return Request(APIRequestFactory().post(path, body, content_type="application/json", headers=headers))


class Shop:
    """Does an order under a key, and counts how often it really did."""

    def __init__(self) -> None:
        self.done = 0

    def order(self, caller="alice", *, refused=False, **options):
        once = Once(request(**options), caller=caller)
        if answer := once.kept_answer():
            return answer
        with once:
            if refused:
                raise Problem(Code.UNKNOWN_PLAN)
            self.done += 1
            return once.keep({"order": self.done})


@pytest.fixture
def shop():
    return Shop()


def code_of(attempt) -> str:
    with pytest.raises(Problem) as problem:
        attempt()
    return problem.value.code.word


def let_pass(**time):
    IdempotencyKey.objects.update(created_at=datetime.now(UTC) - timedelta(**time))


class TestTheSameKey:
    def test_brings_the_first_answer_again_and_says_so(self, shop):
        first, second = shop.order(), shop.order()

        assert first.content == second.content == b'{"order":1}'
        assert (first.get("Idempotency-Replayed"), second.get("Idempotency-Replayed")) == (None, "true")
        assert shop.done == 1

    def test_with_another_body_is_a_conflict(self, shop):
        shop.order()

        assert code_of(lambda: shop.order(body='{"x":1}')) == "idempotency_conflict"
        assert shop.done == 1

    def test_of_another_caller_or_path_is_another_key(self, shop):
        shop.order()
        shop.order(caller="bob")
        shop.order(path="/api/v1/other")

        assert shop.done == 3

    def test_is_free_again_after_a_refusal(self, shop):
        assert code_of(lambda: shop.order(refused=True)) == "unknown_plan"

        assert shop.order().content == b'{"order":1}'

    def test_is_free_again_after_a_day(self, shop):
        shop.order()
        let_pass(hours=23, minutes=59)
        assert shop.order().content == b'{"order":1}'

        let_pass(hours=24, seconds=1)
        assert shop.order(body='{"x":1}').content == b'{"order":2}'

    def test_is_taken_over_from_a_request_that_died(self, shop):
        Once(request(), caller="alice").__enter__()
        let_pass(seconds=59)
        assert code_of(shop.order) == "idempotency_in_progress"

        let_pass(seconds=61)
        assert shop.order().content == b'{"order":1}'

    def test_is_not_lost_to_a_request_that_was_thought_dead(self, shop):
        dead = Once(request(), caller="alice")
        dead.__enter__()
        let_pass(seconds=61)
        shop.order()

        dead.keep({"order": "late"})

        assert shop.order().content == b'{"order":1}'

    @pytest.mark.django_db(transaction=True)
    def test_many_times_at_once_is_done_once(self, shop):
        everybody = threading.Barrier(10)

        def order(_):
            everybody.wait()
            try:
                return shop.order().content
            except Problem as problem:
                return problem.code.word
            finally:
                connection.close()

        with ThreadPoolExecutor(10) as threads:
            answers = set(threads.map(order, range(10)))

        assert shop.done == 1
        assert answers <= {b'{"order":1}', "idempotency_in_progress"}


class TestAKey:
    @pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "é", "a\tb"])
    def test_must_be_visible_ascii(self, shop, key):
        assert code_of(lambda: shop.order(key=key)) == "invalid"
        assert shop.done == 0

    def test_may_be_left_out(self, shop):
        shop.order(key=None)
        shop.order(key=None)

        assert shop.done == 2
        assert not IdempotencyKey.objects.exists()

    def test_is_deleted_after_a_day(self, shop):
        shop.order(key="old")
        let_pass(hours=25)
        shop.order(key="new")

        assert forget_old_keys() == 1
        assert IdempotencyKey.objects.get().key == "new"
