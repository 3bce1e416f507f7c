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
SOME = 5  # of what is open are named
# What is open, in words. A refund that is made late is told late as well: its update belongs to it.
OPEN = {
    "inbox": """
        SELECT format('update %%s (%%s) after %%s tries: %%s', update_id, kind, attempts, error)
        FROM telegram_bot_incomingupdate
        WHERE status = 'pending' AND position('refunded_payment'::bytea IN body) = 0 LIMIT %s""",
    "messages about payments": """
        SELECT format('%%s of %%s after %%s tries: %%s', kind, event_id, attempts, error)
        FROM payments_notice WHERE sent_at IS NULL AND given_up_at IS NULL AND kind <> 'refunded' LIMIT %s""",
    REFUNDS: """
        SELECT format('refund %%s is %%s after %%s tries, looked at next %%s: %%s',
                      id, status, attempts, next_attempt_at, detail)
        FROM payments_refund WHERE status IN ('proposed', 'requested', 'sending', 'verify')
        UNION ALL
        SELECT format('update %%s of a refund after %%s tries: %%s', update_id, attempts, error)
        FROM telegram_bot_incomingupdate
        WHERE status = 'pending' AND position('refunded_payment'::bytea IN body) > 0
        UNION ALL
        SELECT format('message of refund %%s after %%s tries: %%s', event_id, attempts, error)
        FROM payments_notice WHERE sent_at IS NULL AND given_up_at IS NULL AND kind = 'refunded' LIMIT %s""",
}
LIMITS = {DELIVERIES: LIMIT, **dict.fromkeys(OPEN, LIMIT), REFUNDS: REFUND_LIMIT}


async def settle(world: World, database: CrashingPostgres) -> list[Settled]:
    """Wait until nothing is open any more, or as long as each thing may take."""
    began = time.monotonic()
    rested = dict.fromkeys(LIMITS, 0.0)
    while True:
        left = await _left(world, database)
        passed = time.monotonic() - began
        rested |= {what: passed for what, some in left.items() if some}
        if not any(some and passed < LIMITS[what] for what, some in left.items()):
            break
        await asyncio.sleep(LOOK_EVERY)
    return [Settled(what, rested[what], limit, left[what]) for what, limit in LIMITS.items()]


async def _left(world: World, database: CrashingPostgres) -> Mapping[str, list[str]]:
    def ask() -> dict[str, list[str]]:
        with database.connect() as connection:
            return {
                what: [words for (words,) in connection.execute(statement, [SOME])] for what, statement in OPEN.items()
            }

    pending = world.truth.updates.values()
    on_their_way = [f"{one.kind} after {one.attempts} tries" for one in pending if one.kind != "refunded_payment"]
    return {DELIVERIES: on_their_way[:SOME], **await asyncio.to_thread(ask)}
