"""Proofs that a run would see what is wrong."""

import json
from random import Random

import pytest

from tests.fuzz.bodies import LARGEST, MARK, spoilt
from tests.fuzz.oracle import Answer, faults_of_api, faults_of_problem, faults_of_webhook
from tests.fuzz.report import MEGABYTE, Report

GOOD = {"update_id": 1, "message": {"text": "hello", "from": {"id": 7}}}
TYPE = {"content-type": "application/problem+json"}


def problem(status: int = 422, code: str = "invalid", **changes) -> Answer:
    told = {"type": "x", "title": "x", "status": status, "detail": "x", "code": code} | changes
    return Answer(status, TYPE, json.dumps(told).encode())


class TestTheJudge:
    @pytest.mark.parametrize(
        "body",
        [b"", b'{"method": "answerPreCheckoutQuery", "pre_checkout_query_id": "1", "ok": true}'],
    )
    def test_lets_a_right_answer_to_telegram_be(self, body):
        assert not [*faults_of_webhook(Answer(200, {}, body), body=b"{}", is_telegram=True)]

    @pytest.mark.parametrize(
        ("answer", "sent", "is_telegram"),
        [
            (Answer(500, {}, b""), b"{}", True),
            (Answer(503, {"retry-after": "5"}, b""), b"{}", True),
            (Answer(400, {}, b""), b"{}", True),
            (Answer(302, {}, b""), b"{}", True),
            (Answer(200, {}, b"ok"), b"{}", True),
            (Answer(200, {}, b'{"method": "refundStarPayment", "user_id": 7}'), b"{}", True),
            (Answer(200, {}, b'{"method": "answerPreCheckoutQuery", "ok": true}'), b"{}", True),
            (Answer(200, {}, b""), b" " * (LARGEST + 1), True),
            (Answer(200, {}, b""), b"{}", False),
            (Answer(401, {}, b"<html>"), b"{}", False),
        ],
    )  # fmt: skip
    def test_sees_a_wrong_one(self, answer, sent, is_telegram):
        assert [*faults_of_webhook(answer, body=sent, is_telegram=is_telegram)]

    def test_lets_a_problem_of_the_contract_be(self):
        assert not [*faults_of_api(problem(), statuses={200, 422}, is_let_in=True)]

    @pytest.mark.parametrize(
        "answer",
        [
            Answer(500, TYPE, b"{}"),
            Answer(422, {"content-type": "text/html"}, b"<html>"),
            Answer(200, {"content-type": "text/html"}, b"{}"),
            problem(code="internal"),
            problem(status=422, code="malformed"),
            problem(secret="x"),
            problem(detail=f"{MARK} is not valid"),
            problem(errors={"plan_code": [f"{MARK} is not a choice"]}),
        ],
    )
    def test_sees_what_is_none(self, answer):
        assert [*faults_of_api(answer, statuses={200, 422}, is_let_in=True)]

    def test_sees_who_is_let_in_without_credentials(self):
        answer = Answer(200, {"content-type": "application/json"}, b'{"a": 1}')

        assert [*faults_of_api(answer, statuses={200}, is_let_in=False)]

    @pytest.mark.parametrize(("status", "code"), [(401, "invalid_token"), (429, "rate_limited"), (503, "unavailable")])
    def test_misses_the_header_that_goes_with_a_status(self, status, code):
        assert [*faults_of_problem(problem(status, code))]


class TestBodies:
    def test_are_the_same_for_the_same_dice_and_leave_the_good_one_as_it_is(self):
        before = json.dumps(GOOD)
        bodies = [spoilt(GOOD, Random(number)) for number in range(300)]

        assert bodies == [spoilt(GOOD, Random(number)) for number in range(300)]
        assert len(set(bodies)) > 200
        assert json.dumps(GOOD) == before


class TestMemory:
    @pytest.mark.parametrize(("end", "is_flat"), [(130, True), (170, False)])
    def test_must_not_grow_when_the_server_is_warm(self, end, is_flat):
        warming, growing = [60, 80, 100, 120] * 5, [120 + (end - 120) * step // 80 for step in range(81)]
        report = Report(1, 10_000, memory=[size * MEGABYTE for size in warming + growing])

        assert report.is_flat is is_flat
