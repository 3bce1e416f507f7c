"""T15: hundreds of clients who send a byte now and then hold up nobody behind the proxy of deploy/.

The slow ones come from as many addresses as they need not to be too many from one. The proxy speaks plain http here;
tests/config/test_proxy.py has them with TLS.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from tests.chaos.database import CrashingPostgres
from tests.chaos.plan import Deal, plain_deals
from tests.ports import free_port
from tests.trials.figures import Figure, Findings, percentile
from tests.trials.stage import Stage

FROM_ONE_ADDRESS = 50  # as many as the proxy allows anybody but Telegram
BYTE_EVERY = 1.0  # seconds
GROWTH = 2.0
ENOUGH, MOMENTS = 3, 60.0  # times as long as a round takes by its rate, and these seconds, are enough for it
CONTROL, CONTROL_SECONDS = 50, 30.0  # payments without the proxy, and how long they are waited for
HEADERS = b"POST /api/v1/miniapp/exchange-initdata HTTP/1.1\r\nHost: 127.0.0.1\r\n"
ANNOUNCED = HEADERS + b"Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
TOLD_WITHIN = 120.0


@dataclass(frozen=True)
class SlowClients:
    """Rounds in turns, without the slow clients and with them; then, as the control, with them and no proxy."""

    name: ClassVar[str] = "T15"
    about: ClassVar[str] = "slow clients before the proxy, and before the bare server"

    clients: int = 500
    payments: int = 2_000
    rounds: int = 2
    rate: int = 20
    workers: int = 2

    async def carry_out(self, database: CrashingPostgres, logs: Path) -> Findings:
        stage, front = Stage(database, logs), free_port()
        each = max(1, self.payments // self.rounds)
        deals = plain_deals(2 * each * self.rounds + CONTROL, seed=15)
        recorded: dict[bool, list[float]] = {False: [], True: []}
        async with stage.open(deals, workers=self.workers, rate=self.rate, front=front):
            connected = []
            for number in range(2 * self.rounds):
                slowly = bool(number % 2)
                stage.say(f"round {number // 2 + 1}, {'with' if slowly else 'without'} slow clients")
                stage.watch.begin_anew()
                async with AsyncExitStack() as stack:
                    if slowly:
                        connected.append(await stack.enter_async_context(self._slow_clients(front)))
                    with suppress(TimeoutError):
                        async with asyncio.timeout(ENOUGH * each / self.rate + MOMENTS):
                            await stage.shop.sell(deals[number * each : (number + 1) * each])
                            await stage.delivered(within=MOMENTS)
                recorded[slowly] += stage.watch.recorded.values()
            unpaid = 2 * each * self.rounds - stage.shop.paid
            failures = sum(times for answer, times in stage.watch.answers.items() if answer != "200")
            await stage.told(within=TOLD_WITHIN)
            p99 = {slowly: percentile(values, 99) for slowly, values in recorded.items()}
            findings = stage.findings(
                [
                    Figure("slow clients", min(connected), at_least=self.clients),
                    Figure("payment → 200, p99 without slow clients, s", p99[False]),
                    Figure("payment → 200, p99 with slow clients, s", p99[True]),
                    Figure("payment → 200, with : without", p99[True] / p99[False], at_most=GROWTH),
                    Figure("payments that could not be made", unpaid, at_most=0),
                    Figure("deliveries that failed", failures, at_most=0),
                ]
            )
            findings.figures.append(await self._control(stage, deals[-CONTROL:]))
        return findings

    async def _control(self, stage: Stage, deals: list[Deal]) -> Figure:
        """The same at the server itself, which has no way to keep them off."""
        stage.say("without the proxy")
        (port,) = stage.house.ports.values()
        webhook = stage.world.truth.webhook
        url = webhook.url.replace(stage.house.url, f"http://127.0.0.1:{port}")
        stage.world.deliveries.set_webhook(replace(webhook, url=url), drop_pending=False)
        stage.watch.begin_anew()
        async with self._slow_clients(port):
            with suppress(TimeoutError):
                async with asyncio.timeout(CONTROL_SECONDS):
                    await stage.shop.sell(deals)
                    await stage.delivered(within=CONTROL_SECONDS)
        taken = len(stage.watch.recorded)
        what = f"control: of {CONTROL} payments, taken in {CONTROL_SECONDS:.0f} s by the bare server"
        return Figure(what, taken, at_most=CONTROL - 1)

    @asynccontextmanager
    async def _slow_clients(self, port: int) -> AsyncIterator[int]:
        """Half of them send headers, half a body that is announced as longer; whoever is cut off comes again."""
        connected: set[int] = set()

        async def dribble(number: int) -> None:
            address = f"127.0.1.{1 + number // FROM_ONE_ADDRESS}"
            while True:
                with suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
                    connected.add(number)
                    try:
                        writer.write(ANNOUNCED if number % 2 else HEADERS)
                        while not writer.is_closing():
                            await writer.drain()
                            await asyncio.sleep(BYTE_EVERY)
                            writer.write(b"x")
                    finally:
                        writer.close()
                await asyncio.sleep(BYTE_EVERY)

        async with AsyncExitStack() as stack:
            tasks = [asyncio.create_task(dribble(number)) for number in range(self.clients)]
            for task in tasks:
                stack.callback(task.cancel)
            await asyncio.sleep(3 * BYTE_EVERY)  # they are all there, and have sent something
            yield len(connected)
        await asyncio.gather(*tasks, return_exceptions=True)
