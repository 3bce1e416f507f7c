"""What staff decide about access: each is a page that says what it will do, and a POST with a reason."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

from django import forms
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from entitlements.models import ENTITLEMENT_CODE

LONGEST_DAYS = 36_500


class DecisionForm(forms.Form):
    """Whatever is decided, why."""

    reason = forms.CharField(max_length=1000, widget=UnfoldAdminTextareaWidget)


class GrantForm(DecisionForm):
    entitlement = forms.RegexField(ENTITLEMENT_CODE, widget=UnfoldAdminTextInputWidget)
    days = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=LONGEST_DAYS,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="On top of what the customer has. Empty: for life.",
    )
    # Sent twice, the form grants once.
    token = forms.UUIDField(initial=uuid4, widget=forms.HiddenInput)
    field_order = ["entitlement", "days", "reason", "token"]

    def duration(self) -> timedelta | None:
        days = self.cleaned_data["days"]
        return timedelta(days=days) if days else None
