"""The test database's address, for processes and connections that are not Django's."""

from urllib.parse import quote, urlencode

from django.db import connection


def test_database_url() -> str:
    parts = connection.get_connection_params()
    user, password = (quote(parts.get(name) or "", safe="") for name in ("user", "password"))
    who = f"{user}:{password}@" if password else f"{user}@"
    where = {name: parts[name] for name in ("host", "port") if parts.get(name)}
    return f"postgres://{who}/{quote(parts['dbname'])}?{urlencode(where)}"


test_database_url.__test__ = False
