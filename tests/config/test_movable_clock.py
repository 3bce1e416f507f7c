"""The clock of a database, moved on."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from django.db import connection
from procrastinate.contrib.django.models import ProcrastinateEvent

from config import movable_clock
from config.database import database_now
from tests.clock import a_clock_to_move
from tests.config.test_jobs import defer
from tests.factories import CustomerFactory
from tests.postgres_urls import test_database_url

pytestmark = pytest.mark.django_db(transaction=True)

MONTH = timedelta(days=30)
DEFAULTS = """
    SELECT table_name, column_name, column_default FROM information_schema.columns
    WHERE table_schema = 'public' AND column_default LIKE '%()' ORDER BY 1, 2
"""


def defaults() -> list[tuple[str, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(DEFAULTS)
        return cursor.fetchall()


def days_ahead(moment: datetime) -> int:
    return round((moment - datetime.now(UTC)) / timedelta(days=1))


@pytest.fixture
def a_month_later(transactional_db):
    with a_clock_to_move() as clock:
        clock.move_to(MONTH)
        yield


class TestAMovedClock:
    def test_is_that_of_every_statement_of_every_connection(self, a_month_later):
        with psycopg.connect(test_database_url()) as other:
            read = other.execute("SELECT clock_timestamp(), statement_timestamp(), now()").fetchone()

        assert [days_ahead(moment) for moment in (*read, database_now())] == [30, 30, 30, 30]

    def test_is_what_columns_begin_with(self, a_month_later):
        job = defer("payments.tasks.sum_tallies", timestamp=0)

        assert days_ahead(CustomerFactory().created_at) == 30
        assert days_ahead(ProcrastinateEvent.objects.get(job=job).at) == 30

    def test_stays_where_it_is_when_it_is_made_movable_again(self, a_month_later):
        movable_clock.install()

        assert days_ahead(database_now()) == 30

    def test_leaves_nothing_behind(self, transactional_db):
        before = defaults()
        with a_clock_to_move() as clock:
            clock.move_to(MONTH)

        assert defaults() == before
        assert days_ahead(database_now()) == 0
        with connection.cursor() as cursor:
            cursor.execute("SELECT to_regnamespace('moved'), current_setting('search_path')")
            assert cursor.fetchone() == (None, '"$user", public')
