"""The doctor on this process, its database and its workers."""

from __future__ import annotations

import time
from collections.abc import Iterator

from django.conf import settings
from django.core.checks import Tags
from django.db import DEFAULT_DB_ALIAS, Error, connection

from config.api import ratelimit
from config.attention import how_long
from config.checks import faults, setting_of
from config.checkup import Finding, bad, good, skipped
from config.database import database_now
from config.health import LONGEST_WAIT, SchemaBehind, require_current_schema
from config.jobs import oldest_seconds, workers_alive
from config.replica import REPLICA, CannotBeRead, catch_up

OLDEST_POSTGRES = 14
LARGEST_SKEW = 5.0  # seconds
FULLEST = 0.8  # of the connections that the server allows

MEGABYTE = 1024 * 1024
LARGEST_BACKLOG = 1024 * MEGABYTE  # of what a replica has not fetched
LONGEST_TRANSACTION = 3600.0  # seconds; a backup of a large database takes some

OLDEST_TRANSACTION = """
    SELECT extract(epoch FROM clock_timestamp() - xact_start)::float, pid FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
      AND xact_start IS NOT NULL
    ORDER BY xact_start LIMIT 1
"""
UNREAD_SLOTS = """
    SELECT slot_name, active, coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::float
    FROM pg_replication_slots ORDER BY slot_name
"""
LIMITS = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")
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


def time_limits() -> Iterator[Finding]:
    """Every connection brings them along, but a pooler may drop them on the way."""
    off = [name for name in LIMITS if setting_of(DEFAULT_DB_ALIAS, name) == "0"]
    if off:
        seen = f"{', '.join(off)} off: one stuck transaction can hold up all others without end"
        yield bad("time limits", seen, "Set them in the pooler's connect_query, as deploy/pgbouncer.ini does.")
    else:
        yield good("time limits", ", ".join(f"{name} {setting_of(DEFAULT_DB_ALIAS, name)}" for name in LIMITS))


def replica() -> Iterator[Finding]:
    if REPLICA not in settings.DATABASES:
        yield skipped("replica", "none: everything is read from the one database")
        return
    try:
        lacking = catch_up()
    except CannotBeRead as error:
        yield bad("replica", str(error), "Exports are read from the primary meanwhile. Is REPLICA_DATABASE_URL right?")
        return
    if not lacking:
        yield good("replica", "has what the primary has")
    else:
        seen = f"lacks {lacking:,} bytes of the primary's log"
        yield bad("replica", seen, "Exports are read from the primary meanwhile. Look at pg_stat_replication there.")


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


def transactions() -> Iterator[Finding]:
    """Of other roles' sessions it sees as much as this role may."""
    with connection.cursor() as cursor:
        cursor.execute(OLDEST_TRANSACTION)
        seconds, pid = cursor.fetchone() or (0.0, None)
    if seconds > LONGEST_TRANSACTION:
        yield bad(
            "open transactions",
            f"that of process {pid} has been open for {how_long(seconds)}",
            "Nothing is cleaned up or summed behind it. If it is no backup, end it: SELECT pg_terminate_backend(pid).",
        )
    else:
        yield good("open transactions", f"the oldest is {how_long(seconds)} old" if pid else "none")


def replication() -> Iterator[Finding]:
    """What nobody fetches fills the disk, and a database without disk takes no payment."""
    with connection.cursor() as cursor:
        cursor.execute(UNREAD_SLOTS)
        slots = cursor.fetchall()
    if not slots:
        yield skipped("replication", "nobody reads along")
    for name, active, unread in slots:
        seen = f"{name}: {unread / MEGABYTE:.0f} MB not fetched"
        if unread > LARGEST_BACKLOG and not active:
            remedy = f"Bring that replica back, or let go of it: SELECT pg_drop_replication_slot('{name}')."
            yield bad("replication", f"{seen}, and nobody reads it", remedy)
        else:
            yield good("replication", seen)


def redis() -> Iterator[Finding]:
    if not settings.REDIS_URL:
        yield skipped("Redis", "REDIS_URL is not set: rate limits are counted in PostgreSQL")
    elif ratelimit.redis_answers():
        yield good("Redis", "it answers")
    else:
        seen = "it does not answer: rate limits are counted in PostgreSQL meanwhile"
        yield bad("Redis", seen, "Is it running, and are host, port and password in REDIS_URL right?")


def watching() -> Iterator[Finding]:
    if settings.METRICS_TOKEN:
        yield good("metrics", "open for those who hold METRICS_TOKEN")
    elif settings.DEBUG:
        yield skipped("metrics", "open for everybody, as is usual in development")
    else:
        yield skipped("metrics", "closed: set METRICS_TOKEN to be called when something breaks")


def workers() -> Iterator[Finding]:
    if alive := workers_alive():
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
