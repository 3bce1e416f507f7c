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
from tests.chaos.plan import DATABASE, Way, web, worker
from tests.chaos.processes import Child
from tests.cluster.programs import nginx, pgbouncer, pooled_url
from tests.cluster.standby import Standby
from tests.ports import free_port

POOLER, PROXY, REPLICA = "pgbouncer", "nginx", "replica"
WEBS = (web(0), web(1))
WORKERS = (worker(0), worker(1))
VICTIMS = (*WEBS, *WORKERS, POOLER, PROXY, REPLICA, DATABASE)


class ClusteredHouse(House):
    """What is hit comes to work again by itself; `strike` tells after how many seconds."""

    def __init__(self, database: CrashingPostgres, replica: Standby, telegram_url: str, directory: Path) -> None:
        proxy, pooler = free_port(), free_port()
        super().__init__(database, telegram_url, directory, workers=len(WORKERS), webs=len(WEBS), front=proxy)
        self._replica = replica
        self._pooled = pooled_url(directory, pooler)
        self.environment |= {
            "DATABASE_URL": self._pooled,
            "DB_PREPARE": "false",
            "WORKER_DATABASE_URL": database.url,
            "REPLICA_DATABASE_URL": replica.url,
        }
        self._children = {
            POOLER: pgbouncer(POOLER, directory, port=pooler, database_url=database.url),
            PROXY: nginx(PROXY, directory, port=proxy, upstreams=list(self.ports.values())),
            **self._children,
        }

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
        if name == POOLER:
            return await asyncio.to_thread(answers, self._pooled)
        if name != PROXY:
            return await super()._works(name, child, api)
        try:
            async with api.get("/healthz"):
                return True
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
        began = time.monotonic()
        stop = await self.stop(name)
        await self.start(name)
        return stop.code is not None, time.monotonic() - began


def answers(url: str) -> bool:
    try:
        with psycopg.connect(url, connect_timeout=2, prepare_threshold=None) as connection:
            connection.execute("SELECT 1")
    except psycopg.Error:
        return False
    return True
