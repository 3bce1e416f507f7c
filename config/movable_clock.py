"""A database whose clock can be moved on: that of the demo, and of tests that see months pass. No real shop's is.

Functions with the names of the server's clocks are found before the server's own, by all who connect after `install`.
"""

from __future__ import annotations

from datetime import timedelta

from django.db import connection, transaction

SCHEMA = """
    CREATE SCHEMA IF NOT EXISTS moved;
    CREATE TABLE IF NOT EXISTS moved.clock (ahead interval NOT NULL);
    INSERT INTO moved.clock SELECT interval '0' WHERE NOT EXISTS (SELECT FROM moved.clock);
    CREATE OR REPLACE FUNCTION moved.clock_timestamp() RETURNS timestamptz VOLATILE LANGUAGE sql
        AS 'SELECT pg_catalog.clock_timestamp() + ahead FROM moved.clock';
    CREATE OR REPLACE FUNCTION moved.statement_timestamp() RETURNS timestamptz STABLE LANGUAGE sql
        AS 'SELECT pg_catalog.statement_timestamp() + ahead FROM moved.clock';
    CREATE OR REPLACE FUNCTION moved.now() RETURNS timestamptz STABLE LANGUAGE sql
        AS 'SELECT pg_catalog.now() + ahead FROM moved.clock';
"""
FOUND_FIRST = """
    DO $$ BEGIN
        EXECUTE format('ALTER DATABASE %I SET search_path = public, moved, pg_catalog', current_database());
    END $$
"""
FOUND_AS_EVER = """
    DO $$ BEGIN EXECUTE format('ALTER DATABASE %I RESET search_path', current_database()); END $$
"""
# What columns begin with was bound to the server's clock when the tables were made.
DEFAULTS = """
    SELECT format('ALTER TABLE public.%%I ALTER %%I SET DEFAULT %%s.%%s()', table_name, column_name, %s::text, clock)
    FROM information_schema.columns, substring(column_default from '(statement_timestamp|now)[(][)]$') AS clock
    WHERE table_schema = 'public' AND clock IS NOT NULL
"""


@transaction.atomic
def install() -> None:
    """Make the clock movable; repeating it changes nothing. Connections that are open already keep the server's."""
    with connection.cursor() as cursor:
        cursor.execute(SCHEMA)
        cursor.execute(FOUND_FIRST)
    _bind_defaults("moved")


@transaction.atomic
def remove() -> None:
    """Leave the database as it was before `install`."""
    _bind_defaults("pg_catalog")
    with connection.cursor() as cursor:
        cursor.execute(FOUND_AS_EVER)
        cursor.execute("DROP SCHEMA moved CASCADE")


def move_to(ahead: timedelta) -> None:
    """Let it be so much later than it is, for every statement from now on."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE moved.clock SET ahead = make_interval(secs => %s)", [ahead.total_seconds()])


def _bind_defaults(schema: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(DEFAULTS, [schema])
        for (statement,) in cursor.fetchall():
            cursor.execute(statement)
