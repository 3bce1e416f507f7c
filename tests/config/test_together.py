"""What several threads bring at one time is done in one go, each gets what is his, and nobody waits in vain."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from config.patience import within
from config.together import NotDone, Together

SOON = 5  # seconds; whatever should happen has happened long before


class Counter:
    """Doubles numbers, and remembers which came together. Closed, it keeps whoever is at work until it is opened."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.fails = False
        self._open = threading.Event()
        self._open.set()
        self.at_work = threading.Semaphore(0)

    def __call__(self, numbers):
        self.batches.append(list(numbers))
        self.at_work.release()
        assert self._open.wait(SOON)
        if self.fails:
            raise ValueError(numbers[0])
        return [2 * number for number in numbers]

    @contextmanager
    def closed(self):
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()


@pytest.fixture
def counter() -> Counter:
    return Counter()


@pytest.fixture
def threads():
    with ThreadPoolExecutor(16) as pool:
        yield pool


def bring_meanwhile(together, counter, threads, numbers):
    """The first number's future, and those of the others, who come while it is at work."""
    with counter.closed():
        first = threads.submit(together, 0)
        assert counter.at_work.acquire(timeout=SOON)
        others = [threads.submit(together, number) for number in numbers]
        while len(together._waiting) < len(numbers):
            pass
    return first, others


def test_who_comes_alone_is_served_alone(counter):
    together = Together(counter)

    assert [together(1), together(2)] == [2, 4]
    assert counter.batches == [[1], [2]]


def test_those_who_come_meanwhile_are_served_in_one_go_each_with_his_own(counter, threads):
    first, others = bring_meanwhile(Together(counter), counter, threads, [1, 2, 3, 4, 5])

    assert first.result(SOON) == 0
    assert [other.result(SOON) for other in others] == [2, 4, 6, 8, 10]
    assert [sorted(batch) for batch in counter.batches] == [[0], [1, 2, 3, 4, 5]]


def test_no_more_go_together_than_allowed(counter, threads):
    _, others = bring_meanwhile(Together(counter, at_most=2), counter, threads, [1, 2, 3, 4, 5])

    assert [other.result(SOON) for other in others] == [2, 4, 6, 8, 10]
    assert [len(batch) for batch in counter.batches] == [1, 2, 2, 1]


def test_a_failure_is_his_who_acted_and_the_others_learn_that_it_was_not_done(counter, threads):
    together = Together(counter)
    with counter.closed():
        first = threads.submit(together, 0)
        assert counter.at_work.acquire(timeout=SOON)
        others = [threads.submit(together, number) for number in (1, 2, 3)]
        while len(together._waiting) < len(others):
            pass
        counter.fails = True
    failures = [future.exception(SOON) for future in (first, *others)]

    assert sorted(type(failure).__name__ for failure in failures) == ["NotDone", "NotDone", "ValueError", "ValueError"]
    assert all(isinstance(each.__cause__, ValueError) for each in failures if isinstance(each, NotDone))


def test_after_a_failure_it_goes_on(counter):
    together = Together(counter)
    counter.fails = True
    with pytest.raises(ValueError, match="1"):
        together(1)
    counter.fails = False

    assert together(2) == 4


def test_who_has_waited_long_enough_goes_alone(counter, threads):
    together = Together(counter, patience=0.01)
    with counter.closed():
        first = threads.submit(together, 0)
        assert counter.at_work.acquire(timeout=SOON)
        impatient = threads.submit(together, 1)
        assert counter.at_work.acquire(timeout=SOON)

    assert (first.result(SOON), impatient.result(SOON)) == (0, 2)
    assert counter.batches == [[0], [1]]


class TakesAlong(Together):
    """Whoever is at work has taken along all who wait, and does not come back: the database is frozen."""

    def _withdrawn(self, share):
        return False


def test_who_was_taken_along_waits_no_longer_than_he_may(counter, threads):
    together = TakesAlong(counter, patience=0.01)
    together._busy = True

    def hurry():
        with within(0.1):
            return together(1)

    try:
        with pytest.raises(NotDone):
            threads.submit(hurry).result(SOON)
    finally:
        for share in together._waiting:
            share.wake()


def test_in_a_crowd_nothing_is_left_out_or_done_twice(threads):
    done: list[int] = []

    def double(numbers):
        done.extend(numbers)
        return [2 * number for number in numbers]

    together = Together(double, at_most=5, patience=0.001)

    assert list(threads.map(together, range(3_000))) == [2 * number for number in range(3_000)]
    assert sorted(done) == list(range(3_000))
