"""The strict policy everywhere, and a looser one for the admin alone, whose theme is scripts inside attributes."""

from __future__ import annotations

from csp.middleware import CSPMiddleware, PolicyParts
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase


class ScopedCSPMiddleware(CSPMiddleware):
    def get_policy_parts(
        self, request: HttpRequest, response: HttpResponseBase, report_only: bool = False
    ) -> PolicyParts:
        parts = super().get_policy_parts(request, response, report_only)
        if request.resolver_match is not None and "admin" in request.resolver_match.app_names:
            parts.update = settings.ADMIN_CONTENT_SECURITY_POLICY
        return parts
