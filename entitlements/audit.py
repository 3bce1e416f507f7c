"""Who of the staff did what and why, and what it changed: written with its effect, and never changed again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.db.models import Model

from entitlements.models import AuditEntry, Customer

if TYPE_CHECKING:
    from django.contrib.auth.models import User


class ReasonMissing(Exception):
    """A decision of staff needs a reason that can be read later."""

    def __init__(self) -> None:
        super().__init__("Say why: the reason is kept with the decision.")


def authorised(*, staff: User, permission: str, reason: str) -> str:
    """The reason without spaces around it, once it is certain that this person may do it.

    :param permission: like `payments.resolve_hold`
    :raises PermissionDenied: this person may not
    :raises ReasonMissing: no reason is given
    """
    if not staff.has_perm(permission):
        raise PermissionDenied
    if not reason.strip():
        raise ReasonMissing
    return reason.strip()


def name_of(staff: User) -> str:
    """What the books call a person; the account may be renamed."""
    return f"staff:{staff.pk}"


def known_as(name: str) -> str:
    """What people call whom the books call so: the name of an account of the staff; of others, what the books say."""
    kind, _, pk = name.partition(":")
    if kind != "staff" or not pk.isdecimal():
        return name
    account = get_user_model().objects.filter(pk=pk).first()
    return account.get_username() if account else name


def record(
    *,
    staff: User,
    what: str,
    subject: Model,
    reason: str,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    customer: Customer | None = None,
) -> AuditEntry:
    """Keep what was done, in the transaction that does it: either both are committed or neither.

    :param what: in the past, as in `took access back`
    :param before: what changed, as it was; JSON or what Django's encoder makes JSON of
    :param customer: whom it concerns, so that his page tells it
    """
    if not connection.in_atomic_block:
        message = "An action is recorded in the transaction that does it."
        raise RuntimeError(message)
    return AuditEntry.objects.create(
        staff=name_of(staff),
        name=staff.get_username(),
        what=what,
        subject_type=subject._meta.label_lower,  # noqa: SLF001 - Django's API
        subject_id=str(subject.pk),
        reason=reason,
        before=before or {},
        after=after or {},
        customer=customer,
    )
