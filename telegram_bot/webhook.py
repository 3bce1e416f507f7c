"""The webhook: one Update of Telegram per request."""

from __future__ import annotations

import hmac
from typing import Any

from django.conf import settings
from django.http import HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.views import APIView

from config.addresses import address_of, is_in
from config.api.problems import Code, Problem
from telegram_bot.receiving import NotStored, receive

PATH = "/api/v1/telegram/webhook"
LARGEST_BODY = 1024 * 1024
SECRET_HEADER = "X-Telegram-Bot-Api-Secret-Token"  # noqa: S105 - its name
SECRET_META = "HTTP_" + SECRET_HEADER.upper().replace("-", "_")


class TelegramWebhook(APIView):
    """Takes updates: 200 for whatever is stored, 503 when nothing could be, so that Telegram brings it again."""

    http_method_names = ["post"]
    authentication_classes = ()
    permission_classes = ()
    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Nothing: neither the format of the answer nor the caller depends on what DRF would look at here."""

    def post(self, request: Request) -> HttpResponseBase:
        if not (comes_from_an_allowed_address(request) and knows_a_secret(request)):
            raise Problem(Code.INVALID_TOKEN, "The secret of the webhook is missing or wrong.")
        body = read_body(request)
        try:
            answer = receive(body)
        except NotStored as error:
            raise Problem(Code.UNAVAILABLE, retry_after=error.retry_after) from error
        return HttpResponse() if answer is None else JsonResponse(answer)

    def get_authenticate_header(self, request: Request) -> str:
        return SECRET_HEADER


webhook = TelegramWebhook.as_view()


def knows_a_secret(request: Request) -> bool:
    """Whether the header is one of the secrets: two are accepted while they are rotated, none when none is set."""
    given = request.META.get(SECRET_META, "").encode(errors="replace")
    # Every secret is compared, so that the time tells nothing about which one came close.
    return sum(hmac.compare_digest(given, secret.encode()) for secret in settings.TELEGRAM_WEBHOOK_SECRETS) > 0


def comes_from_an_allowed_address(request: Request) -> bool:
    allowed = settings.TELEGRAM_IP_ALLOWLIST
    return not allowed or is_in(allowed, address_of(request))


def read_body(request: Request) -> bytes:
    """The body as it came, whatever its type or encoding claims to be.

    :raises Problem: too_large, before reading when the length is announced
    """
    announced = request.META.get("CONTENT_LENGTH")
    if announced and int(announced) > LARGEST_BODY:
        raise Problem(Code.TOO_LARGE)
    length = int(announced) if announced else LARGEST_BODY + 1  # unannounced: chunked, or none
    body: bytes = request.META["wsgi.input"].read(length)
    if len(body) > LARGEST_BODY:
        raise Problem(Code.TOO_LARGE)
    return body
