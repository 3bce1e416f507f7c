"""Stripe's events and names of our customers, and the disputes of their banks."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from config.admin import FactAdmin, as_text
from config.shown import Tone
from payments.admin.filters import BY_CUSTOMER
from payments.models import Dispute, StripeCustomer, StripeEvent, StripeEventStatus, StripeReadUpTo
from payments.money import sum_in_words
from payments.stripe.event_pages import EventPages

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
    list_display = ("event_id", "kind", "about", "status", "error", "received_at", "attempts")
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

    @admin.display(description="body")
    def body_as_text(self, event: StripeEvent) -> str:
        return as_text(event.body)


class OpenDisputesFilter(admin.EmptyFieldListFilter):
    """By the index of the few that are open."""

    served_in_order_of = "opened_at"


@admin.register(Dispute)
class DisputeAdmin(FactAdmin):
    list_display = ("dispute_id", "status", "reason", "payment", "money", "opened_at", "evidence_due_at", "closed_at")
    list_select_related = ("payment",)
    list_filter = (("closed_at", OpenDisputesFilter),)
    ordering = ["-opened_at"]
    search_fields = ("dispute_id", "payment__event_id", "payment__customer__user_id")

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
