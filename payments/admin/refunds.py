"""What is to be given back, and how often that ended how."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse

from config.admin import FactAdmin
from config.exports import ExportedList
from config.shown import Tone
from entitlements import audit
from payments.models import Refund, RefundStatus, RefundTally
from payments.refund_pages import ApprovalPages

REFUND_TONES = {
    RefundStatus.PROPOSED: Tone.WAITING,
    RefundStatus.DECLINED: Tone.QUIET,
    RefundStatus.REQUESTED: Tone.WAITING,
    RefundStatus.SENDING: Tone.WAITING,
    RefundStatus.VERIFY: Tone.WAITING,
    RefundStatus.CONFIRMED: Tone.GOOD,
    RefundStatus.REFUSED: Tone.BAD,
}


@admin.register(Refund)
class RefundAdmin(ExportedList, ApprovalPages):
    exported = (
        "id", "status", "reason", "requested_by", "created_at", "confirmed_at", "attempts", "refusal", "detail",
        "payment_id", "payment.event_id", "payment.customer.user_id", "payment.customer.telegram_user_id",
        "payment.customer.display_name", "payment.amount", "payment.currency", "payment.money", "payment.occurred_at",
        "cancel_subscription", "subscription_cancelled_at", "cancel_refusal",
    )  # fmt: skip
    list_display = ("money", "status", "payment", "reason", "requested_by", "created_at", "confirmed_at")
    list_select_related = ("payment",)
    list_filter = ("status",)
    search_fields = ("id", "payment__event_id", "payment__customer__user_id")
    tones = {"status": REFUND_TONES}
    change_form_outer_before_template = "admin/payments/refund/state.html"

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        refund = self.get_object(request, object_id)
        asked_by = audit.known_as(refund.requested_by) if refund else ""
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), "asked_by": asked_by})


@admin.register(RefundTally)
class RefundTallyAdmin(FactAdmin):
    list_display = ("result", "source", "count")
    ordering = ["result", "source"]
