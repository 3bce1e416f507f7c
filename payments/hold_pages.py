"""The page on which staff decide about one held payment."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from config import shown
from config.admin import FactAdmin, as_text, staff_of
from payments import holds
from payments.models import Hold, Invoice, PaymentEvent, Plan


class DecisionForm(forms.Form):
    """Grant or dismiss, by the button that was pressed, with the reason."""

    plan = forms.ModelChoiceField(
        Plan.objects.all(), required=False, widget=UnfoldAdminSelectWidget, help_text="It names none itself."
    )
    why = forms.CharField(label="Reason", max_length=1000, widget=UnfoldAdminTextareaWidget)
    decision = forms.ChoiceField(choices=[("grant", "Give access"), ("dismiss", "Dismiss")], widget=forms.HiddenInput)

    def __init__(self, *args: Any, hold: Hold, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.hold = hold
        if hold.event is None or holds.what_it_buys(hold.event):
            del self.fields["plan"]

    def carry_out(self, *, staff: User) -> Hold:
        """:raises holds.HoldError: it cannot be done"""
        why = self.cleaned_data["why"]
        if self.cleaned_data["decision"] == "dismiss":
            return holds.dismiss_hold(hold=self.hold, staff=staff, why=why)
        return holds.grant_held(hold=self.hold, plan=self.cleaned_data.get("plan"), staff=staff, why=why)


class HoldPages(FactAdmin):
    def get_urls(self) -> list[URLPattern]:
        decide = path("<int:pk>/decide/", self.admin_site.admin_view(self.decide_view), name="payments_hold_decide")
        return [decide, *super().get_urls()]

    @staticmethod
    def decision(hold: Hold) -> str:
        """A link to the page, as long as there is something to decide."""
        if hold.resolution:
            return hold.get_resolution_display()
        return format_html(
            '<a class="link" href="{}">Decide…</a>', reverse("admin:payments_hold_decide", args=[hold.pk])
        )

    def decide_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        if not request.user.has_perm(holds.PERMISSION):
            raise PermissionDenied
        whole = Hold.objects.select_related(
            "event__customer", "event__plan", "event__invoice__customer", "event__invoice__plan"
        )
        hold = get_object_or_404(whole, pk=pk)
        form = DecisionForm(request.POST if request.method == "POST" else None, hold=hold)
        if form.is_bound and form.is_valid():
            try:
                hold = form.carry_out(staff=staff_of(request))
            except holds.HoldError as error:
                form.add_error(None, str(error))
            else:
                messages.success(request, f"Decided: {hold.get_resolution_display()}.")
                return redirect("admin:payments_hold_change", hold.pk)
        context = {
            **self.admin_site.each_context(request),
            "title": "Decide about a held payment",
            "back": shown.page_of(hold),
            "hold": hold,
            "resolved": holds.resolved(hold) if hold.resolution else "",
            "form": form,
            "gives": _what_it_gives(hold),
            "evidence": as_text(hold.evidence or b""),
        }
        return TemplateResponse(request, "admin/payments/hold/decide.html", context)


def _what_it_gives(hold: Hold) -> str:
    """What granting would do, in words; empty where it is no payment."""
    event = hold.event
    if event is None or event.refund_of_id is not None:
        return ""
    bought = holds.what_it_buys(event)
    if bought is None:
        return f"{event.customer} gets what the plan below gives, from now on, and is told."
    return f"{event.customer} gets {bought.entitlement} {_length(event, bought)}, and is told."


def _length(event: PaymentEvent, bought: Invoice | Plan) -> str:
    if event.period_ends_at:
        return f"until {event.period_ends_at:%Y-%m-%d %H:%M} UTC"
    return f"for {bought.duration.days} days from now on" if bought.duration else "for life"
