"""The pages on which staff have a subscription cancelled or allowed again."""

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
from config.admin import FactAdmin, decided, staff_of
from config.confirmation import confirmed
from config.timeline import told
from entitlements.decisions import DecisionForm
from payments import subscription_orders
from payments.models import Order, Subscription

HISTORY = ["payments.timeline.tell_of_subscription"]


class SubscriptionPages(FactAdmin):
    """What the page of a subscription tells, and what it offers to whoever may change it."""

    def get_urls(self) -> list[URLPattern]:
        order = self.admin_site.admin_view(self.order_view)
        return [path("<uuid:pk>/order/", order, name="payments_subscription_order"), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        subscription = self.get_object(request, object_id)
        known: dict[str, Any] = {}
        if subscription:
            known["story"] = told(HISTORY, subscription)
            known["possible"] = _possible(subscription)
            known["order"] = subscription.orders.order_by("-created_at").first()
        return super().change_view(request, object_id, form_url, known | (extra_context or {}))

    @confirmed
    def order_view(self, request: HttpRequest, pk: str) -> HttpResponse:
        """Say what it does, then have Telegram do it."""
        if not request.user.has_perm(subscription_orders.PERMISSION):
            raise PermissionDenied
        subscription = get_object_or_404(Subscription.objects.select_related("customer", "plan"), pk=pk)
        form = OrderForm(request.POST if decided(request) else None, initial=request.POST.dict())
        if form.is_bound and form.is_valid():
            try:
                subscription_orders.order_by_staff(
                    subscription=subscription,
                    what=Order(form.cleaned_data["do"]),
                    staff=staff_of(request),
                    reason=form.cleaned_data["reason"],
                )
            except subscription_orders.OrderError as refusal:
                form.add_error(None, str(refusal))
            else:
                return redirect(shown.page_of(subscription))
        context = {
            **admin.site.each_context(request),
            "title": "Cancel a subscription, or allow it again",
            "subscription": subscription,
            "possible": _possible(subscription),
            "why_not": subscription_orders.why_not(subscription, Order.CANCEL),
            "form": form,
        }
        return TemplateResponse(request, "admin/payments/subscription/order.html", context)


class OrderForm(DecisionForm):
    """Cancel or allow again, by the button that was pressed, with the reason."""

    do = forms.ChoiceField(choices=Order.choices)


def _possible(subscription: Subscription) -> list[str]:
    return [what.value for what in Order if not subscription_orders.why_not(subscription, what)]
