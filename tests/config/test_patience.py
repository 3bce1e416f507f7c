"""Statements end when nobody would wait for them any more, though the database says nothing.

Whole servers before a database that is gone are in tests/faults/test_outages.py.
"""

import asyncio
import math
from datetime import timedelta

import psycopg
import pytest
from django.db import OperationalError, connection, connections
from psycopg.conninfo import make_conninfo

from config import patience
from config.database import long_statements
from config.patience import NoAnswer, PatientAsyncConnection, PatientConnection, end_within, remaining, within
from tests.postgres_urls import test_database_url

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


def test_an_error_of_patience_is_one_of_the_database():
    assert issubclass(NoAnswer, psycopg.OperationalError)
