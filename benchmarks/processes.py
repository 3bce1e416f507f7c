"""Servers under test as child processes: started, awaited, put to rest while others are measured, weighed, ended."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

START_LIMIT = 30.0  # seconds


class ProcessFailed(Exception):
    """A server did not come up; the message holds the end of what it said."""


class Process:
    """A child with its descendants, in a process group of its own."""

    def __init__(self, name: str, command: Sequence[str], *, environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self._log = log
        with log.open("wb") as output:
            self._child = _start(command, environment, output)

    def wait_for(self, port: int) -> None:
        """Wait until the port answers.

        :raises ProcessFailed: the process ended, or the port is still closed after START_LIMIT
        """
        give_up_at = time.monotonic() + START_LIMIT
        while time.monotonic() < give_up_at and self._child.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.05)
        message = f"{self.name} did not start. Its last words:\n{self._log.read_text(errors='replace')[-2000:]}"
        raise ProcessFailed(message)

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Stopped (SIGSTOP), so that it takes nothing from the one being measured."""
        os.killpg(self._child.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self._child.pid, signal.SIGCONT)

    def peak_memory(self) -> dict[int, int]:
        """Peak resident set (VmHWM) in KiB of the child and its descendants, by pid; empty where there is no /proc."""
        return {pid: peak for pid in _family(self._child.pid) if (peak := _peak(pid)) is not None}

    def end(self) -> None:
        if self._child.poll() is None:
            os.killpg(self._child.pid, signal.SIGCONT)
            self._child.terminate()
            try:
                self._child.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self._child.pid, signal.SIGKILL)
                self._child.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _start(command: Sequence[str], environment: Mapping[str, str], output: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _family(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):  # ended meanwhile
            continue
        children.setdefault(parent, []).append(int(status.parent.name))
    family = [pid]
    for member in family:
        family += children.get(member, [])
    return family


def _peak(pid: int) -> int | None:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), None)
