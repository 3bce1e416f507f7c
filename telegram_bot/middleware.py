"""Telegram's updates before everything else."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from config.logging import bind_request_id
from telegram_bot.webhook import PATH, webhook


class WebhookFirst:
    """Hand an update to its view before any other middleware sees it.

    So no session, throttle, ban or maintenance mode can ever come between a payment and its recording.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info == PATH:
            bind_request_id(request)
            return webhook(request)
        return self.get_response(request)
