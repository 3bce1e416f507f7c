"""The two accounts that are compared: what the local Telegram knows, and what stands in our books."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from telegram_bot.sandbox.truth import Truth
from tests.chaos.database import CrashingPostgres
from tests.chaos.plan import passes
from tests.chaos.processes import CommandFailed, manage
from tests.chaos.verdict import Books, Difference, Entry, Sale

LEDGER = """
    SELECT event_id, event_type LIKE '%refunded_payment', telegram_user_id, plan_id, amount, status
    FROM payments_paymentevent JOIN entitlements_customer AS customer ON customer.id = customer_id"""
UNSOUND = "books unsound"
ACCESS = """
    SELECT telegram_user_id, extract(epoch FROM active_until)::float
    FROM entitlements_entitlement JOIN entitlements_customer AS customer ON customer.id = customer_id"""
# Each row is a difference of its own. The confirmation of what was given back before it was sent is withdrawn.
LEFT_OVER = {
    "updates not done": """
        SELECT kind || ' is ' || status || ': ' || error FROM telegram_bot_incomingupdate WHERE status <> 'done'""",
    "messages given up": """
        SELECT kind || ': ' || error FROM payments_notice AS notice
        WHERE given_up_at IS NOT NULL
          AND NOT EXISTS (SELECT FROM payments_paymentevent AS refund WHERE refund.refund_of_id = notice.event_id)""",
    "refunds refused": "SELECT id || ': ' || detail FROM payments_refund WHERE status = 'refused'",
}


def sales(truth: Truth) -> list[Sale]:
    """Every payment as Telegram knows it."""
    by_title = {one.title: one for one in passes()}
    made = []
    for charge in truth.charges.values():
        bought = by_title[truth.invoices[charge.invoice_id].title]
        made.append(
            Sale(
                charge_id=charge.id,
                buyer=charge.person_id,
                plan=bought.code,
                title=bought.title,
                amount=charge.amount,
                days=bought.days,
                paid_at=charge.date,
                refunded=charge.refunded_at is not None,
            )
        )
    return made


def books(database: CrashingPostgres) -> Books:
    """Our ledger, and until when we give access."""
    with database.connect() as connection:
        return Books(
            ledger=[Entry(*row) for row in connection.execute(LEDGER)], access=dict(connection.execute(ACCESS))
        )


def left_over(database: CrashingPostgres) -> Iterator[Difference]:
    """What our workers gave up or never came to."""
    with database.connect() as connection:
        for what, statement in LEFT_OVER.items():
            yield from (Difference(what, about) for (about,) in connection.execute(statement))


def unsound(environment: Mapping[str, str]) -> Iterator[Difference]:
    """What the house itself finds wrong in its books."""
    try:
        manage(environment, "recheck_ledger")
    except CommandFailed as failure:
        yield from (Difference(UNSOUND, line) for line in str(failure).splitlines())
