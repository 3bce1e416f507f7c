"""Two web servers behind a proxy and two workers, all by way of a pooler, with a replica for long reads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import psycopg

from tests.chaos.database import CrashingPostgres
from tests.chaos.house import LOOK_EVERY, READY_LIMIT, House
from tests.chaos.plan import DATABASE, Way, worker
from tests.chaos.processes import STOP_LIMIT, Child
from tests.cluster.programs import nginx, pgbouncer
from tests.cluster.standby import Standby
from tests.ports import free_port

POOLER, PROXY, REPLICA = "pgbouncer", "nginx", "replica"
WEBS = ("web 1", "web 2")
WORKERS = (worker(0), worker(1))
VICTIMS = (*WEBS, *WORKERS, POOLER, PROXY, REPLICA, DATABASE)


class ClusteredHouse(House):
    """What is hit comes to work again by itself; `strike` tells after how many seconds."""

    def __init__(self, database: CrashingPostgres, replica: Standby, telegram_url: str, directory: Path) -> None:
        super().__init__(database, telegram_url, directory, workers=0)
        self._replica = replica
        self._stopping: set[str] = set()
        pooler, self._ports = free_port(), {name: free_port() for name in WEBS}
        self._pooled = f"postgres://postgres@127.0.0.1:{pooler}/{database.name}"
        self.environment |= {
            "DATABASE_URL": self._pooled,
            "DB_PREPARE": "false",
            "WORKER_DATABASE_URL": database.url,
            "REPLICA_DATABASE_URL": replica.url,
        }
        proxy = int(self.url.rpartition(":")[2])
        self._children = {
            POOLER: pgbouncer(POOLER, directory, port=pooler, database_url=database.url),
            PROXY: nginx(PROXY, directory, port=proxy, upstreams=list(self._ports.values())),
        }
        for name, words in {
            **{name: ("serve", "--port", str(port)) for name, port in self._ports.items()},
            **dict.fromkeys(WORKERS, ("worker",)),
        }.items():
            self._children[name] = Child(name, words, self.environment, directory)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[aiohttp.ClientSession]:
        self._children[POOLER].start()  # the commands that set everything up go by it as well
        try:
            async with asyncio.timeout(READY_LIMIT):
                while not await asyncio.to_thread(answers, self._pooled):  # noqa: ASYNC110 - another process
                    await asyncio.sleep(LOOK_EVERY)
            async with super().open() as api:
                yield api
        finally:
            self._children[POOLER].end()

    async def _works(self, name: str, child: Child, api: aiohttp.ClientSession) -> bool:
        if name in self._stopping:
            return False
        if name == POOLER:
            return await asyncio.to_thread(answers, self._pooled)
        if name in WORKERS:
            return await super()._works(name, child, api)
        port = self._ports.get(name)
        try:
            async with aiohttp.request("GET", f"http://127.0.0.1:{port}/healthz" if port else self.url) as answer:
                return port is None or answer.status == 200
        except aiohttp.ClientError:
            return False

    async def hit(self, victim: str) -> tuple[bool, float]:
        """Kill it without a last word; whether it was really hit, and the seconds until it was at work again."""
        if victim in self._children:
            await self._at_work_again(victim)
            began = time.monotonic()
            self._at_work.discard(victim)
            hit = self._children[victim].kill()
            self._children[victim].start()
            await self._at_work_again(victim)
            return hit, time.monotonic() - began
        server = self._database if victim == DATABASE else self._replica
        before = server.own_postmaster()
        began = time.monotonic()
        await asyncio.to_thread(server.crash, Way.KILL)
        return server.own_postmaster() != before, time.monotonic() - began

    async def restart(self, name: str) -> tuple[bool, float]:
        """Have it stop, as an upgrade does; whether it did so by itself, and the seconds until it was at work again."""
        await self._at_work_again(name)
        began = time.monotonic()
        self._stopping.add(name)
        self._at_work.discard(name)
        await asyncio.to_thread(self._children[name].end)
        by_itself = time.monotonic() - began < STOP_LIMIT
        self._stopping.discard(name)
        await self._at_work_again(name)  # it is kept running
        return by_itself, time.monotonic() - began


def answers(url: str) -> bool:
    try:
        with psycopg.connect(url, connect_timeout=2, prepare_threshold=None) as connection:
            connection.execute("SELECT 1")
    except psycopg.Error:
        return False
    return True
