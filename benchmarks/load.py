"""The load generator: one process, plain sockets, requests built beforehand; the cores are left to the servers."""

from __future__ import annotations

import selectors
import socket
import time
from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

CONNECTIONS = 16
PATIENCE = 15.0  # seconds without any answer after which a server counts as dead


class LoadFailed(Exception):
    """A server closed a connection, fell silent, or gave an answer that is not the right one."""


class Call(NamedTuple):
    """A whole HTTP request, and what its 200 answer must look like."""

    request: bytes
    is_right: Callable[[bytes], bool]


class Due(NamedTuple):
    """A call with the moment it should leave, in seconds from the start, and the series its latency belongs to."""

    at: float
    series: str
    call: Call


@dataclass
class Outcome:
    """What one run of load amounted to. Times are `time.perf_counter` seconds; latencies are seconds."""

    started_at: float
    finished_at: float = 0.0
    latencies: dict[str, array[float]] = field(default_factory=dict)
    wrong: Counter[str] = field(default_factory=Counter)

    @property
    def answered(self) -> int:
        return sum(len(series) for series in self.latencies.values())

    @property
    def seconds(self) -> float:
        return self.finished_at - self.started_at

    def percentile(self, series: str, percent: float) -> float:
        """Latency in seconds that `percent` of the calls of a series did not exceed."""
        ordered = sorted(self.latencies[series])
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]

    def require_right(self) -> Self:
        """:raises LoadFailed: when any answer was wrong, with examples"""
        if self.wrong:
            message = f"{self.wrong.total()} of {self.answered} answers were wrong: {self.wrong.most_common(3)}"
            raise LoadFailed(message)
        return self


def http_request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """An HTTP/1.1 request for a keep-alive connection; underscores in header names become hyphens."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def closed_loop(port: int, calls: Iterator[Call], *, seconds: float, connections: int = CONNECTIONS) -> Outcome:
    """Keep every connection busy for some seconds, or until the calls run out: an answer in, the next call out.

    :raises LoadFailed: the server hangs up or falls silent
    """
    with _Wires(port, connections) as wires:
        outcome = Outcome(started_at=time.perf_counter(), latencies={"": array("d")})
        stop_at = outcome.started_at + seconds
        for wire in wires.idle:
            if (call := next(calls, None)) is not None:
                wire.send(call, series="", intended=time.perf_counter())
        wires.idle.clear()
        while wires.busy:
            for wire in wires.answered(outcome, timeout=PATIENCE):
                now = time.perf_counter()
                if now < stop_at and (call := next(calls, None)) is not None:
                    wire.send(call, series="", intended=now)
        outcome.finished_at = time.perf_counter()
    return outcome


def open_loop(port: int, schedule: Sequence[Due], *, connections: int = CONNECTIONS) -> Outcome:
    """Send each call at its moment whatever the server does; latency counts from the moment it was due.

    A call that finds no free connection waits, and the wait is part of its latency (no coordinated omission).

    :raises LoadFailed: the server hangs up or falls silent
    """
    with _Wires(port, connections) as wires:
        outcome = Outcome(started_at=time.perf_counter(), latencies={due.series: array("d") for due in schedule})
        to_come = deque(schedule)
        while to_come or wires.busy:
            now = time.perf_counter() - outcome.started_at
            while to_come and wires.idle and to_come[0].at <= now:
                due = to_come.popleft()
                wires.idle.popleft().send(due.call, series=due.series, intended=outcome.started_at + due.at)
            waiting_for_time = bool(to_come and wires.idle)
            wires.idle.extend(
                wires.answered(outcome, timeout=max(0.0, to_come[0].at - now) if waiting_for_time else PATIENCE)
            )
        outcome.finished_at = time.perf_counter()
    return outcome


class _Wire:
    """One keep-alive connection with at most one call under way."""

    def __init__(self, port: int, busy: set[_Wire]) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._busy = busy
        self._received = b""

    def send(self, call: Call, *, series: str, intended: float) -> None:
        self.call, self.series, self.intended = call, series, intended
        self._busy.add(self)
        self.socket.sendall(call.request)

    def receive(self) -> tuple[int, bytes] | None:
        """Status and body once the answer is whole."""
        chunk = self.socket.recv(1 << 18)
        if not chunk:
            message = f"The server hung up after {self._received[:200]!r}."
            raise LoadFailed(message)
        self._received += chunk
        answer = _parse(self._received)
        if answer is not None:
            self._received = b""
            self._busy.discard(self)
        return answer


class _Wires:
    """All connections of a run."""

    def __init__(self, port: int, connections: int) -> None:
        self._selector = selectors.DefaultSelector()
        self.busy: set[_Wire] = set()
        self.idle = deque(_Wire(port, self.busy) for _ in range(connections))
        for wire in self.idle:
            self._selector.register(wire.socket, selectors.EVENT_READ, wire)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for key in list(self._selector.get_map().values()):
            key.data.socket.close()
        self._selector.close()

    def answered(self, outcome: Outcome, *, timeout: float) -> Iterable[_Wire]:
        """The connections whose answer is complete, its latency and its rightness noted."""
        ready = self._selector.select(timeout)
        if not ready and timeout >= PATIENCE:
            message = f"The server has not answered for {PATIENCE:.0f} s."
            raise LoadFailed(message)
        for key, _ in ready:
            wire: _Wire = key.data
            answer = wire.receive()
            if answer is None:
                continue
            outcome.latencies[wire.series].append(time.perf_counter() - wire.intended)
            status, body = answer
            if status != 200 or not wire.call.is_right(body):
                outcome.wrong[f"{status} {body[:200]!r}"] += 1
            yield wire


def _parse(received: bytes) -> tuple[int, bytes] | None:
    head_end = received.find(b"\r\n\r\n")
    if head_end < 0:
        return None
    body = received[head_end + 4 :]
    head = received[:head_end].lower()
    at = head.find(b"\r\ncontent-length:")
    if at >= 0:
        length = int(head[at + 17 :].split(b"\r\n", 1)[0])
        return (int(received[9:12]), body) if len(body) >= length else None
    if b"\r\ntransfer-encoding: chunked" in head:
        return (int(received[9:12]), _unchunk(body)) if body.endswith(b"0\r\n\r\n") else None
    return int(received[9:12]), b""  # neither: an answer without a body


def _unchunk(body: bytes) -> bytes:
    parts: list[bytes] = []
    while True:
        size, _, rest = body.partition(b"\r\n")
        if (length := int(size, 16)) == 0:
            return b"".join(parts)
        parts.append(rest[:length])
        body = rest[length + 2 :]
