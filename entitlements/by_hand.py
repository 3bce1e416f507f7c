"""Access that staff give and take by hand: with a permission, a reason, and an audit entry beside it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from django.db import transaction

from config.database import database_now, retried
from entitlements import audit, services
from entitlements.models import Customer, Entitlement, Grant

if TYPE_CHECKING:
    from django.contrib.auth.models import User

GRANT, REVOKE = "entitlements.add_grant", "entitlements.change_grant"
GAVE, TOOK_BACK = "gave access", "took access back"


@retried
@transaction.atomic
def grant_by_hand(
    *, customer: Customer, entitlement: str, duration: timedelta | None, staff: User, reason: str, token: UUID
) -> Grant:
    """Give access from now on, on top of what the customer has; for life when `duration` is None.

    Repeating it with the same token changes nothing.

    :raises PermissionDenied: this person may not
    :raises audit.ReasonMissing: no reason is given
    """
    reason = audit.authorised(staff=staff, permission=GRANT, reason=reason)
    customer = Customer.objects.locked().get(pk=customer.pk)
    source = f"{audit.name_of(staff)}-{token}"
    known = Grant.objects.filter(source=source, entitlement=entitlement).first()
    if known is not None:
        return known
    before = _end(customer, entitlement)
    given = services.grant(
        customer=customer, entitlement=entitlement, source=source, granted_at=database_now(), duration=duration
    )
    after = _end(customer, entitlement)
    audit.record(staff=staff, what=GAVE, subject=given, reason=reason, before=before, after=after, customer=customer)
    return given


@retried
@transaction.atomic
def revoke_by_hand(*, grant: Grant, staff: User, reason: str) -> Grant:
    """Take back what one grant gave; no money is given back. Repeating it changes nothing.

    :raises PermissionDenied: this person may not
    :raises audit.ReasonMissing: no reason is given
    """
    reason = audit.authorised(staff=staff, permission=REVOKE, reason=reason)
    customer = Customer.objects.locked().get(pk=grant.customer_id)
    grant.refresh_from_db()
    if grant.revoked_at is not None:
        return grant
    before = _end(customer, grant.entitlement)
    grant = services.revoke(grant=grant, reason=reason, now=database_now())
    after = _end(customer, grant.entitlement)
    audit.record(
        staff=staff, what=TOOK_BACK, subject=grant, reason=reason, before=before, after=after,
        customer=customer,
    )  # fmt: skip
    return grant


def _end(customer: Customer, entitlement: str) -> dict[str, str | datetime]:
    """Until when he has it, and no `active_until` at all where he never had any."""
    had = Entitlement.objects.filter(customer=customer, code=entitlement).first()
    return {"entitlement": entitlement} | ({"active_until": had.active_until or "for life"} if had else {})
