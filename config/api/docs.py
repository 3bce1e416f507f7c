"""The page that shows the API's description, and who may read either."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from csp.decorators import csp_update
from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from drf_spectacular.views import SpectacularSwaggerSplitView

from config.api.problems import not_found
from config.api.views import FirstRenderer


class DocsView(SpectacularSwaggerSplitView):
    http_method_names = ["get", "head"]
    content_negotiation_class = FirstRenderer


# The page has a style element of its own; its scripts and everything else come from our static files.
docs = csp_update({"style-src": ["'unsafe-inline'"]})(DocsView.as_view())


def for_readers(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Everybody, or with API_DOCS_PUBLIC off whoever is signed in to the admin: for others there is nothing here."""

    @wraps(view)
    def guarded(request: HttpRequest) -> HttpResponseBase:
        may_read = settings.API_DOCS_PUBLIC or admin.site.has_permission(request)
        return view(request) if may_read else not_found(request)

    return guarded
