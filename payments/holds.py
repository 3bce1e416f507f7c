"""What staff decide about held payments: access after all, or nothing. To give the money back is a refund."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from django.db import transaction
from django.db.models.functions import Now

from config.database import database_now, retried
from entitlements import audit
from entitlements import services as access
from entitlements.models import Customer
from payments import subscriptions
from payments.models import Hold, Invoice, Notice, NoticeKind, PaymentEvent, Plan, Refund, Resolution

if TYPE_CHECKING:
    from django.contrib.auth.models import User

PERMISSION = "payments.resolve_hold"

logger = structlog.get_logger(__name__)


class HoldError(Exception):
    """The decision cannot be carried out; the message says why, fit for staff."""


class AlreadyResolved(HoldError):
    """Somebody, or the provider's refund, was first."""

    def __init__(self, hold: Hold) -> None:
        when = f"{hold.resolved_at:%Y-%m-%d %H:%M} UTC"
        super().__init__(
            f"Already {hold.get_resolution_display()} by {hold.resolved_by} at {when}: {hold.resolved_why}"
        )


class NothingToGrant(HoldError):
    """It is no payment, or neither it nor the staff says which plan it is for."""


class BeingRefunded(HoldError):
    """Its money is on the way back."""


@retried
@transaction.atomic
def grant_held(*, hold: Hold, plan: Plan | None = None, staff: User, why: str) -> Hold:
    """Give the payer what the payment was for, from now on, and tell him.

    By the invoice's terms where there is an invoice, else by its plan, else by the `plan` that staff name.

    :raises PermissionDenied: staff may not decide about held payments
    :raises audit.ReasonMissing: no reason is given
    :raises HoldError: a subclass for each reason
    """
    why = audit.authorised(staff=staff, permission=PERMISSION, reason=why)
    event = hold.event
    if event is None or event.refund_of_id is not None:
        message = "This is no payment, so it can give no access."
        raise NothingToGrant(message)
    bought = what_it_buys(event) or plan
    if bought is None:
        message = "It names no plan of ours. Choose the plan that was paid for."
        raise NothingToGrant(message)
    customer = Customer.objects.locked().get(pk=event.customer_id)
    _resolve(hold, Resolution.GRANTED, staff, why)
    now = database_now()
    access.grant(
        customer=customer,
        entitlement=bought.entitlement,
        source=event.source,
        granted_at=now,
        plan_code=bought.plan_id if isinstance(bought, Invoice) else bought.code,
        features=bought.features,
        **subscriptions.terms(bought=bought.duration, granted_at=now, period_ends_at=event.period_ends_at),
    )
    if subscriptions.is_of_subscription(event):
        subscriptions.tell_access(event.subscription_payment.subscription)
    Notice.objects.owed().filter(event=event).update(given_up_at=Now(), error="decided before it was sent")
    Notice.objects.create(event=event, kind=NoticeKind.PAYMENT_CONFIRMED)
    return hold


@retried
@transaction.atomic
def dismiss_hold(*, hold: Hold, staff: User, why: str) -> Hold:
    """Leave it at that: the money stays where it is, nothing is given for it, and nobody needs to look again.

    :raises PermissionDenied: staff may not decide about held payments
    :raises audit.ReasonMissing: no reason is given
    :raises HoldError: a subclass for each reason
    """
    why = audit.authorised(staff=staff, permission=PERMISSION, reason=why)
    if hold.event is not None:
        Customer.objects.locked().get(pk=hold.event.customer_id)
    _resolve(hold, Resolution.DISMISSED, staff, why)
    return hold


def what_it_buys(event: PaymentEvent) -> Invoice | Plan | None:
    """The terms of a payment as far as it says them itself."""
    return event.invoice or event.plan


def resolved(hold: Hold) -> str:
    """How, by whom, when and why, for staff."""
    when = f"{hold.resolved_at:%Y-%m-%d %H:%M} UTC"
    return f"{hold.get_resolution_display()} by {hold.resolved_by} on {when}: {hold.resolved_why}"


def _resolve(hold: Hold, resolution: Resolution, staff: User, why: str) -> None:
    """Once: the conditions are judged on the rows as they are now, behind the customer's lock."""
    if Refund.objects.open().filter(payment=hold.event_id).exists():
        message = "A refund of this payment is under way."
        raise BeingRefunded(message)
    done = (
        Hold.objects.unresolved()
        .filter(pk=hold.pk)
        .update(resolution=resolution, resolved_at=Now(), resolved_by=audit.name_of(staff), resolved_why=why)
    )
    hold.refresh_from_db()
    if not done:
        raise AlreadyResolved(hold)
    audit.record(
        staff=staff,
        what=f"resolved a held payment: {hold.get_resolution_display()}",
        subject=hold,
        reason=why,
        after={"resolution": resolution.value},
        customer=hold.event.customer if hold.event else None,
    )
    logger.info(
        "hold resolved",
        hold=hold.pk,
        payment_id=str(hold.event_id) if hold.event_id else None,
        user_id=hold.event.customer.user_id if hold.event else None,
        resolution=resolution.value,
        staff=staff.pk,
    )
