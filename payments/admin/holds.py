"""What waits for a person's decision, or for its payment."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Q

from config.admin import FactAdmin, as_text
from config.exports import ExportedList
from config.shown import Tone
from payments.admin.filters import BY_CUSTOMER
from payments.hold_pages import HoldPages
from payments.models import EarlyRefund, Hold, Resolution

RESOLUTION_TONES = {Resolution.GRANTED: Tone.GOOD, Resolution.REFUNDED: Tone.BAD, Resolution.DISMISSED: Tone.QUIET}


class UnresolvedFilter(admin.EmptyFieldListFilter):
    """By the index of the few that wait for a person."""

    served_in_order_of = "pk"

    def get_lookup_condition(self) -> Q:
        return Q(resolution="")


@admin.register(Hold)
class HoldAdmin(ExportedList, HoldPages):
    exported_as = "held payments"
    exported = (
        "id", "reason", "detail", "held_at", "resolution", "resolved_at", "resolved_by", "resolved_why", "event_id",
        "event.event_id", "event.customer.user_id", "event.customer.telegram_user_id", "event.customer.display_name",
        "event.amount", "event.currency", "event.money", "event.occurred_at",
    )  # fmt: skip
    list_display = ("reason", "event", "detail", "held_at", "decision", "resolved_by", "resolved_at")
    list_select_related = ("event",)
    list_filter = (("resolved_at", UnresolvedFilter), "reason", "resolution")
    tones = {"resolution": RESOLUTION_TONES}
    search_fields = ("event__event_id", "event__customer__user_id")
    fields = (
        "event",
        "reason",
        "detail",
        "held_at",
        "bytes_held",
        "decision",
        "resolved_at",
        "resolved_by",
        "resolved_why",
    )
    readonly_fields = ("bytes_held", "decision")
    change_form_outer_before_template = "admin/payments/hold/state.html"

    @admin.display(description="what could not be recorded")
    def bytes_held(self, hold: Hold) -> str:
        return as_text(hold.evidence or b"")


@admin.register(EarlyRefund)
class EarlyRefundAdmin(FactAdmin):
    list_display = ("event_id", "event_type", "customer", "amount", "currency", "received_at", "applied_at")
    list_select_related = ("customer",)
    list_filter = (("applied_at", admin.EmptyFieldListFilter),)
    search_fields = ("event_id", *BY_CUSTOMER)
