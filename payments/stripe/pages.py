"""Where Stripe's pages lead back to. They say nothing of who was there: what was paid is said in the chat."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import get_language_from_request
from django.views.decorators.http import require_safe

from payments.channels.stripe import is_set_up

WORDS = {
    "en": {
        "done": ("Thank you", "You can close this page and go back to Telegram. What you paid for is confirmed there."),
        "left": ("Nothing was charged", "You can close this page and go back to Telegram."),
    },
    "ru": {
        "done": ("Спасибо", "Закройте эту страницу и вернитесь в Telegram: там придёт подтверждение оплаты."),
        "left": ("Ничего не списано", "Закройте эту страницу и вернитесь в Telegram."),
    },
}


@require_safe
def back(request: HttpRequest, how: str) -> HttpResponse:
    """
    :param how: `done` after a payment, `left` without one
    """
    if not is_set_up():
        raise Http404
    language = get_language_from_request(request)
    heading, words = WORDS[language][how]
    return render(request, "pay/stripe.html", {"language": language, "heading": heading, "words": words})
