"""The pages on which staff read what a reconciliation found, ask for one, and settle a discrepancy."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path, reverse
from unfold.widgets import UnfoldBooleanWidget

from config import shown
from config.admin import FactAdmin, staff_of
from config.database import database_now
from config.shown import Tone, Tones
from entitlements import audit
from entitlements.admin import decision_page
from entitlements.decisions import DecisionForm
from payments import discrepancies, mirror, reconciling, runs
from payments.models import Direction, Discrepancy, Origin, PaymentEvent, ReconciliationRun, RunOutcome
from payments.models.reconciliation import BY_ITSELF

MOST_NAMED = 50
OUTCOME_TONES = {
    RunOutcome.RUNNING: Tone.WAITING,
    RunOutcome.CLEAN: Tone.GOOD,
    RunOutcome.ATTENTION: Tone.BAD,
    RunOutcome.FAILED: Tone.BAD,
    RunOutcome.DIED: Tone.QUIET,
}


class AskForm(DecisionForm):
    full = forms.BooleanField(
        label="From the beginning, not from where the last one came", required=False, widget=UnfoldBooleanWidget
    )
    field_order = ["full", "reason"]


class RunPages(FactAdmin):
    tones: ClassVar[Tones] = {"outcome": OUTCOME_TONES}
    change_form_outer_before_template = "admin/payments/reconciliation/run.html"
    list_before_template = "admin/payments/reconciliation/list.html"

    @admin.display(description="asked for by")
    def asked_for_by(self, run: ReconciliationRun) -> str:
        return audit.known_as(run.asked_by) + (", from the beginning" if run.full else "")

    @admin.display(description="what came of it")
    def came_of_it(self, run: ReconciliationRun) -> str:
        counts = [f"{field.verbose_name}: {count:,}" for field, count in _counts_of(run) if count]
        return ", ".join(counts) or shown.NOTHING

    def get_urls(self) -> list[URLPattern]:
        ask = self.admin_site.admin_view(self.ask_view)
        return [path("ask/", ask, name="payments_reconciliationrun_ask"), *super().get_urls()]

    def ask_view(self, request: HttpRequest) -> HttpResponse:
        """Have a worker compare the ledger with Telegram's list now."""
        if not request.user.has_perm(reconciling.PERMISSION):
            raise PermissionDenied
        form = AskForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            reconciling.ask_for_run(staff=staff_of(request), **form.cleaned_data)
            messages.success(request, "Asked for. It appears here as soon as a worker begins.")
            return redirect("admin:payments_reconciliationrun_changelist")
        what = "A worker reads Telegram's list of Stars, records what is missing, and tells the buyers."
        words = {"title": "Compare with Telegram now", "what": what, "button": "Compare now"}
        return decision_page(request, form, back=reverse("admin:payments_reconciliationrun_changelist"), **words)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        run = self.get_object(request, object_id)
        known = _known_of(run) if run else {}
        return super().change_view(request, object_id, form_url, known | (extra_context or {}))


class DiscrepancyPages(FactAdmin):
    change_form_outer_before_template = "admin/payments/reconciliation/discrepancy.html"

    @admin.display(description="state")
    def state(self, discrepancy: Discrepancy) -> str:
        if discrepancy.resolved_at is None:
            return shown.badge("waits for a person", Tone.BAD)
        return shown.badge("gone" if discrepancy.resolved_by == BY_ITSELF else "settled by staff", Tone.QUIET)

    def get_urls(self) -> list[URLPattern]:
        settle = self.admin_site.admin_view(self.settle_view)
        return [path("<int:pk>/settle/", settle, name="payments_discrepancy_settle"), *super().get_urls()]

    def settle_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Let a discrepancy wait no longer."""
        if not request.user.has_perm(discrepancies.PERMISSION):
            raise PermissionDenied
        discrepancy = get_object_or_404(Discrepancy.objects.select_related("event__customer", "run"), pk=pk)
        form = DecisionForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                discrepancies.settle(discrepancy=discrepancy, staff=staff_of(request), **form.cleaned_data)
            except discrepancies.AlreadySettled as refusal:
                form.add_error(None, str(refusal))
            else:
                return redirect(shown.page_of(discrepancy))
        sides = f"{discrepancy.other_side}: {discrepancy.telegram_says} Here: {discrepancy.we_have}"
        what = f"{sides} It waits no longer; no money moves."
        words = {"title": f"Settle: {discrepancy}", "what": what, "button": "Settle"}
        return decision_page(request, form, back=shown.page_of(discrepancy), **words)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        found = self.get_object(request, object_id)
        known: dict[str, Any] = {}
        if found and found.transaction_id:
            known["row"] = mirror.row_of(found.transaction_id, Direction(found.direction))
        if found and found.resolved_at:
            known["settled"] = discrepancies.in_words(found)
        return super().change_view(request, object_id, form_url, known | (extra_context or {}))


def _counts_of(run: ReconciliationRun) -> list[tuple[Any, int]]:
    """What was counted, in order, each with the field that says what it means."""
    return [(ReconciliationRun._meta.get_field(name), getattr(run, name)) for name in runs.COUNTS]  # noqa: SLF001 - Django's API


def _known_of(run: ReconciliationRun) -> dict[str, Any]:
    """What it found, row by row, for its page: the latest, as far as a person reads."""
    until = run.finished_at or database_now()
    recorded = PaymentEvent.objects.filter(
        origin=Origin.RECONCILIATION, received_at__gte=run.started_at, received_at__lte=until + timedelta(seconds=1)
    )
    return {
        "asked_by": audit.known_as(run.asked_by),
        "counts": _counts_of(run),
        "events": recorded.select_related("customer").order_by("-received_at")[:MOST_NAMED],
        "found": run.discrepancies.order_by("pk")[:MOST_NAMED],
        "most_named": MOST_NAMED,
    }
