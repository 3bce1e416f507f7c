"""One round trip for many: what threads bring while another is at work is done as one by the next of them."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from config.patience import remaining

Item = TypeVar("Item")
Result = TypeVar("Result")


class NotDone(Exception):
    """The thread that acted for several failed, for the reason in `__cause__`, or takes longer than we may wait.

    Whether anything was done is unknown.
    """


class Together(Generic[Item, Result]):
    """Calls a function of many items with the items of several threads, as a database commits in groups.

    Who comes alone is served at once. Those who come while another is at work wait; then the first of them acts for
    all. So the busier it is, the more is done in one go, and nobody waits for company, nor longer than he may.

    :param do: one result for each item, in their order
    :param patience: seconds to wait, before going alone beside whoever is at work
    """

    def __init__(
        self, do: Callable[[Sequence[Item]], Sequence[Result]], *, at_most: int = 8, patience: float = 2.0
    ) -> None:
        self._do = do
        self._at_most = at_most
        self._patience = patience
        self._lock = threading.Lock()  # of the two that follow
        self._busy = False
        self._waiting: deque[_Share[Item, Result]] = deque()

    def __call__(self, item: Item) -> Result:
        """The result for this item.

        :raises NotDone: another thread acted for this one and failed, or this one's time ended before; whoever fails
            himself gets his own error
        """
        share: _Share[Item, Result] = _Share(item)
        with self._lock:
            acts, self._busy = not self._busy, True
            if not acts:
                self._waiting.append(share)
        if not acts and not share.woken(self._patience):
            if self._withdrawn(share):
                return self._do([item])[0]
            if not share.woken(math.inf):  # somebody acts for it, whose time may end later
                raise NotDone
        if acts or share.acts:
            self._act_for_all(share)
        return share.outcome()

    def _act_for_all(self, own: _Share[Item, Result]) -> None:
        with self._lock:
            shares = [own, *(self._waiting.popleft() for _ in range(min(len(self._waiting), self._at_most - 1)))]
        try:
            for share, result in zip(shares, self._do([share.item for share in shares]), strict=True):
                share.result = result
        except BaseException as error:
            for share in shares:
                share.error = error
            raise
        finally:
            self._hand_over()
            for share in shares:
                share.wake()

    def _hand_over(self) -> None:
        with self._lock:
            self._busy = bool(self._waiting)
            if self._busy:
                following = self._waiting.popleft()
                following.acts = True
                following.wake()

    def _withdrawn(self, share: _Share[Item, Result]) -> bool:
        """Whether it still waited, and now does not."""
        with self._lock:
            waited = share in self._waiting
            if waited:
                self._waiting.remove(share)
        return waited


class _Share(Generic[Item, Result]):
    """What one thread brought, and what becomes of it while that thread sleeps."""

    result: Result

    def __init__(self, item: Item) -> None:
        self.item = item
        self.acts = False
        self.error: BaseException | None = None
        self._asleep = threading.Lock()
        self._asleep.acquire()

    def woken(self, within: float) -> bool:
        """Whether it is time to go on: waits for that so many seconds, or as long as this thread may wait at all."""
        return self._asleep.acquire(timeout=min(max(0.0, remaining()), within, threading.TIMEOUT_MAX))

    def wake(self) -> None:
        self._asleep.release()

    def outcome(self) -> Result:
        if self.error is not None:
            raise NotDone from self.error
        return self.result
