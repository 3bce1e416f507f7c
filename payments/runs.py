"""Comparisons of the ledger, one at a time with Telegram and one with the provider: begun, kept alive, ended."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import structlog
from django.db import IntegrityError, transaction

from config.database import database_now, retried, violates
from payments.models import PaymentMethod, ReconciliationRun, RunOutcome

LEASE = timedelta(seconds=60)
COUNTS = ("matched", "recorded", "held", "refunded", "other", "found", "healed")

logger = structlog.get_logger(__name__)


class ReconcilingError(Exception):
    """Nothing was compared; the message says why."""


class AlreadyRunning(ReconcilingError):
    """Somebody is at it; what he finds is what we would have found."""

    def __init__(self) -> None:
        super().__init__("The ledger is being compared at this moment. See Reconciliation in the admin.")


class TakenOver(ReconcilingError):
    """We were silent for so long that another run has taken us for dead."""

    def __init__(self) -> None:
        super().__init__("Another run took this one for dead and has gone on from where it was.")


@retried
@transaction.atomic
def begin(
    *, asked_by: str, full: bool, payment_method: PaymentMethod = PaymentMethod.TELEGRAM_STARS
) -> ReconciliationRun:
    """Take the one place there is, with where the last run came to; that of a dead one is taken over."""
    now = database_now()
    begun = ReconciliationRun.objects.compared_with(payment_method)
    last = begun.select_for_update(no_key=True).order_by("-pk").first()
    if last is not None and last.outcome == RunOutcome.RUNNING:
        if last.lease_until > now:
            raise AlreadyRunning
        ReconciliationRun.objects.filter(pk=last.pk).update(outcome=RunOutcome.DIED, finished_at=now)
    try:
        with transaction.atomic():
            return ReconciliationRun.objects.create(
                payment_method=payment_method,
                asked_by=asked_by,
                full=full,
                started_at=now,
                lease_until=now + LEASE,
                compared_up_to=0 if full or last is None else last.compared_up_to,
                ledger_up_to=None if full or last is None else last.ledger_up_to,
            )
    except IntegrityError as error:
        if violates(error, "reconciliation_one_at_a_time"):
            raise AlreadyRunning from error
        raise


@retried
def change(run: ReconciliationRun, **changes: Any) -> None:
    """Write down how far the run came.

    :raises TakenOver: it is no longer ours to write
    """
    if not ReconciliationRun.objects.filter(pk=run.pk, outcome=RunOutcome.RUNNING).update(**changes):
        raise TakenOver
    for name, value in changes.items():
        setattr(run, name, value)


def end(run: ReconciliationRun, outcome: RunOutcome, **changes: Any) -> None:
    change(run, outcome=outcome, finished_at=database_now(), **changes)
    log = logger.error if outcome == RunOutcome.FAILED else logger.info
    log(
        "reconciled" if outcome != RunOutcome.FAILED else "reconciliation failed",
        run=run.pk,
        outcome=outcome.value,
        error=run.error,
        **{name: getattr(run, name) for name in COUNTS},
    )
