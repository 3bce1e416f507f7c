"""A migration has the time it needs, and holds up nobody."""

import psycopg
import pytest
from django.db import OperationalError, ProgrammingError, connection
from django.db.migrations import Migration, RunPython, RunSQL
from django.db.migrations.state import ProjectState

from config import patience
from tests.postgres_urls import test_database_url

LONG = "SELECT pg_sleep(1.2)::text"

pytestmark = pytest.mark.django_db(transaction=True)


def asked(question: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(question)
        return cursor.fetchone()[0]


@pytest.fixture(autouse=True)
def hurried():
    """Connections whose statements end after half a second by the server's limit, after a whole one by ours."""
    options = connection.settings_dict["OPTIONS"]
    before = options["options"], patience.ANSWER
    connection.close()
    connection.close_pool()
    options["options"], patience.ANSWER = "-c lock_timeout=100ms -c statement_timeout=500ms", 1.0
    yield
    options["options"], patience.ANSWER = before
    connection.close()
    connection.close_pool()


@pytest.fixture(params=[True, False], ids=["in a transaction", "without one"])
def apply(request):
    def apply(*operations) -> None:
        migration = Migration("slow", "config")
        migration.operations, migration.atomic = list(operations), request.param
        with connection.schema_editor(atomic=request.param) as editor:
            migration.apply(ProjectState(), editor)

    return apply


def test_a_migration_may_take_long_over_a_statement(apply):
    apply(RunSQL("SELECT 1"), RunPython(lambda apps, editor: asked(LONG)))


def test_others_may_not_also_after_a_migration(apply):
    apply(RunSQL("SELECT 1"))

    assert asked("SHOW statement_timeout") == "500ms"
    with pytest.raises(OperationalError):
        asked(LONG)


def test_nor_after_one_that_failed(apply):
    with pytest.raises(ProgrammingError):
        apply(RunSQL("SELECT nothing"))

    assert asked("SHOW statement_timeout") == "500ms"
    assert connection.connection.patience is None


def test_a_migration_waits_for_no_table_longer_than_a_request(apply):
    with psycopg.connect(test_database_url()) as reader:
        reader.execute("SELECT count(*) FROM payments_plan")

        with pytest.raises(OperationalError, match="lock timeout"):
            apply(RunSQL("ALTER TABLE payments_plan ADD COLUMN colour text"))


def test_what_a_migration_would_do_can_be_read_without_a_database():
    connection.close()

    with connection.schema_editor(collect_sql=True, atomic=False) as editor:
        editor.execute("SELECT 1", None)

    assert editor.collected_sql == ["SELECT 1;"]
    assert connection.connection is None
