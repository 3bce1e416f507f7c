"""The page on which staff decide about an event of Stripe that nothing more happens to by itself."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from config import shown
from config.admin import FactAdmin, staff_of
from entitlements.decisions import DecisionForm
from payments.dead_letters import DeadLetterError
from payments.models import StripeEvent
from payments.models.letters import UNDECIDED
from payments.stripe import inbox
from payments.stripe.processing import LOOKS


class EventPages(FactAdmin):
    """What an event's page offers to whoever may decide about it."""

    change_form_outer_before_template = "admin/payments/stripe_event/state.html"

    def get_urls(self) -> list[URLPattern]:
        decide = self.admin_site.admin_view(self.decide_view)
        return [path("<int:pk>/decide/", decide, name="payments_stripeevent_decide"), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        event = self.get_object(request, object_id)
        known = {"undecided": event.status in UNDECIDED, "may_decide": may_decide(request)} if event else {}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **known})

    def decide_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Replay it or dismiss it, by the button that was pressed."""
        if not may_decide(request):
            raise PermissionDenied
        event = get_object_or_404(StripeEvent, pk=pk)
        form = EventForm(request.POST if request.method == "POST" else None)
        if form.is_bound and form.is_valid():
            try:
                form.carry_out(event, request)
            except DeadLetterError as refusal:
                form.add_error(None, str(refusal))
            else:
                return redirect(shown.page_of(event))
        context = {
            **admin.site.each_context(request),
            "title": "Decide about an event of Stripe",
            "event": event,
            "undecided": event.status in UNDECIDED,
            "may_be_dismissed": event.kind not in LOOKS,
            "form": form,
        }
        return TemplateResponse(request, "admin/payments/stripe_event/decide.html", context)


class EventForm(DecisionForm):
    do = forms.ChoiceField(choices=[("replay", "Replay"), ("dismiss", "Dismiss")], widget=forms.HiddenInput)

    def carry_out(self, event: StripeEvent, request: HttpRequest) -> StripeEvent:
        """:raises DeadLetterError: it cannot be done"""
        decide = inbox.replay if self.cleaned_data["do"] == "replay" else inbox.dismiss
        return decide(event=event, staff=staff_of(request), reason=self.cleaned_data["reason"])


def may_decide(request: HttpRequest) -> bool:
    return request.user.has_perm(inbox.PERMISSION)
