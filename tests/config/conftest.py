import pytest
from django.db import OperationalError, connection


@pytest.fixture
def no_database(db):
    """Every query fails, as when the server is gone."""

    def refuse(execute, sql, params, many, context):
        raise OperationalError("the server is gone")

    with connection.execute_wrapper(refuse):
        yield
