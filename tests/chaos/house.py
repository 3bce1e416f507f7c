"""The house as a process manager keeps it: whatever ends is started again at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tests.chaos.database import CrashingPostgres
from tests.chaos.plan import CATALOG, DATABASE, Strike, web, worker
from tests.chaos.processes import Child, manage, production
from tests.chaos.waiting import until
from tests.ports import free_port

READY_LIMIT = 90.0  # seconds that a process may take to be at work again
LOOK_EVERY = 0.1
WORKER_READY = b"worker started"


@dataclass(frozen=True, slots=True)
class Stop:
    """How a process ended that was asked to. `code` is None when it had to be killed."""

    seconds: float
    code: int | None


class NotReady(Exception):
    """A process did not come to work; the message holds the end of its log."""


class House:
    """Web servers and workers on a database that can be crashed; `front` is the port of a proxy before them."""

    def __init__(
        self,
        database: CrashingPostgres,
        telegram_url: str,
        logs: Path,
        *,
        workers: int,
        webs: int = 1,
        front: int | None = None,
    ) -> None:
        self._database = database
        self.ports = {web(number): free_port() for number in range(webs)}
        self.workers = [worker(number) for number in range(workers)]
        self.url = f"http://127.0.0.1:{front or self.ports[web(0)]}"
        self.environment = production(database_url=database.url, public_url=self.url, telegram_url=telegram_url)
        self._children = {
            name: Child(name, words, self.environment, logs)
            for name, words in [
                *((name, ("serve", "--port", str(port))) for name, port in self.ports.items()),
                *((name, ("worker",)) for name in self.workers),
            ]
        }
        self._at_work: set[str] = set()
        self._stopped: set[str] = set()
        self.ended_themselves: list[str] = []

    @property
    def names(self) -> list[str]:
        """Of its processes."""
        return list(self._children)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[aiohttp.ClientSession]:
        """The house at work, with the client of a program that may ask for refunds."""
        await asyncio.to_thread(manage, self.environment, "migrate", "--verbosity", "0")
        await asyncio.to_thread(manage, self.environment, "load_catalog", str(CATALOG))
        scopes = ("--scope=refunds:write", "--scope=payments:read")
        key = await asyncio.to_thread(manage, self.environment, "create_api_key", "chaos", *scopes)
        api = aiohttp.ClientSession(
            self.url, headers={"Authorization": f"Api-Key {key}"}, timeout=aiohttp.ClientTimeout(total=20)
        )
        keeping = asyncio.create_task(self._keep(api))
        try:
            for name in self._children:
                await self._at_work_again(name)
            await asyncio.to_thread(manage, self.environment, "set_webhook")
            yield api
        finally:
            keeping.cancel()
            await asyncio.gather(*(asyncio.to_thread(child.end) for child in self._children.values()))
            await api.close()

    async def _keep(self, api: aiohttp.ClientSession) -> None:
        while True:
            for name, child in self._children.items():
                if name in self._stopped:
                    continue
                if not child.alive:
                    self._restart(name, child)
                elif name not in self._at_work and await self._works(name, child, api) and name not in self._stopped:
                    self._at_work.add(name)
            await asyncio.sleep(LOOK_EVERY)

    def _restart(self, name: str, child: Child) -> None:
        if name in self._at_work:  # one that does not come up, because the database is down, is no finding
            self.ended_themselves.append(f"{name}: {child.said()}")
            self._at_work.remove(name)
        child.start()

    async def _works(self, name: str, child: Child, api: aiohttp.ClientSession) -> bool:
        if name not in self.ports:
            return bool(child.said(WORKER_READY))
        try:
            async with api.get(f"http://127.0.0.1:{self.ports[name]}/healthz") as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def _at_work_again(self, name: str) -> None:
        try:
            async with asyncio.timeout(READY_LIMIT):
                await until(lambda: name in self._at_work)
        except TimeoutError as error:
            message = f"{name} is not at work after {READY_LIMIT:.0f} s: {self._children[name].said()}"
            raise NotReady(message) from error

    async def stop(self, name: str) -> Stop:
        """Ask it to stop as a process manager does, and leave it stopped."""
        await self._at_work_again(name)
        self._stopped.add(name)
        self._at_work.discard(name)
        began = time.monotonic()
        code = await asyncio.to_thread(self._children[name].end)
        return Stop(time.monotonic() - began, code)

    async def start(self, name: str) -> None:
        """Let it come to work again.

        :raises NotReady: it did not
        """
        self._stopped.discard(name)
        await self._at_work_again(name)

    async def strike(self, strike: Strike) -> bool:
        """Hit what is at work, start it again, and tell whether it was really hit.

        :raises NotOurs: and then nothing was hit
        :raises NotReady: it did not come to work after it was hit before
        """
        if strike.victim == DATABASE:
            await asyncio.sleep(strike.delay)
            return await asyncio.to_thread(self._database.crash, strike.way)
        await self._at_work_again(strike.victim)
        await asyncio.sleep(strike.delay)
        self._at_work.discard(strike.victim)
        victim = self._children[strike.victim]
        hit = victim.kill()
        victim.start()
        return hit
