"""The page on which staff erase what a buyer told about himself."""

from __future__ import annotations

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path

from config import shown
from config.admin import FactAdmin, staff_of
from entitlements.admin import decision_page
from entitlements.decisions import DecisionForm
from payments import order_info
from payments.models import PaymentEvent


class OrderInfoPages(FactAdmin):
    """What a payment's page offers to whoever may erase personal data."""

    def get_urls(self) -> list[URLPattern]:
        erase = self.admin_site.admin_view(self.erase_view)
        return [path("<uuid:pk>/erase/", erase, name="payments_paymentevent_erase"), *super().get_urls()]

    def erase_view(self, request: HttpRequest, pk: str) -> HttpResponse:
        """Erase what the buyer told with this payment."""
        if not request.user.has_perm(order_info.PERMISSION):
            raise PermissionDenied
        payment = get_object_or_404(PaymentEvent.objects.payments().select_related("customer"), pk=pk)
        form = DecisionForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                order_info.erase(payment=payment, staff=staff_of(request), **form.cleaned_data)
            except order_info.NothingToErase as refusal:
                form.add_error(None, str(refusal))
            else:
                return redirect(shown.page_of(payment))
        what = (
            "Name, phone number and e-mail that the buyer entered are gone for good, here and in the updates that"
            " brought them. The payment, and what it gave, stay."
        )
        words = {"title": "Erase what the buyer told about himself", "what": what, "button": "Erase"}
        return decision_page(request, form, back=shown.page_of(payment), **words)
