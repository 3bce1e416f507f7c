"""The OpenAPI description: what DRF's views say of themselves, and the problems they may answer with."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

from django.http import HttpResponse
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.renderers import OpenApiJsonRenderer
from drf_spectacular.utils import OpenApiResponse
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request

from config.api.permissions import EntitlementRequired, HasScope, IsBuyer
from config.api.problems import CONTENT_TYPE, Code
from config.api.views import ApiView

Direction = Literal["request", "response"]

WITH_CREDENTIALS = {Code.NOT_AUTHENTICATED, Code.INVALID_TOKEN}
WITH_BODY = {Code.MALFORMED, Code.TOO_LARGE, Code.UNSUPPORTED_MEDIA_TYPE, Code.INVALID}
RETRY_AFTER = {"Retry-After": {"schema": {"type": "integer", "minimum": 1}, "description": "Seconds."}}
WWW_AUTHENTICATE = {"WWW-Authenticate": {"schema": {"type": "string"}}}


class ProblemSerializer(serializers.Serializer[Any]):
    """An error (RFC 9457)."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    code = serializers.ChoiceField([code.word for code in Code], help_text="A stable word.")
    errors = serializers.DictField(  # type: ignore[assignment]
        child=serializers.ListField(child=serializers.CharField()),
        required=False,
        help_text="Field → what is wrong with it.",
    )


class ProblemAwareSchema(AutoSchema):
    """Adds the problems of each operation: what follows from its view, and what the view names in `problems`."""

    def _get_response_bodies(self, direction: Direction = "response") -> dict[str, Any]:
        bodies: dict[str, Any] = super()._get_response_bodies(direction)
        by_status: dict[int, list[Code]] = {}
        for code in self.problems():
            by_status.setdefault(code.status, []).append(code)
        for status, codes in by_status.items():
            bodies[str(status)] = self._problem(status, codes, direction)
        return dict(sorted(bodies.items()))

    def problems(self) -> list[Code]:
        codes = {Code.RATE_LIMITED, Code.UNAVAILABLE, *getattr(self.view, "problems", ())}
        if self.view.authentication_classes:
            codes |= WITH_CREDENTIALS
        for permission in self.view.get_permissions():
            if isinstance(permission, EntitlementRequired):
                codes |= {Code.CUSTOMER_BLOCKED, Code.ENTITLEMENT_REQUIRED}
            elif isinstance(permission, IsBuyer):
                codes.add(Code.CUSTOMER_BLOCKED)
            elif isinstance(permission, HasScope):
                codes.add(Code.FORBIDDEN)
        if self.method == "POST":
            codes |= WITH_BODY
        return [code for code in Code if code in codes]

    def _problem(self, status: int, codes: list[Code], direction: Direction) -> dict[str, Any]:
        description = " · ".join(f"`{code.word}`: {code.title}" for code in codes)
        response: dict[str, Any] = self._get_response_for_code(  # type: ignore[no-untyped-call]
            OpenApiResponse(ProblemSerializer, description), str(status), [CONTENT_TYPE], direction
        )
        if status in {429, 503}:
            response["headers"] = RETRY_AFTER
        elif status == 401:
            response["headers"] = WWW_AUTHENTICATE
        return response


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "config.api.authentication.BearerAuthentication"
    name = "buyer"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "config.api.authentication.ApiKeyAuthentication"
    name = "program"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        return {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "`Api-Key <prefix>.<secret>`, made by `manage.py create_api_key`.",
        }


class WithProblems(SchemaGenerator):
    """The whole description, opening with the table of all problems."""

    def get_schema(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        schema: dict[str, Any] = super().get_schema(*args, **kwargs)  # type: ignore[no-untyped-call]
        rows = [f"| {code.status} | `{code.word}` | {code.title} |" for code in Code]
        table = "\n".join(["| status | code | |", "|---|---|---|", *rows])
        schema["info"]["description"] += (
            f"\n\nErrors are `{CONTENT_TYPE}` (RFC 9457); `code` is the word to act upon.\n\n{table}"
        )
        return schema


@cache
def description() -> bytes:
    schema = WithProblems().get_schema(public=True)  # type: ignore[no-untyped-call]
    rendered: bytes = OpenApiJsonRenderer().render(schema)
    return rendered


class SchemaView(ApiView):
    """The description itself, the same for everybody."""

    permission_classes = [AllowAny]
    schema = None

    def get(self, request: Request) -> HttpResponse:
        return HttpResponse(description(), content_type="application/vnd.oai.openapi+json")
