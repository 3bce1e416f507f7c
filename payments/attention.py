"""What waits for a person in the books of money."""

from __future__ import annotations

from math import isfinite

from django.db.models import Sum
from django.urls import reverse

from config.attention import MOST_COUNTED, Figure, how_long, how_many
from config.database import database_now
from config.shown import Tone
from payments import reconciling
from payments.channels import stripe
from payments.models import Discrepancy, Dispute, Hold, InvariantCheck, Notice, Refund, StripeEvent

SECONDS_BEFORE_UNSENT_IS_LATE = 60


def held_payments() -> Figure:
    count = Hold.objects.unresolved()[: MOST_COUNTED + 1].count()
    return Figure(
        what="Held payments",
        value=how_many(count),
        address=reverse("admin:payments_hold_changelist") + "?resolved_at__isempty=1",
        permission="payments.view_hold",
        tone=Tone.WAITING if count else Tone.GOOD,
    )


def refunds_to_approve() -> Figure:
    count = Refund.objects.proposed()[: MOST_COUNTED + 1].count()
    return Figure(
        what="Refunds to approve",
        value=how_many(count),
        address=reverse("admin:payments_refund_changelist") + "?status__exact=proposed",
        permission="payments.request_refund",
        tone=Tone.WAITING if count else Tone.GOOD,
    )


def open_discrepancies() -> Figure:
    count = Discrepancy.objects.unresolved()[: MOST_COUNTED + 1].count()
    return Figure(
        what="Disagreements with Telegram",
        value=how_many(count),
        address=reverse("admin:payments_discrepancy_changelist") + "?resolved_at__isempty=1",
        permission="payments.view_discrepancy",
        tone=Tone.BAD if count else Tone.GOOD,
    )


def last_reconciliation() -> Figure:
    age = reconciling.cursor_age()
    is_behind = age is not None and age > reconciling.BEHIND.total_seconds()
    value = "no bot" if age is None else f"{how_long(age)} ago" if isfinite(age) else "never"
    return Figure(
        what="Compared with Telegram",
        value=value,
        address=reverse("admin:payments_reconciliationrun_changelist"),
        permission="payments.view_reconciliationrun",
        tone=Tone.BAD if is_behind else Tone.GOOD,
    )


def open_disputes() -> Figure | None:
    if not stripe.is_set_up():
        return None
    count = Dispute.objects.open()[: MOST_COUNTED + 1].count()
    return Figure(
        what="Open disputes",
        value=how_many(count),
        address=reverse("admin:payments_dispute_changelist") + "?closed_at__isempty=1",
        permission="payments.view_dispute",
        tone=Tone.BAD if count else Tone.GOOD,
    )


def undecided_stripe_events() -> Figure | None:
    if not stripe.is_set_up():
        return None
    count = StripeEvent.objects.undecided()[: MOST_COUNTED + 1].count()
    return Figure(
        what="Events of Stripe given up",
        value=how_many(count),
        address=reverse("admin:payments_stripeevent_changelist") + "?undecided=1",
        permission="payments.view_stripeevent",
        tone=Tone.BAD if count else Tone.GOOD,
    )


def oldest_unsent_notice() -> Figure:
    oldest = Notice.objects.oldest_owed()
    waited = (database_now() - oldest).total_seconds() if oldest else 0.0
    return Figure(
        what="Oldest unsent message",
        value=how_long(waited) if oldest else "none",
        address=reverse("admin:payments_notice_changelist") + "?state=owed",
        permission="payments.view_notice",
        tone=Tone.BAD if waited > SECONDS_BEFORE_UNSENT_IS_LATE else Tone.GOOD,
    )


def contradictions() -> Figure:
    count = InvariantCheck.objects.alarming().aggregate(count=Sum("differences"))["count"] or 0
    return Figure(
        what="Contradictions in the books",
        value=how_many(count),
        address=reverse("admin:payments_invariantcheck_changelist"),
        permission="payments.view_invariantcheck",
        tone=Tone.BAD if count else Tone.GOOD,
    )
