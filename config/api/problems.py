"""Every error of the API as application/problem+json (RFC 9457), and the table of their codes."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from enum import Enum
from typing import Any

import structlog
from django.core.exceptions import BadRequest, PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from django.views import defaults
from django.views.decorators.csrf import csrf_exempt
from rest_framework import exceptions

from config.api.ratelimit import RateLimited

CONTENT_TYPE = "application/problem+json"
ADDRESSES = ("/api/", "/webhook/")  # where errors are problems; elsewhere they are pages
RETRY_AFTER = 5  # seconds, where nobody knows better

log = structlog.get_logger(__name__)


class Code(Enum):
    """The stable word of a problem, its status and what it means."""

    MALFORMED = "malformed", 400, "The body is not a JSON object"
    NOT_AUTHENTICATED = "not_authenticated", 401, "No credentials were given"
    INVALID_TOKEN = "invalid_token", 401, "The credentials are not valid"
    FORBIDDEN = "forbidden", 403, "The credentials do not allow this"
    ENTITLEMENT_REQUIRED = "entitlement_required", 403, "This needs an entitlement the customer does not have"
    CUSTOMER_BLOCKED = "customer_blocked", 403, "The customer is blocked"
    NOT_FOUND = "not_found", 404, "There is nothing here"
    METHOD_NOT_ALLOWED = "method_not_allowed", 405, "This address does not know the method"
    ALREADY_ACTIVE = "already_active", 409, "The customer has this already"
    ALREADY_REFUNDED = "already_refunded", 409, "The payment has been given back"
    REFUND_PENDING = "refund_pending", 409, "A refund of the payment is under way"
    CHAT_UNAVAILABLE = "chat_unavailable", 409, "The bot may not write to the customer: ask for a link"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict", 409, "The key was used with another body"
    IDEMPOTENCY_IN_PROGRESS = "idempotency_in_progress", 409, "The first request with this key is still at work"
    TOO_LARGE = "too_large", 413, "The body is too large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type", 415, "The body is not of type application/json"
    UNKNOWN_PLAN = "unknown_plan", 422, "No such plan is on sale"
    CURRENCY_NOT_OFFERED = "currency_not_offered", 422, "The plan has no price in this currency and method"
    NOT_REFUNDABLE = "not_refundable", 422, "The payment cannot be given back by a call"
    INVALID = "invalid", 422, "Some fields are not valid"
    RATE_LIMITED = "rate_limited", 429, "Too many attempts"
    INTERNAL = "internal", 500, "Something went wrong here"
    UNAVAILABLE = "unavailable", 503, "Out of reach for the moment"
    PAYMENTS_DISABLED = "payments_disabled", 503, "Payments are switched off"

    def __init__(self, word: str, status: int, title: str) -> None:
        self.word = word
        self.status = status
        self.title = title


class Problem(exceptions.APIException):
    """An answer other than the one that was asked for.

    :param detail: a sentence for the caller's developer; never what the caller sent
    :param errors: field → list of sentences
    :param retry_after: seconds; every 429 and 503 has it
    :param members: further members of the problem, like `entitlement`
    """

    def __init__(
        self,
        code: Code,
        detail: str = "",
        *,
        errors: Mapping[str, list[str]] | None = None,
        retry_after: float | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail or f"{code.title}.", code.word)
        self.code = code
        self.status_code = code.status
        self.errors = errors
        self.retry_after = retry_after
        self.members = members

    def document(self) -> dict[str, Any]:
        return {
            "type": f"/api/docs/#problem-{self.code.word}",
            "title": self.code.title,
            "status": self.code.status,
            "detail": str(self.detail),
            "code": self.code.word,
            **({"errors": self.errors} if self.errors is not None else {}),
            **self.members,
        }

    def response(self) -> HttpResponse:
        response = HttpResponse(json.dumps(self.document()), status=self.code.status, content_type=CONTENT_TYPE)
        if self.code.status in {429, 503}:
            response["Retry-After"] = str(max(1, math.ceil(self.retry_after or RETRY_AFTER)))
        return response


SAME_PROBLEM: dict[type[Exception], Code] = {
    exceptions.ParseError: Code.MALFORMED,
    UnreadablePostError: Code.MALFORMED,
    BadRequest: Code.MALFORMED,
    SuspiciousOperation: Code.MALFORMED,  # as a Host that is not ours
    exceptions.NotAuthenticated: Code.NOT_AUTHENTICATED,
    exceptions.AuthenticationFailed: Code.INVALID_TOKEN,
    exceptions.PermissionDenied: Code.FORBIDDEN,
    PermissionDenied: Code.FORBIDDEN,
    exceptions.NotFound: Code.NOT_FOUND,
    Http404: Code.NOT_FOUND,
    exceptions.MethodNotAllowed: Code.METHOD_NOT_ALLOWED,
    RequestDataTooBig: Code.TOO_LARGE,
    exceptions.UnsupportedMediaType: Code.UNSUPPORTED_MEDIA_TYPE,
    # The database is down, full, locked, or too slow for the time limits of a request.
    OperationalError: Code.UNAVAILABLE,
    InterfaceError: Code.UNAVAILABLE,
}


def problem_of(error: BaseException | None) -> Problem:
    """What an exception is to the caller; one nobody expected is an error of ours."""
    match error:
        case Problem():
            return error
        case RateLimited():
            return Problem(Code.RATE_LIMITED, retry_after=error.retry_after)
        case exceptions.ValidationError():
            return Problem(Code.INVALID, errors=fields(error.detail))
    for kind in type(error).__mro__:
        if code := SAME_PROBLEM.get(kind):
            return Problem(code)
    return Problem(Code.INTERNAL)


def fields(detail: Any, name: str = "") -> dict[str, list[str]]:
    """DRF's nested errors as field → list, nested fields and items of lists by dotted names like `user_ids.3`."""
    if isinstance(detail, Mapping):
        children = [(str(key), value) for key, value in detail.items()]
    elif any(isinstance(each, (Mapping, list)) for each in detail):
        children = [(str(position), value) for position, value in enumerate(detail) if value]
    else:
        return {name: [str(sentence) for sentence in detail]}
    return {
        field: sentences
        for key, value in children
        for field, sentences in fields(value, f"{name}.{key}" if name else key).items()
    }


def problem_response(error: Exception, context: Mapping[str, Any]) -> HttpResponse:
    """DRF's exception handler: whatever a view raises is a problem."""
    problem = problem_of(error)
    if problem.code is Code.INTERNAL:
        log.error("view failed", exc_info=error)
    elif problem.code is Code.UNAVAILABLE:
        log.warning("answered unavailable", error=str(error.__cause__ or error))
    response = problem.response()
    view = context["view"]
    if problem.code.status == 401:
        scheme = view.get_authenticate_header(view.request) or 'Bearer realm="starledger"'
        invalid = problem.code is Code.INVALID_TOKEN and scheme.startswith("Bearer")
        response["WWW-Authenticate"] = f'{scheme}, error="invalid_token"' if invalid else scheme
    return response


# --- What Django answers itself: paths nobody serves, bad hosts, errors before a view ------------------------------


def is_api(request: HttpRequest) -> bool:
    return request.path.startswith(ADDRESSES)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return problem_of(exception).response() if is_api(request) else defaults.bad_request(request, exception)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    return Problem(Code.FORBIDDEN).response() if is_api(request) else defaults.permission_denied(request, exception)


@csrf_exempt  # or a POST to nowhere would be told, in HTML, that it lacks a token
def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """As `handler404`, and as the last view of the API's addresses, so that it holds while debugging too."""
    if is_api(request):
        return Problem(Code.NOT_FOUND).response()
    return defaults.page_not_found(request, exception or Http404())


def server_error(request: HttpRequest) -> HttpResponse:
    return problem_of(sys.exc_info()[1]).response() if is_api(request) else defaults.server_error(request)
