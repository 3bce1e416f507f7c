"""Every order in which the statements of two operations can happen, each at a connection of its own.

An operation stops before each of its statements and each commit until it is its turn. So an order is a list of turns:
the one whose turn it is goes on to its next stop, to its end, or to a lock that the other holds, as the server tells.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from heapq import heappop, heappush
from itertools import pairwise
from random import Random
from typing import Any

from django.db import connection, connections

from tests.connections import a_connection_for_everybody

Operation = Callable[[], object]

PATIENCE = 60.0  # seconds; nothing here takes long, but the machine may be busy with others
GLANCE = 0.002  # seconds to come to the next stop, before the server is asked whether a lock is in the way
# Nobody loses because the other has not had his turn yet, and a deadlock is found at once.
SETTINGS = "-c lock_timeout=0 -c statement_timeout=0 -c idle_in_transaction_session_timeout=0 -c deadlock_timeout=10ms"
# Nobody else can tell when these happen.
PRIVATE = re.compile(r"\s*(SAVEPOINT|RELEASE|SET|SHOW)\b", re.IGNORECASE)


class Actor:
    """A thread with a connection, which performs one operation after the other, stop by stop."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._stopped, self._turn = threading.Event(), threading.Event()
        self._unstoppable = False
        self.waits = False  # for the other's lock, when that was last looked at
        self._outcome: Future[object] = Future()
        self._connection = self._thread.submit(self._connect).result(PATIENCE)

    def begin(self, operation: Operation) -> None:
        """Perform it up to its first stop."""
        self._unstoppable = False
        self._stopped.clear()
        self._turn.clear()
        self._outcome = self._thread.submit(operation)

    def go_on(self) -> None:
        self._stopped.clear()
        self._turn.set()

    def go_to_the_end(self) -> None:
        """Without a stop, however it ends."""
        self._unstoppable = True
        self._turn.set()
        self._outcome.exception(PATIENCE)

    def leave(self) -> None:
        self._thread.submit(connections.close_all).result(PATIENCE)
        self._thread.shutdown()

    @property
    def has_stopped(self) -> bool:
        return self._stopped.is_set()

    @property
    def has_ended(self) -> bool:
        return self._outcome.done()

    @property
    def is_moving(self) -> bool:
        return not (self.has_stopped or self.has_ended)

    @property
    def pid(self) -> int:
        """Of its server process."""
        return int(self._connection.connection.info.backend_pid)

    def glance(self) -> None:
        """Give it a moment to come to its next stop."""
        if not self.has_ended:
            self._stopped.wait(GLANCE)

    def error(self) -> BaseException | None:
        """What the operation raised."""
        return self._outcome.exception(PATIENCE)

    def _connect(self) -> Any:
        connection.ensure_connection()
        commit = connection.commit

        def stop_and_commit() -> None:
            self._stop()
            commit()

        connection.commit = stop_and_commit
        connection.execute_wrappers.append(self._stop_and_execute)
        return connections[connection.alias]

    def _stop_and_execute(self, execute: Callable[..., Any], sql: Any, *rest: Any) -> Any:
        if not PRIVATE.match(str(sql)):
            self._stop()
        return execute(sql, *rest)

    def _stop(self) -> None:
        if not self._unstoppable:
            self._stopped.set()
            assert self._turn.wait(PATIENCE), "its turn never came"
            self._turn.clear()


@dataclass(frozen=True, slots=True)
class Turn:
    """Who could have gone on, in an order, and who did: 0 is the first of the two, 1 the second."""

    ready: tuple[int, ...]
    taken: int


# Of the turns until now and of those who are ready, who is next.
Choice = Callable[[Sequence[Turn], tuple[int, ...]], int]


class Stage:
    """Two actors who perform two operations in a given order."""

    def __init__(self) -> None:
        self._actors = (Actor(), Actor())

    def leave(self) -> None:
        for actor in self._actors:
            actor.leave()

    def play(self, operations: Sequence[Operation], choose: Choice) -> list[Turn]:
        """Perform both to their end, each turn by whom is chosen, and return the turns."""
        turns: list[Turn] = []
        try:
            for actor, operation in zip(self._actors, operations, strict=True):
                actor.begin(operation)
            while ready := self._ready():
                turns.append(Turn(ready, choose(turns, ready)))
                self._actors[turns[-1].taken].go_on()
        finally:
            self._let_go()
        return turns

    def errors(self) -> list[str]:
        """What the two operations raised when they were last performed."""
        return [repr(error) for actor in self._actors if (error := actor.error())]

    def _ready(self) -> tuple[int, ...]:
        """Who can go on, as soon as nobody moves any more but one who waits for the other."""
        deadline = time.monotonic() + PATIENCE
        while moving := [actor for actor in self._actors if actor.is_moving]:
            assert time.monotonic() < deadline, "it neither stops nor waits for a lock of the other"
            latest = next((actor for actor in moving if not actor.waits), moving[0])
            if not latest.waits:
                latest.glance()
            if len(moving) == 1:
                latest.waits = self._waits_for_the_other(latest)
                if latest.waits:
                    break
        return tuple(number for number, actor in enumerate(self._actors) if actor.has_stopped)

    def _waits_for_the_other(self, actor: Actor) -> bool:
        other = self._actors[actor is self._actors[0]]
        if not other.has_stopped:
            return False
        with connection.cursor() as cursor:
            cursor.execute("SELECT %s = ANY (pg_blocking_pids(%s))", [other.pid, actor.pid])
            return bool(cursor.fetchone()[0])

    def _let_go(self) -> None:
        """Both at once: one may wait for the other."""
        with ThreadPoolExecutor(2) as both:
            list(both.map(Actor.go_to_the_end, self._actors))


@contextmanager
def stage() -> Iterator[Stage]:
    with a_connection_for_everybody(SETTINGS):
        prepared = Stage()
        try:
            yield prepared
        finally:
            prepared.leave()


def every_order(
    play: Callable[[Choice], list[Turn]], *, interruptions: int, at_most: int | None = None, seed: int = 0
) -> Iterator[list[Turn]]:
    """Play each order in which one is interrupted by the other at most so often, while he could have gone on.

    Those with fewer interruptions come first. Where there are more than `at_most`, it is drawn by lot which of those
    with the most are left out.
    """
    lots = Random(seed)
    begun: list[tuple[int, float, tuple[int, ...]]] = [(0, lots.random(), (first,)) for first in (0, 1)]
    played = 0
    while begun and played != at_most:
        _, _, beginning = heappop(begun)
        turns = play(partial(_as_begun, beginning))
        played += 1
        yield turns
        for place in range(len(beginning), len(turns)):
            for other in set(turns[place].ready) - {turns[place].taken}:
                another = [*turns[:place], Turn(turns[place].ready, other)]
                if (count := _interruptions(another)) <= interruptions:
                    heappush(begun, (count, lots.random(), tuple(turn.taken for turn in another)))


def some_orders(play: Callable[[Choice], list[Turn]], *, count: int, seed: int) -> Iterator[list[Turn]]:
    """Play so many orders in which each turn is drawn by lot."""
    lots = Random(seed)
    for _ in range(count):
        yield play(lambda _past, ready: lots.choice(ready))


def _as_begun(beginning: Sequence[int], past: Sequence[Turn], ready: tuple[int, ...]) -> int:
    """Follow the beginning, then let go on whoever is at it."""
    if len(past) < len(beginning):
        assert beginning[len(past)] in ready, "the operations do not repeat themselves"
        return beginning[len(past)]
    return past[-1].taken if past[-1].taken in ready else ready[0]


def _interruptions(turns: Sequence[Turn]) -> int:
    return sum(now.taken != before.taken and before.taken in now.ready for before, now in pairwise(turns))
