"""The doctor on this process, its database and its workers."""

from __future__ import annotations

import time
from collections.abc import Iterator

from django.conf import settings
from django.core.checks import Tags
from django.db import Error, connection

from config.attention import how_long
from config.checks import faults
from config.checkup import Finding, bad, good, skipped
from config.database import database_now
from config.health import LONGEST_WAIT, SchemaBehind, require_current_schema
from config.jobs import SECONDS_WITHOUT_HEARTBEAT, oldest_seconds

OLDEST_POSTGRES = 14
LARGEST_SKEW = 5.0  # seconds
FULLEST = 0.8  # of the connections that the server allows

WORKERS = """
    SELECT count(*) FROM procrastinate_workers
    WHERE last_heartbeat > clock_timestamp() - make_interval(secs => %s)
"""
CONNECTIONS = "SELECT count(*), current_setting('max_connections')::int FROM pg_stat_activity WHERE datname IS NOT NULL"


def fitness() -> Iterator[Finding]:
    """Whether these are settings for production, as a process of production asks before it starts."""
    if settings.DEBUG and settings.LOOPBACK:
        yield skipped("settings", f"for development at {settings.PUBLIC_URL}, which is this machine alone")
    else:
        yield from _faults(Tags.security) or [good("settings", f"fit for production at {settings.PUBLIC_URL}")]


def database() -> Iterator[Finding]:
    """The first of all: without it most others say nothing but this."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('server_version_num')::int")
            (version,) = cursor.fetchone()
    except Error as error:
        yield bad(
            "database",
            f"no connection ({type(error).__name__})",
            "Is PostgreSQL running, and are host, name and password in DATABASE_URL right?",
        )
        return
    major = version // 10_000
    if major < OLDEST_POSTGRES:
        yield bad("database", f"PostgreSQL {major}", f"Use PostgreSQL {OLDEST_POSTGRES} or later.")
    else:
        yield good("database", f"PostgreSQL {major}.{version % 10_000}")


def migrations() -> Iterator[Finding]:
    try:
        require_current_schema()
    except SchemaBehind as behind:
        yield bad("migrations", str(behind), "Run `manage.py migrate`.")
    else:
        yield good("migrations", "all applied")


def durability() -> Iterator[Finding]:
    if settings.DEBUG and settings.LOOPBACK:
        yield skipped("durability", "not asked for in development")
    else:
        kept = "what is committed stays, each transaction isolated as our locks expect"
        yield from _faults(Tags.database) or [good("durability", kept)]


def clock() -> Iterator[Finding]:
    began = time.time()
    theirs = database_now().timestamp()
    skew = (began + time.time()) / 2 - theirs
    if abs(skew) <= LARGEST_SKEW:
        yield good("clock", f"{abs(skew):.1f} s from the database's")
    else:
        seen = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the database's"
        yield bad("clock", seen, "Have both machines follow NTP: tokens are judged by the one, access by the other.")


def connections() -> Iterator[Finding]:
    with connection.cursor() as cursor:
        cursor.execute(CONNECTIONS)
        used, allowed = cursor.fetchone()
    seen = f"{used} of {allowed} in use"
    if used > FULLEST * allowed:
        yield bad("connections", seen, "Raise max_connections, lower DB_POOL_SIZE, or put a pooler between.")
    else:
        yield good("connections", seen)


def workers() -> Iterator[Finding]:
    with connection.cursor() as cursor:
        cursor.execute(WORKERS, [SECONDS_WITHOUT_HEARTBEAT])
        (alive,) = cursor.fetchone()
    if alive:
        yield good("workers", f"{alive} at work")
    else:
        yield bad("workers", "none: no command is answered, nothing is sent", "Start `manage.py worker`.")


def jobs() -> Iterator[Finding]:
    waited = oldest_seconds()
    seen = f"the oldest has waited {how_long(waited)}" if waited else "none waits"
    if waited > LONGEST_WAIT:
        yield bad("jobs", seen, "Start `manage.py worker`, or more of them; its log says what it does.")
    else:
        yield good("jobs", seen)


def _faults(tag: str) -> list[Finding]:
    return [bad(str(fault.id), fault.msg, fault.hint or "") for fault in faults(tag)]
