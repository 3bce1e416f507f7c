"""A read replica, for reads that are long: it relieves the primary, and is never older than it.

Whoever reads there first waits until it has all that the primary had a moment before; if it is too far behind, or
gone, the primary is read as if there were none. What decides about money or access always asks the primary.
"""

from __future__ import annotations

import time

import structlog
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, Error, connection, connections

from config.database import release_connection
from config.patience import within

REPLICA = "replica"  # its name in DATABASES, when REPLICA_DATABASE_URL is set
LONGEST_WAIT = 2.0  # seconds for what is on its way
LONGEST_ASKING = 3.0  # seconds for an answer
LOOK_EVERY = 0.05

# NULL on a server that is no replica.
LACKING = """
    SELECT CASE WHEN pg_is_in_recovery()
                THEN greatest(0, pg_wal_lsn_diff(%s::pg_lsn, pg_last_wal_replay_lsn()))::bigint END
"""

log = structlog.get_logger(__name__)


class CannotBeRead(Exception):
    """The replica does not answer, or is none."""


def reader() -> str:
    """The alias of the database to read from, which has all that was committed before the call."""
    if REPLICA not in settings.DATABASES:
        return DEFAULT_DB_ALIAS
    try:
        lacking = catch_up()
    except CannotBeRead as error:
        log.warning("the replica cannot be read", reason=str(error))
        return DEFAULT_DB_ALIAS
    if lacking:
        log.warning("the replica is behind", bytes=lacking)
        return DEFAULT_DB_ALIAS
    return REPLICA


def catch_up() -> int:
    """Wait until the replica has what the primary has now, and return 0; or after LONGEST_WAIT the bytes it lacks.

    :raises CannotBeRead:
    """
    written = _written()
    deadline = time.monotonic() + LONGEST_WAIT
    while (lacking := _lacking_to(written)) and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY)
    return lacking


def _written() -> str:
    """The place in the primary's log before which all is that was committed."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_current_wal_insert_lsn()::text")
            (place,) = cursor.fetchone()
    finally:
        release_connection()
    return str(place)


def _lacking_to(place: str) -> int:
    try:
        with within(LONGEST_ASKING), connections[REPLICA].cursor() as cursor:
            cursor.execute(LACKING, [place])
            (lacking,) = cursor.fetchone()
    except Error as error:
        raise CannotBeRead(f"it does not answer ({type(error).__name__})") from error
    finally:
        release_connection(REPLICA)
    if lacking is None:
        message = "it is a server of its own and follows no other"
        raise CannotBeRead(message)
    return int(lacking)
