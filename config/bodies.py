"""How much anybody may send us at once."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from config.api.problems import Code, Problem, is_api


class BodyLimit:
    """Middleware: a body that is announced as larger than `DATA_UPLOAD_MAX_MEMORY_SIZE` is refused before it is read.

    Whoever would read it: Django's own limit leaves out files in forms, which anybody could fill the disk with. A body
    that is not announced is not read at all.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        try:
            announced = int(request.META.get("CONTENT_LENGTH") or 0)
        except ValueError:
            announced = -1
        if announced < 0:
            return _refusal(request, Code.MALFORMED)
        if announced > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            return _refusal(request, Code.TOO_LARGE)
        return self.get_response(request)


def _refusal(request: HttpRequest, code: Code) -> HttpResponse:
    if is_api(request):
        return Problem(code).response()
    return HttpResponse(f"{code.title}.\n", status=code.status, content_type="text/plain")
