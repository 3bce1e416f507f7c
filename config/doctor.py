"""The doctor on this process, its database and its workers."""

from __future__ import annotations

import time
from collections.abc import Iterator

from django.conf import settings
from django.db import Error, connection

from config.attention import how_long
from config.checkup import Finding, bad, good, skipped
from config.database import database_now
from config.health import LONGEST_WAIT, SchemaBehind, require_current_schema
from config.jobs import SECONDS_WITHOUT_HEARTBEAT, oldest_seconds
from config.replica import REPLICA, CannotBeRead, catch_up

OLDEST_POSTGRES = 14
LARGEST_SKEW = 5.0  # seconds
FULLEST = 0.8  # of the connections that the server allows

WORKERS = """
    SELECT count(*) FROM procrastinate_workers
    WHERE last_heartbeat > clock_timestamp() - make_interval(secs => %s)
"""
LIMITS = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")
CONNECTIONS = "SELECT count(*), current_setting('max_connections')::int FROM pg_stat_activity WHERE datname IS NOT NULL"


def debug() -> Iterator[Finding]:
    if not settings.DEBUG:
        yield good("debug", "off")
    elif settings.LOOPBACK:
        yield skipped("debug", "on, and this is reached from this machine alone")
    else:
        yield bad("debug", "on: errors show the code to strangers", "Set DEBUG=false.")


def public_url() -> Iterator[Finding]:
    if settings.SECURE:
        yield good("public address", settings.PUBLIC_URL)
    elif settings.LOOPBACK:
        yield skipped("public address", f"{settings.PUBLIC_URL} is this machine alone: good for development")
    else:
        yield bad("public address", f"{settings.PUBLIC_URL} is not https", "Set PUBLIC_URL to an https address.")


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


def isolation() -> Iterator[Finding]:
    level = _setting("transaction_isolation")
    if level == "read committed":
        yield good("isolation level", level)
    else:
        yield bad(
            "isolation level",
            level,
            "Our locks are made for `read committed`: take default_transaction_isolation out of the server, the role "
            "and DATABASE_URL.",
        )


def durability() -> Iterator[Finding]:
    off = [name for name in ("synchronous_commit", "fsync", "full_page_writes") if _setting(name) == "off"]
    if not off:
        yield good("durability", "fsync, synchronous_commit and full_page_writes are on")
    elif settings.DEBUG:
        yield skipped("durability", f"{', '.join(off)} off, as is usual in development")
    else:
        what = f"{', '.join(off)} off: a crash of the server loses payments that were answered with 200"
        yield bad("durability", what, "Set them to on in postgresql.conf, and for the role and the database too.")


def time_limits() -> Iterator[Finding]:
    """Every connection brings them along, but a pooler may drop them on the way."""
    off = [name for name in LIMITS if _setting(name) == "0"]
    if off:
        seen = f"{', '.join(off)} off: one stuck transaction can hold up all others without end"
        yield bad("time limits", seen, "Set them in the pooler's connect_query, as deploy/pgbouncer.ini does.")
    else:
        yield good("time limits", ", ".join(f"{name} {_setting(name)}" for name in LIMITS))


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


def _setting(name: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting(%s)", [name])
        (value,) = cursor.fetchone()
    return str(value)
