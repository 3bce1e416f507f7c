"""The house as a process manager keeps it: whatever ends is started again at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from tests.chaos.database import CrashingPostgres
from tests.chaos.plan import CATALOG, DATABASE, WEB, Strike, worker
from tests.chaos.processes import Child, manage, production
from tests.chaos.waiting import until
from tests.ports import free_port

READY_LIMIT = 90.0  # seconds that a process may take to be at work again
LOOK_EVERY = 0.1
WORKER_READY = b"worker started"


class NotReady(Exception):
    """A process did not come to work; the message holds the end of its log."""


class House:
    """A web server and workers on a database that can be crashed."""

    def __init__(self, database: CrashingPostgres, telegram_url: str, logs: Path, *, workers: int) -> None:
        self._database = database
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.environment = production(database_url=database.url, public_url=self.url, telegram_url=telegram_url)
        self._children = {
            name: Child(name, words, self.environment, logs)
            for name, words in [
                (WEB, ("serve", "--port", str(port))),
                *((worker(number), ("worker",)) for number in range(workers)),
            ]
        }
        self._at_work: set[str] = set()
        self.ended_themselves: list[str] = []

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
                if not child.alive:
                    self._restart(name, child)
                elif name not in self._at_work and await self._works(name, child, api):
                    self._at_work.add(name)
            await asyncio.sleep(LOOK_EVERY)

    def _restart(self, name: str, child: Child) -> None:
        if name in self._at_work:  # one that does not come up, because the database is down, is no finding
            self.ended_themselves.append(f"{name}: {child.said()}")
            self._at_work.remove(name)
        child.start()

    async def _works(self, name: str, child: Child, api: aiohttp.ClientSession) -> bool:
        if name != WEB:
            return bool(child.said(WORKER_READY))
        try:
            async with api.get("/healthz") as answer:
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
