"""The webhook of Stripe: one event per request."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.views import APIView

from config.api.problems import Code, Problem
from payments.channels.stripe import BadSignature, is_set_up
from payments.stripe.receiving import NotStored, receive


class StripeWebhook(APIView):
    """Takes events: 200 for whatever is stored, 503 when it could not be, so that Stripe brings it again."""

    http_method_names = ["post"]
    authentication_classes = ()
    permission_classes = ()
    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Where nothing is sold by Stripe there is nothing here. What DRF would look at decides about nothing."""
        if not is_set_up():
            raise Problem(Code.NOT_FOUND)

    def post(self, request: Request) -> HttpResponse:
        try:
            receive(request.body, signature=request.META.get("HTTP_STRIPE_SIGNATURE", ""))
        except BadSignature as error:
            raise Problem(Code.MALFORMED, "The signature is missing, wrong or too old.") from error
        except NotStored as error:
            raise Problem(Code.UNAVAILABLE) from error
        return HttpResponse()


webhook = StripeWebhook.as_view()
