"""What lies between a server and its PostgreSQL or the Bot API, and how it fails."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import closing, contextmanager
from typing import Any

import psutil

from config.embedded_postgres import EmbeddedPostgres
from tests.ports import free_port


class Wire:
    """A TCP proxy, which can refuse connections or swallow all that is sent.

    :param connect: reaches what lies behind it
    """

    def __init__(self, connect: Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]) -> None:
        self._connect = connect
        self.port = free_port()
        self._swallows = False
        self._carried: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._do(self._listen())

    def close(self) -> None:
        self._do(self._hang_up())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @contextmanager
    def refusing(self):
        self._do(self._hang_up())
        try:
            yield
        finally:
            self._do(self._listen())

    @contextmanager
    def swallowing(self):
        """What was open or opened meanwhile is dead for ever, as behind a firewall that forgot it."""
        self._swallows = True
        try:
            yield
        finally:
            self._swallows = False

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)

    async def _hang_up(self) -> None:
        self._server.close()
        for task in self._carried:
            task.cancel()
        await asyncio.gather(*self._carried, return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._carried.add(task)
        there, back = await self._connect()
        with closing(writer), closing(back):
            try:
                await asyncio.gather(self._pass_on(reader, back), self._pass_on(there, writer))
            except (OSError, asyncio.CancelledError):
                pass  # an end is gone
            finally:
                self._carried.discard(task)

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        dead = False
        while content := await source.read(65_536):
            dead = dead or self._swallows
            if not dead:
                sink.write(content)
                await sink.drain()
        sink.write_eof()


@contextmanager
def frozen(server: EmbeddedPostgres):
    """Every process of the server stopped; the kernel goes on acknowledging for it."""
    postmaster = psutil.Process(int((server.home / "data" / "postmaster.pid").read_text().split()[0]))
    processes = [postmaster, *postmaster.children(recursive=True)]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()
