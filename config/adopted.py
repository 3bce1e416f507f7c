"""The admin pages of packages, registered anew so that they look like ours."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.forms import SetPasswordForm, UsernameField
from django.contrib.auth.models import Group, User
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_post_parameters
from django_otp.plugins.otp_totp.models import TOTPDevice
from procrastinate.contrib.django.models import ProcrastinateEvent, ProcrastinateJob
from unfold.widgets import UnfoldAdminPasswordWidget

from config import shown
from config.admin import Discreet, FactAdmin, FactInline, ModelAdmin, ReadOnly, Shown, staff_of
from config.audited import Audited, ReasonForm
from config.shown import Tone
from config.staff import may_change, set_password
from entitlements.admin import decision_page
from entitlements.decisions import DecisionForm

JOB_TONES = {
    "todo": Tone.WAITING,
    "doing": Tone.WAITING,
    "succeeded": Tone.GOOD,
    "failed": Tone.BAD,
    "cancelled": Tone.QUIET,
    "aborted": Tone.QUIET,
}


class NewPasswordForm(DecisionForm, SetPasswordForm):  # type: ignore[type-arg]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("new_password1", "new_password2"):
            self.fields[name].widget = UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"})
        self.order_fields(["new_password1", "new_password2", "reason"])


class StaffForm(ReasonForm):
    class Meta:
        model = User
        fields = ("username",)
        field_classes = {"username": UsernameField}


class StaffAdmin(Audited, Discreet, Shown, UserAdmin, ModelAdmin):  # type: ignore[type-arg]
    """Accounts are made by `manage.py create_staff`, which makes the second factor too, and end by not being active.

    What a person may do comes by his groups alone. Only superusers make superusers, and change them.
    """

    form = StaffForm
    actions = None
    fieldsets = None
    change_form_outer_before_template = "admin/auth/user/new_password.html"
    fields: ClassVar[Any] = (
        "username",
        "first_name",
        "last_name",
        "email",
        "is_active",
        "is_staff",
        "is_superuser",
        "groups",
        "last_login",
        "date_joined",
    )
    readonly_fields = ("last_login", "date_joined")

    has_add_permission = ReadOnly.has_add_permission
    has_delete_permission = ReadOnly.has_delete_permission

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        allowed: bool = super().has_change_permission(request, obj)
        return allowed and (obj is None or may_change(account=obj, staff=staff_of(request)))

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        kept = [] if staff_of(request).is_superuser else ["is_superuser"]
        return [*super().get_readonly_fields(request, obj), *kept]

    @method_decorator(sensitive_post_parameters())
    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:  # noqa: A002
        """Django's address for a new password, with our page: it asks why."""
        account = self.get_object(request, id)
        if not self.has_change_permission(request, account):
            raise PermissionDenied
        if account is None:
            raise Http404
        if account == staff_of(request):
            return redirect("admin:password_change")  # which asks for the old one
        form = NewPasswordForm(account, request.POST or None)
        if request.method == "POST" and form.is_valid():
            set_password(
                account=account,
                password=form.cleaned_data["new_password1"],
                staff=staff_of(request),
                reason=form.cleaned_data["reason"],
            )
            return redirect(shown.page_of(account))
        what = f"{account} is signed out everywhere, and signs in with it from now on; the second factor stays."
        words = {"title": f"Give {account} a new password", "what": what, "button": "Set the password"}
        return decision_page(request, form, back=shown.page_of(account), **words)


class StaffGroupAdmin(FactAdmin):
    """The roles, as this version of Starledger has them."""

    list_display = ("name",)
    ordering = ["name"]
    search_fields = ("name",)
    fields = ("name", "permissions")


class JobEventInline(FactInline):
    model = ProcrastinateEvent
    fields = ("type", "at")
    ordering = ["-at"]


class JobAdmin(FactAdmin):
    """For reading: the next round of a task takes up what a failed job has left."""

    list_display = ("id", "task_name", "queue_name", "status", "attempts", "scheduled_at")
    list_filter = ("status",)
    tones = {"status": JOB_TONES}
    inlines = (JobEventInline,)


def adopt(model: Any, page: Any) -> None:
    admin.site.unregister(model)
    admin.site.register(model, page)


adopt(User, StaffAdmin)
adopt(Group, StaffGroupAdmin)
adopt(ProcrastinateJob, JobAdmin)
# A second factor is made by create_staff alone, and read by nobody.
admin.site.unregister(TOTPDevice)
