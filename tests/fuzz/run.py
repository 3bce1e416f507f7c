"""A run: bodies by several senders at once, a good sale after each hundred, and a look at the server's memory."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from http.client import HTTPConnection, HTTPException
from random import Random
from urllib.parse import urlsplit

import httpx
import psutil

from tests.flows.house import PATIENCE, House
from tests.fuzz import targets
from tests.fuzz.oracle import Answer
from tests.fuzz.report import Report
from tests.fuzz.shop import NotSold, quoted, sell
from tests.fuzz.targets import Keys, Request

SENDERS = 4
QUOTES = 10
SELL_AFTER = 100  # bodies
LOOK_AFTER = 250  # bodies, at the memory
LARGE = 50_000  # bytes, more than what a connection takes at once
MOST_SENTENCES = 60
MOST_SHOWN = 300  # bytes of a body that did harm


class Sender(threading.Thread):
    """Sends what is left to be sent, over one connection while that lasts."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run
        address = urlsplit(run.house.url)
        self._wire = HTTPConnection(str(address.hostname), address.port, timeout=PATIENCE)

    def run(self) -> None:
        for number in self._run.numbers:
            self._run.judge(number, self)
        self._wire.close()

    def send(self, request: Request) -> Answer:
        """:raises OSError, HTTPException: no answer, twice; the server may close a connection that has been quiet"""
        is_large = len(request.body) > LARGE
        if is_large:
            self._wire.close()
        try:
            return self._sent(request, request.body)
        except (OSError, HTTPException):
            self._wire.close()
            # Who refuses a request by its headers hangs up while its body is being sent, and the answer may be lost.
            return self._sent(request, b"" if is_large else request.body)

    def _sent(self, request: Request, body: bytes) -> Answer:
        self._wire.putrequest(request.method, request.path)
        for name, value in {**request.headers, "Content-Length": str(len(request.body))}.items():
            self._wire.putheader(name, value.encode("latin-1"))
        self._wire.endheaders(body)
        answer = self._wire.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        told = Answer(answer.status, headers, answer.read())
        if len(request.body) > LARGE:
            self._wire.close()  # it may have answered before it read all that
        return told


class Run:
    """What is sent to a house, and what it answers."""

    def __init__(self, house: House, *, seed: int, numbers: Iterable[int], bodies: int) -> None:
        self.house = house
        self.report = Report(seed, bodies)
        self._lock = threading.Lock()
        self._is_over = False
        self.numbers = self._shared(iter(numbers))
        self._server = psutil.Process(house.processes["serve"].pid)

    def stop(self) -> None:
        """Send no more; what was sent is judged."""
        self._is_over = True

    def _shared(self, waiting: Iterator[int]) -> Iterable[int]:
        """The numbers for whichever sender comes next."""

        def next_one() -> int | None:
            with self._lock:
                return None if self._is_over else next(waiting, None)

        return iter(next_one, None)

    def to_the_end(self) -> Report:
        began = time.monotonic()
        self.keys = Keys(
            self.house.environment["TELEGRAM_WEBHOOK_SECRET"],
            self.house.environment["JWT_SIGNING_KEY"],
            self.house.manage("create_api_key", "fuzz", *(f"--scope={scope}" for scope in SCOPES)),
        )
        self._quotes = [quoted(self.house) for _ in range(QUOTES)]
        self._look()
        senders = [Sender(self) for _ in range(SENDERS)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        self._sell(self.report.bodies)
        self._look()
        if len(self.report.details) > MOST_SENTENCES:
            self.report.findings.append(f"{len(self.report.details)} different sentences: {self.report.details}")
        self.report.seconds = time.monotonic() - began
        return self.report

    def judge(self, number: int, sender: Sender) -> None:
        """Send one body, the same for the same seed and number, and note what is wrong with the answer."""
        request = targets.make(Random(f"{self.report.seed}:{number}"), self.keys, self._quotes)
        try:
            answer = sender.send(request)
            if answer.status == 503:  # too busy, or broken by this body: then it is so again
                self.report.asked_again += 1
                time.sleep(1)
                answer = sender.send(request)
        except (OSError, HTTPException) as error:
            self._found(number, request, f"no answer: {error!r}")
            return
        for fault in request.faults(answer):
            self._found(number, request, fault)
        with self._lock:
            self.report.answers[request.target, answer.status] += 1
            if answer.status >= 400:
                self._note_sentence(answer)
        if number % SELL_AFTER == SELL_AFTER - 1:
            self._sell(number)
        if number % LOOK_AFTER == 0:
            self._look()
            self._tell(number)

    def _tell(self, number: int) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{number:,} of {self.report.bodies:,}, {len(self.report.findings)} findings ")

    def _note_sentence(self, answer: Answer) -> None:
        try:
            told = json.loads(answer.body)
            self.report.details.add((told["code"], told["detail"]))
        except (ValueError, KeyError, TypeError):
            pass  # the oracle has said so

    def _sell(self, number: int) -> None:
        try:
            sell(self.house, charge_id=f"stxGood{self.report.seed}-{number}")
        except (NotSold, httpx.HTTPError) as error:
            self.report.findings.append(f"after body {number} nothing could be sold: {error!r}")
        else:
            self.report.sold += 1

    def _look(self) -> None:
        family = [self._server, *self._server.children(recursive=True)]
        self.report.memory.append(sum(process.memory_info().rss for process in family))

    def _found(self, number: int, request: Request, fault: str) -> None:
        shown = f"{request.method} {request.path[:200]} {request.headers} {request.body[:MOST_SHOWN]!r}"
        self.report.findings.append(f"body {number}: {fault} — {shown}")


SCOPES = ("entitlements:read", "payments:read", "payments:ingest", "payments:validate", "refunds:write", "revenue:read")
