"""The pages on which staff decide about updates that were given up or not understood."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from config import shown
from config.admin import FactAdmin, decided, staff_of
from entitlements.decisions import DecisionForm
from payments.dead_letters import DeadLetterError, last_decision
from payments.models.letters import UNDECIDED
from telegram_bot import dead_letters
from telegram_bot.models import IncomingUpdate

LIST = "admin:telegram_bot_incomingupdate_changelist"


class SelectionForm(forms.Form):
    updates = forms.ModelMultipleChoiceField(IncomingUpdate.objects.order_by("pk"))


class UpdatePages(FactAdmin):
    """What the inbox offers to whoever may decide: one update, or a selection after an outage of our own making."""

    actions = ("replay_selected",)
    change_form_outer_before_template = "admin/telegram_bot/update/state.html"

    def get_urls(self) -> list[URLPattern]:
        decide = self.admin_site.admin_view(self.decide_view)
        selected = self.admin_site.admin_view(self.replay_selected_view)
        return [
            path("<int:pk>/decide/", decide, name="telegram_bot_incomingupdate_decide"),
            path("replay-selected/", selected, name="telegram_bot_incomingupdate_replay_selected"),
            *super().get_urls(),
        ]

    def has_decide_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(dead_letters.PERMISSION)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        update = self.get_object(request, object_id)
        state = {"state": _state(update), "may_decide": self.has_decide_permission(request)} if update else {}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **state})

    def decide_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Replay one update or dismiss it, by the button that was pressed."""
        if not self.has_decide_permission(request):
            raise PermissionDenied
        update = get_object_or_404(IncomingUpdate, pk=pk)
        form = OneForm(request.POST if request.method == "POST" else None)
        if form.is_bound and form.is_valid():
            try:
                form.carry_out(update, request)
            except DeadLetterError as refusal:
                form.add_error(None, str(refusal))
            else:
                return redirect(shown.page_of(update))
        context = {"title": "Decide about an update", "update": update, "state": _state(update), "form": form}
        return _page(request, "admin/telegram_bot/update/decide.html", context)

    @admin.action(description="Replay selected…", permissions=["decide"])
    def replay_selected(self, request: HttpRequest, chosen: QuerySet[IncomingUpdate]) -> HttpResponse | None:
        """Lead from the list to the page that asks why; nothing has happened yet."""
        undecided = chosen.filter(status__in=UNDECIDED).order_by("pk")
        updates = list(undecided[: dead_letters.MOST_AT_ONCE + 1])
        if not updates:
            messages.error(request, "None of those was given up or not understood.")
            return None
        return _selection_page(request, updates, DecisionForm())

    def replay_selected_view(self, request: HttpRequest) -> HttpResponse:
        """Replay the updates that were chosen in the list."""
        if not self.has_decide_permission(request):
            raise PermissionDenied
        selection = SelectionForm(request.POST)
        if not selection.is_valid():
            messages.error(request, "Choose updates in the list first, and then what is to be done with them.")
            return redirect(LIST)
        updates = list(selection.cleaned_data["updates"][: dead_letters.MOST_AT_ONCE])
        form = DecisionForm(request.POST if decided(request) else None)
        if not (form.is_bound and form.is_valid()):
            return _selection_page(request, updates, form)
        answers = dead_letters.replay_each(updates=updates, staff=staff_of(request), reason=form.cleaned_data["reason"])
        refused = [answer for answer in answers if answer.refusal]
        context = {"title": "Replayed", "replayed": len(answers) - len(refused), "refused": refused}
        return _page(request, "admin/telegram_bot/update/replayed.html", context)


class OneForm(DecisionForm):
    do = forms.ChoiceField(choices=[("replay", "Replay"), ("dismiss", "Dismiss")], widget=forms.HiddenInput)

    def carry_out(self, update: IncomingUpdate, request: HttpRequest) -> IncomingUpdate:
        """:raises DeadLetterError: it cannot be done"""
        decide = dead_letters.replay_update if self.cleaned_data["do"] == "replay" else dead_letters.dismiss_update
        return decide(update=update, staff=staff_of(request), reason=self.cleaned_data["reason"])


def _state(update: IncomingUpdate) -> dict[str, Any]:
    """Whether there is something to decide, what each decision would do, and who decided last."""
    undecided = update.status in UNDECIDED
    return {
        "undecided": undecided,
        "tries": update.attempts,
        "unrecorded_money": undecided and dead_letters.holds_unrecorded_money(update),
        "may_hide_money": undecided and dead_letters.may_hide_money(update),
        "last_decision": last_decision(update),
    }


def _selection_page(request: HttpRequest, updates: list[IncomingUpdate], form: DecisionForm) -> HttpResponse:
    """At most MOST_AT_ONCE of them; whether there are more is said."""
    shown_now = updates[: dead_letters.MOST_AT_ONCE]
    context = {
        "title": "Replay updates",
        "updates": shown_now,
        "more": len(updates) > len(shown_now),
        "form": form,
        "back": reverse(LIST),
    }
    return _page(request, "admin/telegram_bot/update/replay_several.html", context)


def _page(request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
    return TemplateResponse(request, template, {**admin.site.each_context(request), **context})
