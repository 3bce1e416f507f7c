"""Giving access and taking it back. Each call moves the grant and the entitlement it amounts to in one transaction."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from entitlements.models import Customer, Entitlement, Grant
from entitlements.periods import fold, grace_of


@transaction.atomic
def grant(
    *,
    customer: Customer,
    entitlement: str,
    source: str,
    granted_at: datetime,
    plan_code: str = "",
    features: dict[str, Any] | None = None,
    duration: timedelta | None = None,
    ends_at: datetime | None = None,
) -> Grant:
    """Give access: for a `duration` on top of what he has, or until `ends_at`, or for life when both are None.

    With both it is a period of a subscription, and `ends_at` the end of its grace.

    Repeating it for the same source and entitlement changes nothing and returns the first grant.
    """
    Customer.objects.locked().get(pk=customer.pk)
    given, created = Grant.objects.get_or_create(
        source=source,
        entitlement=entitlement,
        defaults={
            "customer": customer,
            "plan_code": plan_code,
            "features": features or {},
            "granted_at": granted_at,
            "duration": duration,
            "ends_at": ends_at,
        },
    )
    if created:
        _refold(customer, entitlement)
    return given


@transaction.atomic
def revoke(*, grant: Grant, reason: str, now: datetime) -> Grant:
    """Take back what one grant gave, and nothing else: the others are folded anew, as if it had never been.

    Repeating it changes nothing. `reason` is kept with the grant and must not be empty.
    """
    Customer.objects.locked().get(pk=grant.customer_id)
    if Grant.objects.filter(pk=grant.pk, revoked_at=None).update(revoked_at=now, revoked_reason=reason):
        _refold(grant.customer, grant.entitlement)
    grant.refresh_from_db()
    return grant


def note_renewal(*, customer: Customer, entitlement: str, renews: bool) -> None:
    """Keep whether what he has is paid on by itself, as whoever sells it says; nothing where he never had any."""
    held = Entitlement.objects.filter(customer=customer, code=entitlement).exclude(renews=renews)
    held.update(renews=renews)


def _refold(customer: Customer, code: str) -> None:
    """Bring the cached entitlement in line with its grants; the caller holds the customer's lock."""
    grants = list(Grant.objects.filter(customer=customer, entitlement=code).in_order())
    entitlement = Entitlement.objects.filter(customer=customer, code=code).first()
    if entitlement is None:
        entitlement = Entitlement(customer=customer, code=code, version=0)
    entitlement.active_until = fold(grants)[-1].access.ends_at
    graces = (grace_of(grant) for grant in grants if grant.revoked_at is None)
    entitlement.latest_grant_at = max([grants[-1].granted_at, *filter(None, graces)])
    entitlement.version += 1
    entitlement.save()
