"""What must hold in the inbox at every moment, for the checks of the books."""

from __future__ import annotations

from payments.invariants import Check, Invariant
from telegram_bot.dead_letters import DISMISSED

CHECKS: tuple[Invariant, ...] = (
    Check(
        "inbox",  # I6: whoever is due is tried, or put before staff; the sweep comes each minute, its lease is ten
        """
        SELECT id, update_id, next_attempt_at FROM telegram_bot_incomingupdate
        WHERE status = 'pending' AND received_at < statement_timestamp() - interval '1 minute'
          AND next_attempt_at < statement_timestamp() - interval '15 minutes'
        """,
        "Row {} of the inbox, update {}, was due at {} and nobody took it.",
    ),
    Check(
        "dismissed updates",  # I9
        f"""
        SELECT inbox.id, count(entry.id) FROM telegram_bot_incomingupdate AS inbox
        LEFT JOIN entitlements_auditentry AS entry
             ON entry.subject_type = 'telegram_bot.incomingupdate' AND entry.subject_id = inbox.id::text
             AND entry.what = '{DISMISSED}'
        WHERE inbox.status = 'dismissed'
        GROUP BY inbox.id HAVING count(entry.id) <> 1
        """,  # noqa: S608 - made of constants
        "Row {} of the inbox was dismissed, and {} audit entries say so.",
    ),
)
