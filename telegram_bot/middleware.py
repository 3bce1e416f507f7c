"""Telegram's updates before everything else."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from django.core.handlers.wsgi import WSGIRequest
from django.db import close_old_connections

from config import requests
from telegram_bot.webhook import PATH, webhook

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class WebhookFirst:
    """WSGI middleware that hands an update to its view before Django's handler and all its middleware see it.

    So no session, throttle, ban or maintenance mode can ever come between a payment and its recording, and no payment
    pays for them either.
    """

    def __init__(self, application: WSGIApplication) -> None:
        self.application = application

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != PATH:
            return self.application(environ, start_response)
        request = WSGIRequest(environ)
        began = time.perf_counter()
        requests.bind_request(request)
        try:
            response = webhook(request)  # whatever happens in it: it answers
        finally:
            close_old_connections()
        requests.tell(request, status=response.status_code, began=began, area="telegram")
        start_response(f"{response.status_code} {response.reason_phrase}", list(response.items()))
        return [response.content]
