"""Before money moves, staff who signed in a while ago say once more who they are."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any

from django.contrib import admin
from django.contrib.auth.signals import user_logged_in
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_post_parameters

from config.admin import staff_of
from config.database import database_now
from config.sign_in import SignInForm

LASTS = timedelta(minutes=10)
SIGNED_IN_AT = "signed_in_at"  # in the session: when both factors were given last
CONFIRMING = "confirming"

View = Callable[..., HttpResponse]


class ConfirmationForm(SignInForm):
    """Password and code of whoever is signed in, and of nobody else; guesses are counted with those at the door."""

    def __init__(self, request: HttpRequest, data: Any = None) -> None:
        super().__init__(request, data=data)
        self.fields["username"].disabled = True
        self.fields["username"].initial = staff_of(request).get_username()


def confirmed(view: View) -> View:
    """For a view of an admin page whose POSTs move money: they get there within ten minutes of a sign-in.

    Later they are answered by a page that asks for password and code. Whoever gives them is on the page again, with
    what was entered and nothing done: the button that does it is named `do`, and has to be pressed again.
    """

    @wraps(view)
    def wrapper(page: admin.ModelAdmin[Any], request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        if request.method == "POST" and not _is_recent(request):
            form = ConfirmationForm(request, data=request.POST if CONFIRMING in request.POST else None)
            if not (form.is_bound and form.is_valid()):
                return _ask(request, form)
            _remember(request)
        return view(page, request, *args, **kwargs)

    # Where an error is reported, these two are not told.
    return method_decorator(sensitive_post_parameters("password", "otp_token"))(wrapper)


def _is_recent(request: HttpRequest) -> bool:
    signed_in_at = request.session.get(SIGNED_IN_AT, 0)
    return bool(database_now().timestamp() - signed_in_at < LASTS.total_seconds())


def _remember(request: HttpRequest) -> None:
    request.session[SIGNED_IN_AT] = database_now().timestamp()


@receiver(user_logged_in)
def _signed_in(request: HttpRequest, **_: Any) -> None:
    _remember(request)


def _ask(request: HttpRequest, form: ConfirmationForm) -> HttpResponse:
    dropped = {*form.fields, "csrfmiddlewaretoken", "do", CONFIRMING}
    context = {
        **admin.site.each_context(request),
        "title": "Confirm that it is you",
        "form": form,
        "entered": [(name, value) for name, values in request.POST.lists() if name not in dropped for value in values],
    }
    return TemplateResponse(request, "admin/confirm.html", context)
