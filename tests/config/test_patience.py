"""Statements end when nobody would wait for them any more, though the database says nothing.

Whole servers before a database that is gone are in tests/faults/test_outages.py.
"""

import asyncio
import math
import re
import runpy
from datetime import timedelta

import psycopg
import pytest
from django.db import OperationalError, connection, connections
from psycopg.conninfo import make_conninfo

from config import patience
from config.database import long_statements
from config.env import BASE_DIR
from config.patience import (
    REQUEST,
    NoAnswer,
    PatientAsyncConnection,
    PatientConnection,
    RequestsWithin,
    Silence,
    end_within,
    remaining,
    silence,
    within,
)
from config.turns import LONGEST_WAIT
from payments.models import PaymentEvent
from tests import updates
from tests.postgres_urls import test_database_url

TELEGRAM_WAITS = 10.0  # seconds

TOO_LONG = "SELECT pg_sleep(2)"  # and then the server lets go of the database


@pytest.fixture
def patient():
    """A connection whose server would let a statement take as long as it likes."""
    with PatientConnection.connect(test_database_url(), autocommit=True) as connection:
        yield connection


class TestAConnection:
    def test_gives_up_an_answer_that_does_not_come_and_is_closed(self, patient, db, monkeypatch):
        monkeypatch.setattr(patience, "ANSWER", 0.2)

        with pytest.raises(NoAnswer, match="did not answer within"):
            patient.execute(TOO_LONG)

        assert patient.closed

    def test_waits_no_longer_than_its_request_may(self, patient, db):
        with within(0.2), pytest.raises(NoAnswer):
            patient.execute(TOO_LONG)

    def test_asks_nothing_when_no_time_is_left(self, patient, db):
        with within(0), pytest.raises(NoAnswer, match="No time is left"):
            patient.execute("SELECT 1")

    def test_is_sound_after_an_answer(self, patient, db):
        with within(60):
            patient.execute("SELECT 1")

        assert patient.execute("SELECT 2").fetchone() == (2,)

    def test_is_as_patient_in_an_event_loop(self, db, monkeypatch):
        monkeypatch.setattr(patience, "ANSWER", 0.2)
        address = make_conninfo(test_database_url())

        async def ask() -> None:
            async with await PatientAsyncConnection.connect(address, autocommit=True) as patient:
                await patient.execute(TOO_LONG)

        with pytest.raises(NoAnswer):
            asyncio.run(ask())


class TestTime:
    def test_is_without_limit_unless_there_is_one(self):
        assert remaining() == math.inf

    def test_is_the_least_of_all_limits(self):
        with within(1), within(1_000):
            assert remaining() <= 1

    def test_ends_for_everybody_when_the_process_stops(self, monkeypatch):
        monkeypatch.setattr(patience, "_last_end", math.inf)  # and is what it was after this test

        end_within(1)
        end_within(1_000)

        assert remaining() <= 1

    def test_of_a_request_is_less_than_telegram_waits(self):
        left = []

        RequestsWithin(lambda *_: left.append(remaining()) or [])({}, lambda *_: None)

        assert 0 < left[0] <= REQUEST
        assert remaining() == math.inf


class TestSilence:
    @pytest.fixture
    def silence(self) -> Silence:
        """Of a process that has heard nothing yet."""
        return Silence()

    def test_reigns_when_nobody_was_answered_while_one_waited(self, silence):
        silence.waited(2)

        assert silence.reigns

    def test_does_not_reign_when_somebody_was_answered_meanwhile(self, silence):
        silence.heard()
        silence.waited(1_000)

        assert not silence.reigns

    def test_does_not_reign_because_of_one_who_had_no_time(self, silence):
        silence.waited(patience.NOTICEABLE / 2)

        assert not silence.reigns

    def test_ends_with_the_first_answer(self, silence):
        silence.waited(2)
        silence.heard()

        assert not silence.reigns

    def test_lets_one_try_and_then_nobody_for_a_while(self, silence, monkeypatch):
        monkeypatch.setattr(patience, "ONE_TRY_EACH", 1_000)

        assert [silence.may_try() for _ in range(3)] == [True, False, False]

    def test_is_noticed_by_whoever_waits_in_vain(self, patient, db, monkeypatch):
        monkeypatch.setattr(silence, "reigns", False)  # and is so again after this test
        monkeypatch.setattr(patience, "ANSWER", 0.2)
        monkeypatch.setattr(patience, "NOTICEABLE", 0.1)

        with pytest.raises(NoAnswer):
            patient.execute(TOO_LONG)

        assert silence.reigns

    def test_is_broken_by_any_answer(self, patient, db, monkeypatch):
        monkeypatch.setattr(silence, "reigns", True)

        patient.execute("SELECT 1")

        assert not silence.reigns


@pytest.mark.django_db(transaction=True)
class TestDjangosConnection:
    def test_is_a_patient_one(self):
        connection.ensure_connection()

        assert isinstance(connection.connection, PatientConnection)

    def test_is_told_when_statements_may_take_long(self, monkeypatch):
        monkeypatch.setattr(patience, "ANSWER", 0.2)
        with long_statements(up_to=timedelta(minutes=1)), connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(0.5)")

        with pytest.raises(OperationalError), connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(0.5)")
        connections.close_all()


@pytest.mark.django_db(transaction=True)
class TestASilentDatabase:
    @pytest.fixture(autouse=True)
    def reigning(self, monkeypatch):
        connection.close()
        monkeypatch.setattr(silence, "reigns", True)
        monkeypatch.setattr(silence, "_next_try_at", math.inf)

    def test_is_asked_by_nobody_whose_turn_it_is_not(self):
        with pytest.raises(OperationalError, match="does not answer at the moment"):
            connection.ensure_connection()

    def test_is_tried_with_a_new_connection_and_heard_again(self, monkeypatch):
        monkeypatch.setattr(silence, "_next_try_at", 0.0)
        known = set(connection.pool._pool)
        assert known

        connection.ensure_connection()

        assert connection.connection not in known
        assert not silence.reigns


@pytest.mark.django_db(transaction=True)
def test_nobody_waits_for_a_connection_without_time_for_it():
    connection.close()

    with within(patience.CHECKOUT - 0.1), pytest.raises(OperationalError, match="No time is left"):
        connection.ensure_connection()


@pytest.mark.django_db(transaction=True)
def test_a_payment_that_finds_no_free_connection_is_asked_for_again_and_then_recorded(
    telegram_posts, invoice, monkeypatch
):
    monkeypatch.setattr(silence, "reigns", False)  # and is so again after this test
    payment = updates.payment(invoice)
    connection.close()
    pool = connection.pool
    monkeypatch.setattr(pool, "timeout", 0.1)
    taken = [pool.getconn(timeout=60) for _ in range(pool.max_size)]
    try:
        refused = telegram_posts(payment)
    finally:
        for each in taken:
            pool.putconn(each)
    monkeypatch.undo()

    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
    assert not PaymentEvent.objects.exists()
    assert telegram_posts(payment).status_code == 200
    assert PaymentEvent.objects.count() == 1


def test_limits_nest_as_they_are_in_production():
    options = runpy.run_path(str(BASE_DIR / "config" / "settings.py"))["DATABASES"]["default"]["OPTIONS"]
    of_the_server = {name: int(seconds) for name, seconds in re.findall(r"(\w+)_timeout=(\d+)s", options["options"])}

    assert of_the_server["lock"] < of_the_server["statement"] < REQUEST < TELEGRAM_WAITS
    assert LONGEST_WAIT + options["pool"]["timeout"] + of_the_server["statement"] <= REQUEST


def test_an_error_of_patience_is_one_of_the_database():
    assert issubclass(NoAnswer, psycopg.OperationalError)
