"""How staff sign in: name, password and, always in production, the code of an authenticator app."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import structlog
from django import forms
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.auth.views import PasswordChangeView
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse
from django_otp import devices_for_user, match_token
from prometheus_client import Counter
from structlog.contextvars import bind_contextvars
from unfold.forms import AdminOwnPasswordChangeForm, AuthenticationForm
from unfold.sites import UnfoldAdminSite

from config.addresses import household_of
from config.api.ratelimit import RateLimited, hit
from config.staff import set_own_password

# Attempts within five minutes: of one name from one address, and of one address with whatever names.
WINDOW, LIMIT_OF_NAME, LIMIT_OF_ADDRESS = timedelta(minutes=5), 10, 50

REFUSED = Counter("starledger_sign_ins_refused", "Sign-ins and confirmations of staff that were refused.")

log = structlog.get_logger(__name__)


class SignInForm(AuthenticationForm):  # type: ignore[misc]
    """One sentence for a wrong name, password or code, so that none of them can be guessed by itself."""

    error_messages = {
        **AuthenticationForm.error_messages,
        "invalid_login": "Name, password and code do not go together. A code is good once, and for 30 seconds.",
        "no_factor": "This account has no second factor. Ask whoever runs Starledger for `manage.py create_staff`.",
        "too_many": "Too many attempts. Try again in %(seconds)s seconds.",
    }

    otp_token = forms.CharField(
        label="Code of your authenticator app",
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code", "inputmode": "numeric"}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["otp_token"].widget.attrs["class"] = self.fields["password"].widget.attrs["class"]
        if not settings.STAFF_SECOND_FACTOR:
            self.fields["otp_token"].help_text = "Leave it empty if you have none."

    def clean(self) -> dict[str, Any]:
        try:
            return self._judged()
        except ValidationError as refusal:
            self._tell(refusal)
            raise

    def _judged(self) -> dict[str, Any]:
        self._count_attempt()
        cleaned: dict[str, Any] = super().clean()
        user = self.get_user()
        if user is None:  # a field was left empty, which the form says by itself
            return cleaned
        if next(devices_for_user(user), None) is not None:
            # django-otp binds the session to the device when the user is logged in.
            user.otp_device = match_token(user, cleaned.get("otp_token") or "")
            if user.otp_device is None:
                raise self.get_invalid_login_error()
        elif settings.STAFF_SECOND_FACTOR:
            raise ValidationError(self.error_messages["no_factor"], code="no_factor")
        return cleaned

    def _count_attempt(self) -> None:
        """Before anything is compared, so that an attempt too many costs nothing and tells nothing."""
        address = household_of(self.request)
        try:
            # The address first: one that is used up writes nothing any more, whatever names it comes with.
            hit(subject=f"sign-in:{address}", limit=LIMIT_OF_ADDRESS, window=WINDOW)
            hit(subject=f"sign-in:{address}:{self._name()}", limit=LIMIT_OF_NAME, window=WINDOW)
        except RateLimited as error:
            seconds = {"seconds": error.retry_after}
            raise ValidationError(self.error_messages["too_many"], code="too_many", params=seconds) from error

    def _tell(self, refusal: ValidationError) -> None:
        """In the log, which has the address with each line, and in the metrics.

        The account is named by its id, where there is one: what was entered as a name may be somebody's password.
        """
        REFUSED.inc()
        account = None
        if refusal.code != "too_many":
            account = User.objects.filter(username=self._name()).values_list("pk", flat=True).first()
        knows_password = self.get_user() is not None
        log.warning("sign-in refused", reason=refusal.code, account=account, knows_password=knows_password)

    def _name(self) -> str:
        """As the account will be looked for, or other spellings of a name would have attempts of their own."""
        name: str = self.fields["username"].to_python(self["username"].value())
        return name.replace("\x00", "")[:150]


class OwnPasswordForm(AdminOwnPasswordChangeForm):  # type: ignore[misc]
    def save(self, commit: bool = True) -> User:
        return set_own_password(staff=self.user, password=self.cleaned_data["new_password1"])


class StaffSite(UnfoldAdminSite):  # type: ignore[misc]
    """The admin. Where a second factor is required, nobody is in it who did not give his."""

    login_form = SignInForm

    def has_permission(self, request: HttpRequest) -> bool:
        allowed: bool = super().has_permission(request)
        bind_contextvars(staff=request.user.pk)
        return allowed and (request.user.is_verified() or not settings.STAFF_SECOND_FACTOR)  # type: ignore[union-attr]

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponseBase:
        """Django's page, with a form that leaves an audit entry."""
        page = PasswordChangeView.as_view(
            form_class=OwnPasswordForm,
            success_url=reverse(f"{self.name}:password_change_done"),
            extra_context={**self.each_context(request), **(extra_context or {})},
        )
        return page(request)
