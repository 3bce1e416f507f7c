"""The pages on which staff have payments given back."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from unfold.widgets import UnfoldAdminTextInputWidget, UnfoldBooleanWidget

from config import shown
from config.admin import FactAdmin, decided, staff_of
from config.confirmation import confirmed
from entitlements import audit
from entitlements.decisions import DecisionForm
from payments import staff_refunds, subscriptions
from payments.models import PaymentEvent, PaymentMethod, Refund
from payments.money import exponent, sum_in_words
from payments.refunding import RefundingError


class RefundPages(FactAdmin):
    """What the list of payments and a payment's page offer to whoever may give them back."""

    actions = ("refund_selected",)

    def get_urls(self) -> list[URLPattern]:
        refund = self.admin_site.admin_view(self.refund_view)
        record = self.admin_site.admin_view(self.record_view)
        selected = self.admin_site.admin_view(self.refund_selected_view)
        return [
            path("<uuid:pk>/refund/", refund, name="payments_paymentevent_refund"),
            path("<uuid:pk>/record-refund/", record, name="payments_paymentevent_record_refund"),
            path("refund-selected/", selected, name="payments_paymentevent_refund_selected"),
            *super().get_urls(),
        ]

    @confirmed
    def record_view(self, request: HttpRequest, pk: str) -> HttpResponse:
        """Record a refund that was made at the provider."""
        if not request.user.has_perm(staff_refunds.PERMISSION):
            raise PermissionDenied
        payment = get_object_or_404(PaymentEvent.objects.payments().select_related("customer", "plan"), pk=pk)
        form = RecordForm(request.POST if decided(request) else None, initial=request.POST.dict())
        if form.is_bound and form.is_valid():
            told = dict(form.cleaned_data)
            try:
                told["amount"] = in_smallest_unit(told["amount"], payment.currency)
                refund = staff_refunds.record_refund_made_elsewhere(payment=payment, staff=staff_of(request), **told)
            except forms.ValidationError as refusal:
                form.add_error("amount", refusal)
            except RefundingError as refusal:
                form.add_error(None, staff_refunds.in_words(refusal))
            except staff_refunds.ImpossibleDay as refusal:
                form.add_error("refunded_on", str(refusal))
            else:
                return redirect(shown.page_of(refund))
        context = {
            "title": "Record a refund made at the provider",
            "payment": payment,
            "taken_back": staff_refunds.taken_back(payment),
            "possible": staff_refunds.can_be_recorded(payment),
            "left": sum_in_words(payment.left, payment.currency),
            "form": form,
        }
        return page(request, "admin/payments/refund/record.html", context)

    def has_refund_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(staff_refunds.PERMISSION)

    @admin.action(description="Refund selected…", permissions=["refund"])
    def refund_selected(self, request: HttpRequest, chosen: QuerySet[PaymentEvent]) -> HttpResponse | None:
        """Lead from the list to the page that says what will be taken back; nothing has happened yet."""
        payments = list(chosen.select_related("customer", "plan", "invoice")[: staff_refunds.MOST_AT_ONCE + 1])
        if len(payments) > staff_refunds.MOST_AT_ONCE:
            messages.error(request, str(staff_refunds.TooMany()))
            return None
        return _selection_page(request, payments, RefundForm(initial=FIRST_SHOWN))

    @confirmed
    def refund_selected_view(self, request: HttpRequest) -> HttpResponse:
        """Have the payments that were chosen in the list given back."""
        if not request.user.has_perm(staff_refunds.PERMISSION):
            raise PermissionDenied
        selection = SelectionForm(request.POST)
        if not selection.is_valid():
            messages.error(request, "Choose payments in the list first, and then what is to be done with them.")
            return redirect("admin:payments_paymentevent_changelist")
        payments = list(selection.cleaned_data["payments"][: staff_refunds.MOST_AT_ONCE + 1])
        if len(payments) > staff_refunds.MOST_AT_ONCE:
            messages.error(request, str(staff_refunds.TooMany()))
            return redirect("admin:payments_paymentevent_changelist")
        form = RefundForm(request.POST if decided(request) else None, initial=request.POST.dict())
        if form.is_bound and form.is_valid():
            answers = staff_refunds.refund_each_by_staff(
                payments=payments,
                staff=staff_of(request),
                reason=form.cleaned_data["reason"],
                cancel_subscriptions=form.cleaned_data["cancel_subscription"],
            )
            context = {"title": "Asked for", "answers": answers}
            return page(request, "admin/payments/refund/asked.html", context)
        return _selection_page(request, payments, form)

    @confirmed
    def refund_view(self, request: HttpRequest, pk: str) -> HttpResponse:
        """Say what will be taken back, then have the payment given back."""
        if not request.user.has_perm(staff_refunds.PERMISSION):
            raise PermissionDenied
        payments = PaymentEvent.objects.payments().select_related("customer", "plan", "invoice")
        payment = get_object_or_404(payments, pk=pk)
        entered = request.POST.dict() if request.method == "POST" else FIRST_SHOWN
        form = RefundForm(request.POST if decided(request) else None, initial=entered)
        if form.is_bound and form.is_valid():
            decided_on = dict(form.cleaned_data)
            try:
                decided_on["amount"] = in_smallest_unit(decided_on["amount"], payment.currency)
                refund = staff_refunds.refund_by_staff(payment=payment, staff=staff_of(request), **decided_on)
            except forms.ValidationError as refusal:
                form.add_error("amount", refusal)
            except RefundingError as refusal:
                form.add_error(None, staff_refunds.in_words(refusal))
            else:
                return redirect(shown.page_of(refund))
        context = {
            "title": "Give a payment back",
            "payment": payment,
            "taken_back": staff_refunds.taken_back(payment),
            "in_parts": payment.payment_method == PaymentMethod.STRIPE,
            "left": sum_in_words(payment.left, payment.currency),
            "why_not": staff_refunds.why_not(payment),
            "of_subscription": subscriptions.is_of_subscription(payment),
            "form": form,
        }
        return page(request, "admin/payments/refund/ask.html", context)


class ApprovalPages(FactAdmin):
    """What the page of a refund that waits for a second person offers."""

    def get_urls(self) -> list[URLPattern]:
        decide = self.admin_site.admin_view(self.decide_view)
        return [path("<uuid:pk>/decide/", decide, name="payments_refund_decide"), *super().get_urls()]

    @confirmed
    def decide_view(self, request: HttpRequest, pk: str) -> HttpResponse:
        """Approve a refund or decline it."""
        if not request.user.has_perm(staff_refunds.PERMISSION):
            raise PermissionDenied
        refund = get_object_or_404(Refund.objects.select_related("payment__customer", "payment__plan"), pk=pk)
        form = ApprovalForm(request.POST if decided(request) else None, initial=request.POST.dict())
        if form.is_bound and form.is_valid():
            try:
                form.carry_out(refund=refund, staff=staff_of(request))
            except staff_refunds.DecisionError as refusal:
                form.add_error(None, str(refusal))
            else:
                return redirect(shown.page_of(refund))
        context = {
            "title": "Approve a refund",
            "refund": refund,
            "asked_by": audit.known_as(refund.requested_by),
            "is_own": refund.requested_by == audit.name_of(staff_of(request)),
            "taken_back": staff_refunds.taken_back(refund.payment),
            "form": form,
        }
        return page(request, "admin/payments/refund/decide.html", context)


class DayWidget(UnfoldAdminTextInputWidget):  # type: ignore[misc]
    input_type = "date"


class PartForm(DecisionForm):
    amount = forms.DecimalField(
        label="How much, as people write it; empty: all that is left",
        required=False,
        widget=UnfoldAdminTextInputWidget,
    )


class RecordForm(PartForm):
    reference = forms.CharField(
        label="The provider's name of the refund", max_length=255, widget=UnfoldAdminTextInputWidget
    )
    refunded_on = forms.DateField(label="Day of the refund, in UTC", widget=DayWidget)
    field_order = ["amount", "reference", "refunded_on", "reason"]


FIRST_SHOWN = {"cancel_subscription": True}


class RefundForm(PartForm):
    """Why, how much of it where parts can be, and whether the subscription is cancelled too. What is not ticked is not
    sent: FIRST_SHOWN is ticked.
    """

    cancel_subscription = forms.BooleanField(
        label="Cancel the subscription too: it renews no more", required=False, widget=UnfoldBooleanWidget
    )


def in_smallest_unit(amount: Decimal | None, currency: str) -> int | None:
    """
    :raises forms.ValidationError: it is nothing, less than that, or finer than the currency
    """
    if amount is None:
        return None
    smallest = amount.scaleb(exponent(currency))
    if smallest <= 0 or smallest != smallest.to_integral_value():
        raise forms.ValidationError(f"This is no amount in {currency}.")
    return int(smallest)


class SelectionForm(forms.Form):
    payments = forms.ModelMultipleChoiceField(
        PaymentEvent.objects.select_related("customer", "plan", "invoice").order_by("-received_at")
    )


def _selection_page(request: HttpRequest, payments: list[PaymentEvent], form: DecisionForm) -> HttpResponse:
    previews = staff_refunds.previews(payments)
    context = {
        "title": "Give payments back",
        "possible": [preview for preview in previews if not preview.why_not],
        "impossible": [preview for preview in previews if preview.why_not],
        "of_subscription": any(preview.of_subscription for preview in previews if not preview.why_not),
        "form": form,
    }
    return page(request, "admin/payments/refund/ask_for_several.html", context)


class ApprovalForm(DecisionForm):
    """Approve or decline, by the button that was pressed, with the reason."""

    do = forms.ChoiceField(choices=[("approve", "Approve"), ("decline", "Decline")])

    def carry_out(self, *, refund: Refund, staff: User) -> Refund:
        """:raises staff_refunds.DecisionError: it cannot be done"""
        decide = staff_refunds.approve_refund if self.cleaned_data["do"] == "approve" else staff_refunds.decline_refund
        return decide(refund=refund, staff=staff, reason=self.cleaned_data["reason"])


def page(request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
    return TemplateResponse(request, template, {**admin.site.each_context(request), **context})
