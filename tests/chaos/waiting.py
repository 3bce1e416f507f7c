"""Waiting for something to become so."""

import asyncio
from collections.abc import Callable

LOOK_EVERY = 0.02  # seconds


async def until(holds: Callable[[], bool]) -> None:
    """Return when it holds. Whoever must not wait for ever sets a time limit around it."""
    while not holds():  # noqa: ASYNC110 - what changes it are processes and other people's callbacks
        await asyncio.sleep(LOOK_EVERY)
