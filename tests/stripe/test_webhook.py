"""POST /webhook/stripe: what Stripe signed for us is stored once, and nothing else."""

import json
import time

import pytest
from django.db import DatabaseError, connection
from django.test import Client
from procrastinate.contrib.django.models import ProcrastinateJob

from payments.models import StripeEvent
from payments.stripe import receiving
from tests.stripe.shop import SECRET, WEBHOOK, post

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("set_up_without_stripe")]


def event(event_id="evt_1", kind="checkout.session.completed", **changes) -> bytes:
    told = {"id": event_id, "type": kind, "livemode": False, "data": {"object": {"id": "cs_1"}}}
    return json.dumps(told | changes).encode()


class TestAnEvent:
    def test_is_stored_as_it_came_with_the_job_that_acts_upon_it(self):
        body = event()

        answer = post(body)

        assert (answer.status_code, answer.content) == (200, b"")
        stored = StripeEvent.objects.get()
        assert (stored.event_id, stored.kind, stored.about, bytes(stored.body)) == (
            "evt_1",
            "checkout.session.completed",
            "cs_1",
            body,
        )
        job = ProcrastinateJob.objects.get(task_name="payments.tasks.process_stripe_event")
        assert (job.args, job.lock) == ({"event_pk": stored.pk}, "stripe:cs_1")

    def test_that_is_brought_again_is_stored_once_also_with_another_body(self):
        post(event())
        post(event())
        answer = post(event(pending_webhooks=3))

        assert answer.status_code == 200
        assert StripeEvent.objects.count() == 1
        assert ProcrastinateJob.objects.filter(task_name="payments.tasks.process_stripe_event").count() == 1

    @pytest.mark.parametrize(
        ("changes", "why"),
        [({"livemode": True}, "live mode"), ({"account": "acct_other"}, "connected account")],
        ids=["of another mode", "of another account"],
    )
    def test_that_is_not_for_us_is_kept_and_nothing_is_done_about_it(self, changes, why, logged):
        answer = post(event(**changes))

        assert answer.status_code == 200
        stored = StripeEvent.objects.get()
        assert stored.status == "foreign"
        assert why in stored.error
        assert not ProcrastinateJob.objects.filter(task_name="payments.tasks.process_stripe_event").exists()
        assert [line["log_level"] for line in logged if line["event"] == "event not taken"] == ["error"]

    @pytest.mark.parametrize(
        "body",
        [
            b"hello",
            b"[]",
            b"{}",
            event(event_id=7),
            event(event_id=""),
            event(kind="x\0"),
            event(data={"object": None}),
            event(kind="\ud800"),
            b"[" * 10_000,
        ],
        ids=[
            "no JSON",
            "no object",
            "nothing",
            "a number",
            "no id",
            "a NUL",
            "about nothing",
            "a lone surrogate",
            "nested",
        ],
    )
    def test_that_cannot_be_understood_is_kept_for_a_person(self, body):
        answer = post(body)

        assert answer.status_code == 200
        stored = StripeEvent.objects.get()
        assert (stored.status, bytes(stored.body)) == ("quarantined", body)

    def test_is_brought_again_when_the_database_takes_nothing(self, monkeypatch):
        def gone(*_: object):
            raise DatabaseError("gone")

        monkeypatch.setattr(receiving, "_keep", gone)

        answer = post(event())

        assert (answer.status_code, answer["Retry-After"]) == (503, "5")


class TestASignature:
    def test_of_either_secret_is_taken_while_they_are_rotated(self, settings):
        settings.STRIPE_WEBHOOK_SECRETS = ["whsec_the_next_one_0000", SECRET]

        assert post(event("evt_1")).status_code == 200
        assert post(event("evt_2"), secret="whsec_the_next_one_0000").status_code == 200

    @pytest.mark.parametrize("minutes", [-4.5, 4.5])
    def test_of_these_minutes_is_taken(self, minutes):
        assert post(event(), at=time.time() + minutes * 60).status_code == 200

    @pytest.mark.parametrize("minutes", [-6, 6, 10**9])
    def test_of_another_time_is_refused_whoever_repeats_it(self, minutes):
        assert refused(post(event(), at=time.time() + minutes * 60))

    def test_of_another_body_is_refused(self):
        from stripe import WebhookSignature

        header = WebhookSignature.generate_signature_header(event("evt_1").decode(), SECRET)

        assert refused(post(event("evt_2"), signature=header))

    @pytest.mark.parametrize(
        "header",
        ["", "t=1", "v1=abc", "t=,v1=", "t=NOW,v1=ü", "t=1=2,v1=a", f"t={'9' * 5000},v1=a", "nothing"],
    )
    def test_that_is_none_is_refused(self, header):
        header = header.replace("NOW", str(int(time.time())))
        assert refused(post(event(), signature=header))

    def test_by_another_secret_is_refused(self):
        assert refused(post(event(), secret="whsec_of_somebody_else_00"))

    def test_is_needed_also_when_no_secret_is_set(self, settings):
        settings.STRIPE_WEBHOOK_SECRETS = []

        assert refused(post(event(), secret="x"))

    def test_is_looked_at_before_the_database(self, django_assert_num_queries):
        with django_assert_num_queries(0):
            post(event(), secret="whsec_of_somebody_else_00")


def refused(answer) -> bool:
    assert answer.status_code == 400
    return answer.json()["code"] == "malformed" and not StripeEvent.objects.exists()


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
def test_without_a_key_there_is_nothing_here(settings, method):
    settings.STRIPE_SECRET_KEY = ""

    assert Client().generic(method, WEBHOOK).status_code == 404


def test_an_event_is_stored_in_one_transaction_with_its_job():
    with connection.execute_wrapper(fails_at("procrastinate_defer")):
        assert post(event()).status_code == 503

    assert not StripeEvent.objects.exists()


def fails_at(word: str):
    def wrapper(execute, sql, params, many, context):
        if word in str(sql):
            raise DatabaseError(word)
        return execute(sql, params, many, context)

    return wrapper
