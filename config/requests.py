"""Requests, told and counted: one line in the log for each, and their number and duration for Prometheus."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable

import structlog
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from prometheus_client import Counter, Histogram
from structlog.contextvars import bind_contextvars, clear_contextvars

from config.addresses import address_of
from config.logging import milliseconds_since

SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
AREAS = {"api": "api", "webhook": "api", "admin": "admin"}  # by the first word of the path
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

REQUESTS = Counter("starledger_requests", "Requests answered, by the part of the house and status.", ["area", "status"])
REQUEST_SECONDS = Histogram(
    "starledger_request_seconds", "How long requests took, by the part of the house.", ["area"], buckets=BUCKETS
)

log = structlog.get_logger("request")


def bind_request(request: HttpRequest) -> str:
    """Give every line of this request its id, the caller's when it is a plain word, and the address it comes from.

    Returns the id.
    """
    given = request.META.get("HTTP_X_REQUEST_ID", "")
    request_id = given if SANE_REQUEST_ID.fullmatch(given) else secrets.token_hex(16)
    clear_contextvars()
    bind_contextvars(request_id=request_id, address=address_of(request))
    return request_id


def tell(request: HttpRequest, *, status: int, began: float, area: str) -> None:
    """Log and count a request that was answered: without its query string, headers and body, but with all that was
    bound to its lines meanwhile, such as the customer.

    :param began: by `time.perf_counter`
    """
    REQUESTS.labels(area, status).inc()
    REQUEST_SECONDS.labels(area).observe(time.perf_counter() - began)
    log.info("request", method=request.method, path=request.path, status=status, duration_ms=milliseconds_since(began))
    clear_contextvars()


class RequestLog:
    """Middleware: tells of each request; its id is in every line of it and in the answer."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        began = time.perf_counter()
        request_id = bind_request(request)
        response = self.get_response(request)
        response["X-Request-ID"] = request_id
        area = AREAS.get(request.path.partition("/")[2].partition("/")[0], "other")
        tell(request, status=response.status_code, began=began, area=area)
        return response
