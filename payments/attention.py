"""What waits for a person in the books of money."""

from __future__ import annotations

from django.db.models import Min, Sum
from django.urls import reverse

from config.attention import MOST_COUNTED, Figure, how_long, how_many
from config.database import database_now
from config.shown import Tone
from payments.models import Hold, InvariantCheck, Notice, Refund

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


def oldest_unsent_notice() -> Figure:
    oldest = Notice.objects.owed().aggregate(oldest=Min("created_at"))["oldest"]
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
