"""A database with our tables and nothing in them. Whoever needs one of his own copies it, which takes a tenth of a
second where the migrations take many.

It is made in a process of its own while the tests are collected, once for all workers of a run.
"""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from config.env import BASE_DIR

VARIABLE = "TEST_MIGRATED_DATABASE"  # its name, for all processes of the run
PATIENCE = 120.0  # seconds
IS_MADE = "SELECT oid FROM pg_database WHERE datname = %s AND datistemplate"


def start_making() -> Callable[[], None]:
    """Begin to make it on the server of DATABASE_URL; returns what ends that and drops it."""
    os.environ[VARIABLE] = name = f"migrated_{uuid.uuid4().hex[:8]}"
    execute("CREATE DATABASE {}", name)
    making = subprocess.Popen([sys.executable, "-m", "tests.migrated"], cwd=BASE_DIR, start_new_session=True)

    def end() -> None:
        if making.poll() is None:  # nobody has waited for it
            os.killpg(making.pid, signal.SIGKILL)
            making.wait()
        execute("ALTER DATABASE {} IS_TEMPLATE false", name)
        execute("DROP DATABASE {} WITH (FORCE)", name)

    return end


def wait_until_made() -> str:
    """Return its name when it is ready to be copied.

    :raises TimeoutError: its making failed, and has said why, or takes for ever
    """
    name, deadline = os.environ[VARIABLE], time.monotonic() + PATIENCE
    with closing(psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)) as connection:
        while not connection.execute(IS_MADE, [name]).fetchone():
            if time.monotonic() > deadline:
                message = f"The database {name} was not made in {PATIENCE:.0f} s."
                raise TimeoutError(message)
            time.sleep(0.05)
    return name


def copy_to(database: str) -> str:
    """Make another database with the same tables, and return its address."""
    execute("CREATE DATABASE {} TEMPLATE {}", database, wait_until_made())
    return address_of(database)


def address_of(database: str) -> str:
    return urlunsplit(urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{database}"))


def execute(statement: str, *names: str) -> None:
    with closing(psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)) as connection:
        connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def make() -> None:
    name = os.environ[VARIABLE]
    migrate = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
    subprocess.run(migrate, env={**os.environ, "DATABASE_URL": address_of(name)}, check=True)
    execute("ALTER DATABASE {} IS_TEMPLATE true", name)  # which says that it is made


if __name__ == "__main__":
    make()
