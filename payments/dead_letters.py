"""What staff decide about letters that nothing more happens to by itself: once, and with a reason that is kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

from entitlements import audit
from entitlements.models import AuditEntry
from payments.models.letters import UNDECIDED, Kind, Letter

if TYPE_CHECKING:
    from django.contrib.auth.models import User

logger = structlog.get_logger(__name__)


class DeadLetterError(Exception):
    """The decision cannot be carried out; the message says why, fit for staff."""


class NothingToDecide(DeadLetterError):
    """It is done, to be done, or somebody was first."""

    def __init__(self, letter: Letter) -> None:
        told = f" {last}" if (last := last_decision(letter)) else ""
        super().__init__(f"There is nothing to decide: it is {letter.get_status_display()}.{told}")  # type: ignore[attr-defined]


@contextmanager
def decided(letter: Kind, what: str, *, permission: str, staff: User, reason: str) -> Iterator[Kind]:
    """The letter, for what is done about it, which is kept with who decided it and why. Part of the caller's
    transaction.

    :param what: in the past, as in `replayed an update`
    :raises PermissionDenied: this person may not
    :raises audit.ReasonMissing: no reason is given
    :raises NothingToDecide:
    """
    reason = audit.authorised(staff=staff, permission=permission, reason=reason)
    stored = undecided(letter)
    before = stored.status
    yield stored
    after = {"status": stored.status}
    audit.record(staff=staff, what=what, subject=stored, reason=reason, before={"status": before}, after=after)
    logger.info(what, letter=stored.pk, named=str(stored), staff=staff.pk)


def undecided(letter: Kind) -> Kind:
    """The row as it is now, held against everybody else who decides.

    :raises NothingToDecide: it waits for nobody
    """
    stored = type(letter)._default_manager.select_for_update(no_key=True).get(pk=letter.pk)  # noqa: SLF001 - Django's API
    if stored.status not in UNDECIDED:
        raise NothingToDecide(stored)
    return stored


def last_decision(letter: Letter) -> str:
    """Who decided about it last, how, when and why, in a sentence; empty when nobody did."""
    entries = AuditEntry.objects.filter(subject_type=letter._meta.label_lower, subject_id=str(letter.pk))  # noqa: SLF001
    last = entries.order_by("-pk").first()
    return f"{last.name} {last.what} at {last.at:%Y-%m-%d %H:%M} UTC: {last.reason}" if last else ""
