"""Lines of the log are gathered, and all of them arrive."""

import threading
import time
from select import PIPE_BUF
from types import SimpleNamespace

import pytest

from config import lines
from config import logging as house_logging
from config.lines import Gatherer


class Paper:
    """A standard error that remembers each write."""

    def __init__(self) -> None:
        self.writes: list[str] = []

    def write(self, text: str) -> None:
        self.writes.append(text)

    @property
    def lines(self) -> list[str]:
        return "".join(self.writes).splitlines()

    def waits_for(self, count: int) -> None:
        deadline = time.monotonic() + 60
        while len(self.lines) < count:
            assert time.monotonic() < deadline
            time.sleep(0.001)


class FullDisk:
    def write(self, text: str) -> None:
        raise OSError(28, "No space left on device")


@pytest.fixture
def paper(monkeypatch) -> Paper:
    paper = Paper()
    monkeypatch.setattr(lines, "sys", SimpleNamespace(stderr=paper))  # pytest puts its own into the real one
    return paper


@pytest.fixture
def patient(monkeypatch) -> None:
    """Nothing is written by itself while the test lasts."""
    monkeypatch.setattr(lines, "PAUSE", 60)


class TestLines:
    def test_come_by_themselves(self, paper):
        gather = Gatherer()

        for count in (1, 2):
            gather("said")
            paper.waits_for(count)

    def test_come_in_one_write_and_in_their_order(self, patient, paper):
        gather = Gatherer()

        for number in range(3):
            gather(f"line {number}")
        gather.flush()

        assert paper.writes == ["line 0\nline 1\nline 2\n"]

    def test_come_whole_in_as_much_as_a_pipe_takes_at_once(self, patient, paper):
        gather = Gatherer()
        said = [str(number) * 1_000 for number in range(9)]

        for line in [*said, "x" * (PIPE_BUF + 1)]:
            gather(line)
        gather.flush()

        assert [len(text.splitlines()) for text in paper.writes] == [4, 4, 1, 1]
        assert paper.lines[:9] == said

    def test_of_many_threads_all_come_once(self, paper):
        gather = Gatherer()

        def say(thread: int) -> None:
            for number in range(200):
                gather(f"{thread} {number}")

        threads = [threading.Thread(target=say, args=[thread]) for thread in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        gather.flush()

        paper.waits_for(1_600)
        assert sorted(paper.lines) == sorted(f"{thread} {number}" for thread in range(8) for number in range(200))

    def test_are_written_by_who_says_them_when_nobody_keeps_up(self, patient, monkeypatch, paper):
        monkeypatch.setattr(lines, "MOST_GATHERED", 3)
        gather = Gatherer()

        for number in range(4):
            gather(str(number))

        assert paper.lines == ["0", "1", "2", "3"]


class TestAServer:
    @pytest.fixture
    def gathering(self, patient, paper, monkeypatch):
        monkeypatch.setattr(house_logging, "_gatherer", Gatherer())

    def test_tells_of_errors_at_once_and_of_what_led_to_them(self, gathering, paper):
        output = house_logging.Output()

        output.info("before")
        assert paper.lines == []
        output.error("an error")
        assert paper.lines == ["before", "an error"]


def test_a_full_disk_stops_nobody(monkeypatch):
    monkeypatch.setattr(lines, "sys", SimpleNamespace(stderr=FullDisk()))

    lines.put("a line")
