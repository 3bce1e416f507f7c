"""The local Telegram as a server on 127.0.0.1, in a thread of its own for tests or as the whole program."""

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

from telegram_bot.sandbox import page
from telegram_bot.sandbox.bot_api import MAX_REQUEST
from telegram_bot.sandbox.control import Control
from telegram_bot.sandbox.handle import FaultsHandle, Loop, PersonHandle, TruthView
from telegram_bot.sandbox.schema import Json
from telegram_bot.sandbox.truth import Charge, Subscription
from telegram_bot.sandbox.world import Options, World, new_token

HOST = "127.0.0.1"
LOOPBACK = ("127.0.0.1", "localhost")
SIMPLE_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")


class PortTaken(Exception):
    """Nobody can listen there, mostly because somebody does. The sentence names the port."""


class Server:
    """The World and its HTTP faces on one event loop."""

    def __init__(self, options: Options) -> None:
        self.world = World(options)
        self._runner: web.AppRunner | None = None

    async def start(self, port: int = 0) -> int:
        """Listen, on a free port when it is 0, and tell which. :raises PortTaken:"""
        control = Control(self.world)
        app = web.Application(middlewares=[only_for_this_machine], client_max_size=MAX_REQUEST)
        app.add_routes([*self.world.bot_api.routes(), *control.routes(), *page.routes()])

        async def close(_: web.Application) -> None:
            control.close()

        app.on_shutdown.append(close)
        # A bot that hangs up on a long poll ends it; calls themselves do not wait for anything in between.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, port)
        try:
            await site.start()
        except (OSError, OverflowError) as error:
            await self._runner.cleanup()
            reason = os.strerror(error.errno or 0) if isinstance(error, OSError) else "there is no such port"
            raise PortTaken(f"port {port} of {HOST} cannot be used: {reason}") from error
        await self.world.start()
        address: tuple[str, int] = self._runner.addresses[0]
        return address[1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        await self.world.stop()


@web.middleware
async def only_for_this_machine(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Pages of other sites cannot steer the local Telegram: their requests carry another Host, or are not JSON."""
    if request.path.startswith("/bot"):
        return await handler(request)
    if request.url.host not in LOOPBACK:
        raise web.HTTPForbidden(text="The local Telegram is for this machine only.")
    if request.method == "POST" and request.content_type in SIMPLE_TYPES:
        raise web.HTTPUnsupportedMediaType(text="The local Telegram's controls take application/json.")
    return await handler(request)


class LocalTelegram:
    """A running local Telegram for tests: its thread, its event loop, and what one can ask of it.

    >>> with LocalTelegram.running() as telegram:
    ...     alice = telegram.person("Alice", language_code="ru")
    ...     alice.says("/buy gold_1m")
    ...     outcome = alice.pays(alice.last_invoice())
    """

    def __init__(self, options: Options) -> None:
        self.token = options.token
        self._server = Server(options)
        self._world = self._server.world
        self._event_loop = asyncio.new_event_loop()
        self._loop = Loop(self._event_loop)
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._live, name="local Telegram", daemon=True)
        self.base_url = ""
        self.truth = TruthView(self._world.truth, self._loop)
        self.faults = FaultsHandle(self._world, self._loop)

    @classmethod
    @contextlib.contextmanager
    def running(
        cls,
        *,
        token: str | None = None,
        port: int = 0,
        state: Path | None = None,
        pace: float = 1.0,
        checkout_seconds: float = 10.0,
        webhook_seconds: float = 60.0,
        follow: Callable[[float], None] | None = None,
    ) -> Iterator["LocalTelegram"]:
        """``base_url`` is where it listens; python-telegram-bot wants ``base_url + "/bot"``. Options: ``Options``."""
        options = Options(
            token=token or new_token(),
            state=state,
            pace=pace,
            checkout_seconds=checkout_seconds,
            webhook_seconds=webhook_seconds,
            follow=follow,
        )
        telegram = cls(options)
        telegram.start(port)
        try:
            yield telegram
        finally:
            telegram.stop()

    def start(self, port: int = 0) -> None:
        self._thread.start()
        try:
            self.base_url = f"http://{HOST}:{self._loop.wait(self._server.start(port))}"
        except PortTaken:
            self._end()
            raise

    def stop(self) -> None:
        self._loop.wait(self._server.stop())
        self._end()

    def _end(self) -> None:
        self._event_loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    def _live(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._event_loop) as runner:
            runner.run(self._ended.wait())

    # People

    def person(
        self,
        first_name: str,
        *,
        user_id: int | None = None,
        last_name: str | None = None,
        username: str | None = None,
        language_code: str | None = "en",
    ) -> PersonHandle:
        """A new person, who has not written to the bot yet."""
        record = self._loop.now(
            lambda: self._world.buyers.add(
                first_name, user_id=user_id, last_name=last_name, username=username, language_code=language_code
            )
        )
        return PersonHandle(record.id, self._world, self._loop)

    # Subscriptions and time

    def renews(self, subscription: Subscription) -> Charge:
        """Charge for the next period now."""
        return self._loop.now(lambda: self._world.subscriptions.renew(self._own(subscription)))

    def fails_to_renew(self, subscription: Subscription) -> None:
        self._loop.now(lambda: self._world.subscriptions.fail(self._own(subscription)))

    def lets_next_renewal_fail(self, subscription: Subscription) -> None:
        """Then it fails when it falls due."""
        self._loop.now(lambda: self._world.subscriptions.let_next_fail(self._own(subscription)))

    def advance(self, *, days: float = 0, hours: float = 0, seconds: float = 0) -> None:
        """Move Telegram's clock on. Subscriptions that fall due are renewed on their day."""
        self._loop.wait(self._world.subscriptions.pass_time(days * 86_400 + hours * 3600 + seconds))

    def now(self) -> float:
        return self._world.clock.now()

    def _own(self, subscription: Subscription) -> Subscription:
        return self._world.truth.subscriptions[subscription.id]

    # Updates

    def redelivers(self, update_id: int, *, under_new_id: bool = False) -> int:
        """Send an update once more, and tell its id."""
        return self._loop.now(lambda: self._world.deliveries.redeliver(update_id, under_new_id=under_new_id))

    def injects(self, body: bytes) -> None:
        """Send these bytes to the bot as if they were an update."""
        self._loop.now(lambda: self._world.deliveries.inject(body))

    def adds_transaction(self, row: Json) -> None:
        """Append a ``StarTransaction`` that no purchase made."""
        self._loop.now(lambda: self._world.add_transaction(row))

    def charges_back(self, stars: int) -> None:
        """Take Stars from the balance as Apple and Google do: the list does not know of it, and nobody is told."""
        self._loop.now(lambda: self._world.charge_back(stars))

    # The bot

    def revokes_token(self) -> str:
        """Take the bot's token back, and tell the new one."""
        self.token = self._loop.now(self._world.revoke_token)
        return self.token

    def wait_until_quiet(self, *, timeout: float = 10.0) -> None:
        """:raises TimeoutError: some update has not arrived; says which"""
        deliveries = self._world.deliveries
        if not self._loop.wait(self._world.truth.until(deliveries.quiet, within=timeout)):
            raise TimeoutError(f"still on their way after {timeout} s: {self._loop.now(deliveries.unrest)}")
