"""What Telegram and our books disagree on: kept once, gone by itself, or settled by staff."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from django.db import transaction
from django.db.models.functions import Now

from config.database import retried
from entitlements import audit
from payments.models import Discrepancy, DiscrepancyKind, PaymentEvent, ReconciliationRun
from payments.models.reconciliation import BY_ITSELF

if TYPE_CHECKING:
    from django.contrib.auth.models import User

PERMISSION = "payments.resolve_discrepancy"
SETTLED = "settled a discrepancy"

logger = structlog.get_logger(__name__)


class AlreadySettled(Exception):
    """Somebody was first, or a later run no longer found it."""

    def __init__(self, discrepancy: Discrepancy) -> None:
        super().__init__(f"Already settled: {in_words(discrepancy)}")


@dataclass(frozen=True, slots=True)
class Difference:
    """A disagreement as it is found: its kind, the charge it is about, and what each side says in plain words.

    `difference` is theirs less ours, in billionths of a Star or in the currency's smallest unit.
    """

    kind: DiscrepancyKind
    telegram_says: str
    we_have: str
    transaction_id: str = ""
    direction: str = ""
    difference: int = 0
    event: PaymentEvent | None = None


@retried
@transaction.atomic
def report(found: Difference, *, run: ReconciliationRun) -> bool:
    """Keep a disagreement for a person, and return whether it is news; what staff have settled stays settled."""
    discrepancy, is_new = Discrepancy.objects.get_or_create(
        kind=found.kind,
        transaction_id=found.transaction_id,
        direction=found.direction,
        difference=found.difference,
        defaults={
            "event": found.event,
            "telegram_says": found.telegram_says,
            "we_have": found.we_have,
            "run": run,
        },
    )
    if not is_new:
        gone = Discrepancy.objects.filter(pk=discrepancy.pk, resolved_by=BY_ITSELF)
        is_new = bool(gone.update(run=run, found_at=Now(), resolved_at=None, resolved_by="", resolved_why=""))
    if is_new:
        logger.error(
            "discrepancy found",
            discrepancy=discrepancy.pk,
            kind=found.kind.value,
            charge_id=found.transaction_id,
            telegram_says=found.telegram_says,
            we_have=found.we_have,
        )
    return is_new


def heal(discrepancy: Discrepancy, *, why: str) -> bool:
    """Close what is found no longer, and return whether that was still to be done."""
    still_open = Discrepancy.objects.unresolved().filter(pk=discrepancy.pk)
    healed = bool(still_open.update(resolved_at=Now(), resolved_by=BY_ITSELF, resolved_why=why))
    if healed:
        logger.info("discrepancy gone", discrepancy=discrepancy.pk, kind=discrepancy.kind, why=why)
    return healed


@retried
@transaction.atomic
def settle(*, discrepancy: Discrepancy, staff: User, reason: str) -> Discrepancy:
    """Let it wait no longer. No money moves and no access changes: what had to be done was done elsewhere.

    :raises PermissionDenied: staff may not settle discrepancies
    :raises audit.ReasonMissing: no reason is given
    :raises AlreadySettled: somebody was first
    """
    reason = audit.authorised(staff=staff, permission=PERMISSION, reason=reason)
    settled = (
        Discrepancy.objects.unresolved()
        .filter(pk=discrepancy.pk)
        .update(resolved_at=Now(), resolved_by=audit.name_of(staff), resolved_why=reason)
    )
    discrepancy.refresh_from_db()
    if not settled:
        raise AlreadySettled(discrepancy)
    audit.record(
        staff=staff,
        what=SETTLED,
        subject=discrepancy,
        reason=reason,
        after={"kind": discrepancy.kind, "charge_id": discrepancy.transaction_id},
        customer=discrepancy.event.customer if discrepancy.event else None,
    )
    logger.info("discrepancy settled", discrepancy=discrepancy.pk, kind=discrepancy.kind, staff=staff.pk)
    return discrepancy


def in_words(discrepancy: Discrepancy) -> str:
    """By whom, when and why it was settled, for staff."""
    when = f"{discrepancy.resolved_at:%Y-%m-%d %H:%M} UTC"
    return f"by {audit.known_as(discrepancy.resolved_by)} on {when}: {discrepancy.resolved_why}"
