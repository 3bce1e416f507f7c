"""Whether everything has come to rest, and how long that took."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from telegram_bot.sandbox.world import World
from tests.chaos.database import CrashingPostgres
from tests.chaos.report import Settled

LIMIT = 120.0
# A worker that dies between writing down a call and making it leaves a lease of a minute to the sweep of the minute
# after, and what Telegram's list does not have is sent again only after two looks that are a minute apart.
REFUND_LIMIT = 300.0
LOOK_EVERY = 0.5

DELIVERIES, REFUNDS = "deliveries", "refunds and their messages"
OPEN = {
    "inbox": "SELECT count(*) FROM telegram_bot_incomingupdate WHERE status = 'pending'",
    "messages about payments": """
        SELECT count(*) FROM payments_notice WHERE sent_at IS NULL AND given_up_at IS NULL AND kind <> 'refunded'""",
    REFUNDS: """
        SELECT (SELECT count(*) FROM payments_refund WHERE status IN ('proposed', 'requested', 'sending', 'verify'))
             + (SELECT count(*) FROM payments_notice
                WHERE sent_at IS NULL AND given_up_at IS NULL AND kind = 'refunded')""",
}
LIMITS = {DELIVERIES: LIMIT, **dict.fromkeys(OPEN, LIMIT), REFUNDS: REFUND_LIMIT}


async def settle(world: World, database: CrashingPostgres) -> list[Settled]:
    """Wait until nothing is open any more, or as long as each thing may take."""
    began = time.monotonic()
    rested = dict.fromkeys(LIMITS, began)
    while True:
        open_now = await _open(world, database)
        now = time.monotonic()
        rested |= {what: now for what, count in open_now.items() if count}
        if not any(count and now - began < LIMITS[what] for what, count in open_now.items()):
            break
        await asyncio.sleep(LOOK_EVERY)
    return [Settled(what, None if open_now[what] else rested[what] - began, limit) for what, limit in LIMITS.items()]


async def _open(world: World, database: CrashingPostgres) -> Mapping[str, int]:
    def count() -> dict[str, int]:
        with database.connect() as connection:
            return {what: connection.execute(statement).fetchone()[0] for what, statement in OPEN.items()}

    return {DELIVERIES: len(world.truth.updates), **await asyncio.to_thread(count)}
