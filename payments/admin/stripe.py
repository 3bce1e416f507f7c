"""Stripe's events and names of our customers, and the disputes of their banks."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.text import Truncator

from config import shown
from config.admin import FactAdmin, as_text
from config.shown import Tone
from payments.admin.filters import BY_CUSTOMER
from payments.models import Dispute, StripeCustomer, StripeEvent, StripeEventStatus, StripeReadUpTo
from payments.money import sum_in_words
from payments.stripe.event_pages import EventPages

LONGEST_ERROR = 80  # letters in the list
EVENT_TONES = {
    StripeEventStatus.PENDING: Tone.WAITING,
    StripeEventStatus.DONE: Tone.GOOD,
    StripeEventStatus.FOREIGN: Tone.BAD,
    StripeEventStatus.QUARANTINED: Tone.BAD,
    StripeEventStatus.DEAD: Tone.BAD,
    StripeEventStatus.DISMISSED: Tone.QUIET,
}


class UndecidedFilter(admin.SimpleListFilter):
    """By the index of the few that wait for a person."""

    title = "waits for a person"
    parameter_name = "undecided"
    served_in_order_of = "received_at"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("1", "yes")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[StripeEvent]) -> QuerySet[StripeEvent]:
        return queryset.undecided() if self.value() else queryset  # type: ignore[attr-defined]


@admin.register(StripeEvent)
class StripeEventAdmin(EventPages):
    list_display = ("kind", "status", "outcome", "received_at", "attempts")
    list_filter = (UndecidedFilter,)
    ordering = ["-received_at"]
    tones = {"status": EVENT_TONES}
    search_fields = ("event_id", "about")
    search_help_text = "Stripe's id of the event, or of what it is about."
    fields = (
        "event_id",
        "kind",
        "about",
        "status",
        "received_at",
        "attempts",
        "next_attempt_at",
        "done_at",
        "error",
        "body_as_text",
    )
    readonly_fields = ("body_as_text",)

    @admin.display(description="error")
    def outcome(self, event: StripeEvent) -> str:
        """As much of it as a row has room for."""
        return Truncator(event.error).chars(LONGEST_ERROR) or shown.NOTHING

    @admin.display(description="body")
    def body_as_text(self, event: StripeEvent) -> str:
        return as_text(event.body)


class OpenDisputesFilter(admin.EmptyFieldListFilter):
    """By the index of the few that are open."""

    served_in_order_of = "opened_at"


DISPUTE_TONES = {"won": Tone.GOOD, "lost": Tone.BAD}


@admin.register(Dispute)
class DisputeAdmin(FactAdmin):
    """What banks dispute; it is answered in Stripe's dashboard."""

    list_display = ("money", "standing", "why", "customer", "opened_at", "evidence_due_at", "closed_at")
    list_select_related = ("payment__customer",)
    list_filter = (("closed_at", OpenDisputesFilter),)
    ordering = ["-opened_at"]
    search_fields = ("dispute_id", "payment__event_id", "payment__customer__user_id")
    search_help_text = "Stripe's id of the dispute or of the payment, or the user id."
    fields = (
        "money", "standing", "why", "customer", "payment", "opened_at", "evidence_due_at", "closed_at", "updated_at",
        "dispute_id",
    )  # fmt: skip
    change_form_outer_before_template = "admin/payments/dispute/state.html"

    @admin.display(description="status")
    def standing(self, dispute: Dispute) -> str:
        tone = DISPUTE_TONES.get(dispute.status, Tone.QUIET if dispute.closed_at else Tone.WAITING)
        return shown.badge(dispute.standing, tone)

    @admin.display(description="reason")
    def why(self, dispute: Dispute) -> str:
        return dispute.why

    @admin.display
    def customer(self, dispute: Dispute) -> str:
        return shown.link(dispute.payment.customer)

    @admin.display
    def money(self, dispute: Dispute) -> str:
        return sum_in_words(dispute.amount, dispute.currency)


@admin.register(StripeCustomer)
class StripeCustomerAdmin(FactAdmin):
    list_display = ("stripe_id", "customer", "created_at")
    list_select_related = ("customer",)
    search_fields = ("stripe_id", *BY_CUSTOMER)


@admin.register(StripeReadUpTo)
class StripeReadUpToAdmin(FactAdmin):
    list_display = ("moment",)
