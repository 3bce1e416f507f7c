"""The local Telegram's time: the machine's, moved on by hand when a test or a visitor wants it later."""

import asyncio
import time


class Clock:
    """Seconds since 1970. ``pace`` shortens the pauses between delivery attempts, and nothing else."""

    def __init__(self, *, pace: float = 1.0, ahead: float = 0.0) -> None:
        self.pace = pace
        self.ahead = ahead
        self._sleepers: dict[asyncio.Future[None], float] = {}

    def now(self) -> float:
        return time.time() + self.ahead

    def today(self) -> int:
        """Now as the Bot API writes it: whole seconds."""
        return int(self.now())

    def unmoved(self) -> int:
        """The machine's time in whole seconds, by which programs judge what was signed just now."""
        return int(time.time())

    def move_to(self, moment: float) -> None:
        """Jump forward, never back; whoever slept until then wakes."""
        self.ahead += max(0.0, moment - self.now())
        for sleeper, deadline in self._sleepers.items():
            if deadline <= self.now() and not sleeper.done():
                sleeper.set_result(None)

    async def sleep(self, seconds: float, *, alarm: asyncio.Future[None] | None = None) -> None:
        """Until then, or until somebody sets off the ``alarm``."""
        await self._sleep(seconds, alarm, really=seconds)

    async def pause(self, seconds: float) -> None:
        """A sleep between delivery attempts."""
        await self._sleep(seconds, None, really=seconds * self.pace)

    async def _sleep(self, seconds: float, alarm: asyncio.Future[None] | None, *, really: float) -> None:
        sleeper = alarm or asyncio.get_running_loop().create_future()
        self._sleepers[sleeper] = self.now() + seconds
        try:
            await asyncio.wait([sleeper], timeout=really)
        finally:
            del self._sleepers[sleeper]
