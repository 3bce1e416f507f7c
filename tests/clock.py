"""The database's clock moved on, for tests that see months pass: every statement of ours reads the later time."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from django.db import connection

from config import movable_clock


@contextmanager
def a_clock_to_move() -> Iterator[ModuleType]:
    """`config.movable_clock` in force for all threads; the clock stands where it stood when that is over."""
    movable_clock.install()
    _connect_anew()
    try:
        yield movable_clock
    finally:
        movable_clock.remove()
        _connect_anew()


def _connect_anew() -> None:
    connection.close()
    connection.close_pool()
