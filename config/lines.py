"""Lines of the log on their way to standard error."""

from __future__ import annotations

import atexit
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from select import PIPE_BUF

PAUSE = 0.01  # seconds
MOST_GATHERED = 10_000


def put(text: str) -> None:
    """Write to standard error, as it is at that moment; where that cannot be, go on without: money matters more."""
    with suppress(OSError):
        sys.stderr.write(text)


class Gatherer:
    """Writes lines a few at a time, from a thread of its own; at the end of the process it writes what is left.

    Each write lets go of the interpreter, and among many threads one gets it back late: two lines cost a payment as
    much as a third of all its work. A process that is killed takes the lines of its last hundredth of a second along.
    """

    def __init__(self) -> None:
        self._lines: deque[str] = deque()
        self._has_lines = threading.Event()
        self._writing = threading.Lock()
        threading.Thread(target=self._write_for_ever, name="log", daemon=True).start()
        atexit.register(self.flush)

    def __call__(self, line: str) -> None:
        self._lines.append(line)
        if not self._has_lines.is_set():
            self._has_lines.set()
        if len(self._lines) > MOST_GATHERED:
            self.flush()  # whoever reads them is slower than those who write: now they wait for him

    def flush(self) -> None:
        """Write all that was gathered, in its order.

        As many whole lines at once as a pipe takes without mixing them with those of other processes.
        """
        with self._writing:
            chunk = ""
            while self._lines:
                line = self._lines.popleft() + "\n"
                if chunk and len(chunk) + len(line) > PIPE_BUF:
                    put(chunk)
                    chunk = ""
                chunk += line
            if chunk:
                put(chunk)

    def _write_for_ever(self) -> None:
        while self._has_lines.wait():
            time.sleep(PAUSE)
            self._has_lines.clear()
            self.flush()
