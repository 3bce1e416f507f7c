"""The clients of docs/clients against the server as it runs: what they keep, how long, and what they say without it."""

from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from config.api.authentication import create_api_client
from entitlements.models import ApiClient, Customer, Grant, Scope
from entitlements.services import grant, revoke
from tests.config.test_serve import serving
from tests.docs.programs import JavaScriptProgram, PythonProgram
from tests.factories import CustomerFactory
from tests.ports import free_port
from tests.postgres_urls import test_database_url

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("clients")]

HOUR = timedelta(hours=1)
LONGEST_AGE = 30  # seconds that an answer may be kept


@pytest.fixture(scope="module", autouse=True)
def database_beside_a_browser():
    """Django takes Playwright's event loop, which waits in this thread, for one that a query would hold up."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        yield


@pytest.fixture(scope="module")
def server(django_db_setup) -> str:
    port = free_port()
    with serving(port):
        yield f"http://localhost:{port}"


@pytest.fixture
def key() -> str:
    return create_api_client(name="a product", scopes=[Scope.ENTITLEMENTS_READ], lifetime=None, now=datetime.now(UTC))


@pytest.fixture(params=["python", "javascript"])
def running(request, server, key):
    """Starts a program with a client of these options."""
    programs = []

    def start(*, key: str = key, **options):
        if request.param == "python":
            program = PythonProgram(server, key, **options)
        else:
            program = JavaScriptProgram(request.getfixturevalue("browser").new_page(), server, key, **options)
        programs.append(program)
        return program

    yield start
    for program in programs:
        program.close()


def gives(customer: Customer, **terms) -> Grant:
    terms = {"entitlement": "gold", "source": f"staff:{customer.pk}", "granted_at": datetime.now(UTC)} | terms
    return grant(customer=customer, **terms)


def takes_back(given: Grant) -> None:
    revoke(grant=given, reason="a mistake", now=datetime.now(UTC))


class TestAnAnswer:
    def test_says_who_has_access_and_who_has_not(self, running, alice, bob):
        gives(alice)
        program = running()

        assert program.has_access(alice.user_id)
        assert not program.has_access(alice.user_id, "silver")
        assert not program.has_access(bob.user_id)
        assert program.has_access("auth0|a/b ünïcode") is False
        assert program.who_has("gold", [alice.user_id, bob.user_id, "nobody"]) == {alice.user_id}

    def test_is_not_asked_for_again_until_its_time_is_over(self, running, alice):
        given = gives(alice)
        program = running()
        assert program.has_access(alice.user_id)
        takes_back(given)

        program.forward(LONGEST_AGE - 1)
        assert program.has_access(alice.user_id)
        assert program.statuses == [200]
        program.forward(2)
        assert not program.has_access(alice.user_id)
        assert program.statuses == [200, 200]

    def test_that_has_not_changed_is_kept_on(self, running, alice):
        gives(alice)
        program = running()

        for _ in range(3):
            assert program.has_access(alice.user_id)
            assert program.has_access(alice.user_id)
            program.forward(LONGEST_AGE + 1)

        assert program.statuses == [200, 304, 304]

    def test_of_no_access_is_not_kept_so_that_a_purchase_shows_at_once(self, running, alice):
        program = running()
        assert not program.has_access(alice.user_id)

        gives(alice)

        assert program.has_access(alice.user_id)

    def test_makes_room_for_later_ones(self, running):
        first, second, third = customers = [CustomerFactory() for _ in range(3)]
        for customer in customers:
            gives(customer)
        program = running(most_kept=2)

        for customer in (first, second, third, third, first):
            assert program.has_access(customer.user_id)

        assert len(program.statuses) == 4


class TestWithoutTheServer:
    def test_says_so_or_what_it_was_told_to_say(self, running, alice):
        gives(alice)
        for otherwise, said in ((None, "unavailable"), (True, True), (False, False)):
            program = running(**({} if otherwise is None else {"otherwise": otherwise}))
            program.lose_the_server()

            assert program.has_access(alice.user_id) == said

    def test_a_kept_answer_stands_in_as_long_as_was_allowed(self, running, alice):
        gives(alice)
        program = running(stale_for=600)
        assert program.has_access(alice.user_id)
        program.lose_the_server()

        program.forward(LONGEST_AGE + 599)
        assert program.has_access(alice.user_id) is True
        program.forward(2)
        assert program.has_access(alice.user_id) == "unavailable"

    def test_access_ends_at_its_end_however_long_answers_may_be_kept(self, running, alice):
        gives(alice, ends_at=datetime.now(UTC) + HOUR)
        program = running(stale_for=10 * HOUR.total_seconds(), otherwise=True)
        assert program.has_access(alice.user_id)
        program.lose_the_server()

        program.forward(HOUR.total_seconds() - 300)
        assert program.has_access(alice.user_id)
        program.forward(300)
        assert not program.has_access(alice.user_id)


class TestARefusal:
    def test_of_the_database_is_followed_by_the_pause_that_the_server_asked_for(self, running, alice):
        gives(alice)
        program = running()
        with locked("entitlements_apiclient"):
            assert program.has_access(alice.user_id) == "unavailable"
        assert program.statuses == [503]

        assert program.has_access(alice.user_id) == "unavailable"
        assert program.statuses == [503]
        program.forward(6)
        assert program.has_access(alice.user_id) is True

    def test_for_too_many_questions_is_no_reason_to_lock_a_customer_out(self, running, alice):
        gives(alice)
        ApiClient.objects.update(requests_per_minute=1)
        program = running(stale_for=600)
        assert program.has_access(alice.user_id)

        program.forward(LONGEST_AGE + 1)
        assert program.has_access(alice.user_id) is True
        assert program.has_access(alice.user_id) is True
        assert program.statuses == [200, 429]

    def test_of_the_key_is_not_taken_for_an_outage(self, running, key, alice):
        ApiClient.objects.update(scopes=[Scope.PAYMENTS_READ])
        assert running(otherwise=True).has_access(alice.user_id) == 403
        assert running(key="nonsense", otherwise=True).has_access(alice.user_id) == 401


@contextmanager
def locked(table: str):
    """Nobody reads or writes the table meanwhile."""
    with closing(psycopg.connect(test_database_url())) as connection:
        connection.execute(f"LOCK TABLE {table}")
        yield
