"""Requests take turns: first come, first served, and nobody waits for ever."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from config import turns
from config.turns import InTurn, Turns

SOON = 60.0  # seconds, on a slow machine


def wait_until(holds) -> None:
    deadline = time.monotonic() + SOON
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.fixture
def crowd():
    with ThreadPoolExecutor(10) as crowd:
        yield crowd


class TestTurns:
    def test_are_as_many_as_there_are(self):
        turns = Turns(2)

        assert [turns.take(timeout=0) for _ in range(3)] == [True, True, False]

        turns.give_back()
        assert [turns.take(timeout=0) for _ in range(2)] == [True, False]

    def test_come_in_the_order_of_waiting(self, crowd):
        turns, came = Turns(1), []

        def come(number: int) -> None:
            assert turns.take(timeout=SOON)
            came.append(number)
            turns.give_back()

        turns.take(timeout=0)
        for number in range(5):
            crowd.submit(come, number)
            wait_until(lambda: len(turns._waiting) == number + 1)  # noqa: B023 - it is called here and now
        turns.give_back()

        wait_until(lambda: len(came) == 5)
        assert came == [0, 1, 2, 3, 4]

    def test_are_not_taken_before_those_who_wait(self, crowd):
        turns = Turns(1)
        turns.take(timeout=0)
        waiting = crowd.submit(turns.take, timeout=SOON)
        wait_until(lambda: turns._waiting)

        turns.give_back()

        assert not turns.take(timeout=0)
        assert waiting.result(SOON)

    def test_are_left_to_others_by_whoever_gave_up_waiting(self, crowd):
        turns = Turns(1)
        turns.take(timeout=0)
        assert not crowd.submit(turns.take, timeout=0.01).result(SOON)

        turns.give_back()

        assert turns.take(timeout=0)

    def test_are_not_lost_when_they_come_as_he_gives_up(self, crowd):
        turns = Turns(1)
        turns._lock = threading.RLock()  # so that it can be given back by whoever holds the lock
        turns.take(timeout=0)
        waiting = crowd.submit(turns.take, timeout=0.05)
        wait_until(lambda: turns._waiting)

        with turns._lock:
            time.sleep(0.2)  # he does not wait any more, and could not say so yet
            turns.give_back()

        assert waiting.result(SOON)


class TestRequests:
    @pytest.fixture
    def application(self, settings, monkeypatch, crowd):
        """Works on each path until it is told to end, two at a time."""
        monkeypatch.setitem(settings.DATABASES["default"]["OPTIONS"]["pool"], "max_size", 2)
        self.working, self.ended = [], threading.Event()

        def work(environ, _start_response):
            self.working.append(environ["PATH_INFO"])
            if environ["PATH_INFO"] != "/healthz":
                assert self.ended.wait(SOON)
            return [b"done"]

        yield InTurn(work)
        self.ended.set()

    def asked(self, application, path: str) -> list[bytes]:
        return application({"PATH_INFO": path}, lambda *_: None)

    def test_work_two_at_a_time(self, application, crowd, monkeypatch):
        monkeypatch.setattr(turns, "LONGEST_WAIT", SOON)
        asked = [crowd.submit(self.asked, application, f"/{number}") for number in range(5)]
        wait_until(lambda: len(self.working) == 2 and len(application._turns._waiting) == 3)

        self.ended.set()

        assert [each.result(SOON) for each in asked] == [[b"done"]] * 5
        assert len(self.working) == 5

    def test_give_their_turn_back_when_they_fail(self, settings):
        def fail(_environ, _start_response):
            raise ZeroDivisionError

        application = InTurn(fail)
        for _ in range(settings.DATABASES["default"]["OPTIONS"]["pool"]["max_size"] + 1):
            with pytest.raises(ZeroDivisionError):
                self.asked(application, "/")

        assert application._turns.take(timeout=0)

    def test_for_the_health_of_the_process_get_through_though_nobody_gives_back(self, application, crowd, monkeypatch):
        monkeypatch.setattr(turns, "LONGEST_WAIT", 0.1)
        for number in range(2):
            crowd.submit(self.asked, application, f"/{number}")
        wait_until(lambda: len(self.working) == 2)

        assert crowd.submit(self.asked, application, "/healthz").result(SOON) == [b"done"]
        assert not self.ended.is_set()

    def test_that_went_ahead_without_a_turn_give_none_back(self, application, crowd, monkeypatch):
        monkeypatch.setattr(turns, "LONGEST_WAIT", 0.1)
        asked = [crowd.submit(self.asked, application, f"/{number}") for number in range(3)]
        wait_until(lambda: len(self.working) == 3)

        self.ended.set()
        for each in asked:
            each.result(SOON)

        assert [application._turns.take(timeout=0) for _ in range(3)] == [True, True, False]
