"""Connections for threads that wait for each other."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection


@contextmanager
def a_connection_for_everybody(settings: str = "") -> Iterator[None]:
    """Each thread that connects meanwhile gets a connection of its own: behind the pool of a web process, threads that
    wait for each other would wait for it.

    :param settings: of these connections, as `-c name=value`, above those that all have
    """
    connection.ensure_connection()  # that of this thread stays the pool's, or it would be given back to it
    options = connection.settings_dict["OPTIONS"]
    before = dict(options)
    options.update(pool=False, options=f"{options['options']} {settings}")
    try:
        yield
    finally:
        options.update(before)
