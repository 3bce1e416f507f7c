"""Long reads go to the replica as long as it has all that the primary has; money and access never ask it."""

from contextlib import contextmanager

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.test.utils import CaptureQueriesContext

from config import doctor, exports, patience, replica
from config.checkup import Health
from config.embedded_postgres import FAST
from config.patience import ReplicaConnection
from config.replica import REPLICA, reader
from config.settings import _database
from entitlements.models import Customer
from tests.admin_pages.test_exports import address, exported
from tests.cluster.standby import Standby
from tests.factories import CustomerFactory
from tests.postgres_urls import test_database_url
from tests.staff import signed_in

pytestmark = pytest.mark.django_db(transaction=True, databases=[DEFAULT_DB_ALIAS, REPLICA])


@pytest.fixture(scope="module")
def standby(django_db_setup):
    """A copy of the whole server of the tests, which follows it."""
    with Standby(test_database_url(), FAST) as standby:
        yield standby


@pytest.fixture(scope="module", autouse=True)
def replica_url(standby):
    """What REPLICA_DATABASE_URL would be; Django must know of it before it lets a test use it."""
    database = test_database_url().partition("?")[0].rpartition("/")[2]
    url = standby._server.url.replace("/postgres?", f"/{database}?")
    # Of a mirror nothing is made and nothing emptied.
    settings.DATABASES[REPLICA] = settings.DATABASES[DEFAULT_DB_ALIAS] | {"TEST": {"MIRROR": DEFAULT_DB_ALIAS}}
    yield url
    connections[REPLICA].close()  # and so it is there to be deleted, whoever has asked for it before
    del connections[REPLICA], settings.DATABASES[REPLICA]


@contextmanager
def replica_at(url):
    settings.DATABASES[REPLICA] |= _database(url, ReplicaConnection)
    try:
        yield
    finally:
        connections[REPLICA].close()
        connections[REPLICA].close_pool()
        del connections[REPLICA]


@pytest.fixture
def followed(standby, replica_url):
    """The replica, in use."""
    ReplicaConnection.silence.heard()  # whatever became of it in the test before
    with replica_at(replica_url):
        yield standby


@pytest.fixture
def none_named(monkeypatch):
    monkeypatch.delitem(settings.DATABASES, REPLICA)


@contextmanager
def paused(standby):
    with standby.connect("postgres") as connection:
        connection.execute("SELECT pg_wal_replay_pause()")
        try:
            yield
        finally:
            connection.execute("SELECT pg_wal_replay_resume()")


class TestReading:
    def test_asks_the_replica_which_has_what_was_committed_just_before(self, followed):
        for _ in range(5):
            alice = CustomerFactory()

            assert reader() == REPLICA
            assert Customer.objects.using(REPLICA).filter(pk=alice.pk).exists()

    def test_asks_the_primary_while_the_replica_is_behind(self, followed, monkeypatch):
        monkeypatch.setattr(replica, "LONGEST_WAIT", 0.2)
        with paused(followed):
            CustomerFactory()

            assert reader() == DEFAULT_DB_ALIAS

    def test_asks_the_primary_when_what_is_named_as_the_replica_follows_nobody(self):
        with replica_at(test_database_url()):
            assert reader() == DEFAULT_DB_ALIAS

    def test_asks_the_primary_when_the_replica_is_gone_which_silences_nobody_else(self, followed):
        with followed.stopped():
            assert reader() == DEFAULT_DB_ALIAS
            assert ReplicaConnection.silence.reigns
            assert not patience.silence.reigns

    def test_asks_the_one_database_where_there_is_no_replica(self, none_named):
        assert reader() == DEFAULT_DB_ALIAS


class TestAnExport:
    @pytest.fixture(autouse=True)
    def in_small_pages(self, monkeypatch):
        monkeypatch.setattr(exports, "ROWS_AT_ONCE", 2)

    def test_reads_its_rows_from_the_replica_alone(self, followed):
        dana = signed_in(User.objects.create_superuser("dana"))
        made = [str(CustomerFactory().pk) for _ in range(5)]

        with (
            CaptureQueriesContext(connections[REPLICA]) as there,
            CaptureQueriesContext(connections[DEFAULT_DB_ALIAS]) as here,
        ):
            rows = exported(dana, address(Customer))

        assert [row["id"] for row in rows] == made[::-1]
        pages_there, pages_here = (
            sum(query["sql"].endswith("LIMIT 2") for query in queries) for queries in (there, here)
        )
        assert (pages_there, pages_here) == (3, 0)

    def test_goes_on_from_the_primary_when_the_replica_dies(self, followed):
        made = [CustomerFactory() for _ in range(5)]
        pages = exports.in_pages(Customer.objects.all(), newest_first_by="pk")
        rows = next(pages)
        assert rows[0]._state.db == REPLICA

        with followed.stopped():
            for page in pages:
                rows += page

        assert rows == made[::-1]
        assert rows[-1]._state.db == DEFAULT_DB_ALIAS


class TestTheDoctor:
    def test_finds_a_replica_that_follows(self, followed):
        [finding] = doctor.replica()

        assert (finding.health, finding.seen) == (Health.OK, "has what the primary has")

    def test_says_how_far_it_is_behind(self, followed, monkeypatch):
        monkeypatch.setattr(replica, "LONGEST_WAIT", 0.2)
        with paused(followed):
            CustomerFactory()
            [finding] = doctor.replica()

        assert finding.health == Health.FAIL
        assert finding.seen.startswith("lacks ")

    def test_says_when_it_is_no_replica(self):
        with replica_at(test_database_url()):
            [finding] = doctor.replica()

        assert (finding.health, finding.seen) == (Health.FAIL, "it is a server of its own and follows no other")

    def test_misses_none_where_there_is_none(self, none_named):
        [finding] = doctor.replica()

        assert finding.health == Health.SKIPPED

    def test_finds_limits_that_were_dropped_on_the_way(self):
        assert [finding.health for finding in doctor.time_limits()] == [Health.OK]

        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = 0")
            [finding] = doctor.time_limits()
            cursor.execute("RESET lock_timeout")  # others get this connection after us

        assert finding.health == Health.FAIL
        assert finding.seen.startswith("lock_timeout off")
