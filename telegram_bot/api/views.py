"""Sign-in from a Mini App, and the checkout's rules for programs that ask."""

from __future__ import annotations

from datetime import UTC, datetime

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request

from config.api import tokens
from config.api.formats import json_response
from config.api.problems import Code, Problem
from config.api.views import OpenView, ProgramView, checked
from entitlements.models import Scope
from payments.checkout import CheckoutRefused, PreCheckout, validate_checkout
from telegram_bot import texts
from telegram_bot.api.serializers import (
    CheckoutSerializer,
    InitDataSerializer,
    SignedInSerializer,
    ValidatedSerializer,
)
from telegram_bot.api.sign_in import InvalidInitData, opener_of
from telegram_bot.handlers.people import customer_of


class ExchangeInitDataView(OpenView):
    problems = (Code.INVALID_TOKEN, Code.CUSTOMER_BLOCKED)

    @extend_schema(operation_id="exchange_initdata", request=InitDataSerializer, responses=SignedInSerializer)
    def post(self, request: Request) -> HttpResponse:
        """Exchange a Mini App's initData for a token of 15 minutes."""
        init_data = checked(InitDataSerializer, request)["init_data"]
        try:
            opener = opener_of(init_data, now=datetime.now(UTC))
        except InvalidInitData as error:
            raise Problem(Code.INVALID_TOKEN, "This init_data is not valid.") from error
        customer = customer_of(opener)
        if customer.blocked_at is not None:
            raise Problem(Code.CUSTOMER_BLOCKED)
        return json_response(
            {
                "access": tokens.issue(user_id=customer.user_id, telegram_user_id=opener.id),
                "expires_in": int(tokens.LIFETIME.total_seconds()),
                "user_id": customer.user_id,
                "telegram_user_id": opener.id,
            }
        )


class ValidateCheckoutView(ProgramView):
    scope = Scope.PAYMENTS_VALIDATE

    @extend_schema(operation_id="validate_checkout", request=CheckoutSerializer, responses=ValidatedSerializer)
    def post(self, request: Request) -> HttpResponse:
        """Whether a checkout would be let through, by the rules of the pre-checkout."""
        asked = checked(CheckoutSerializer, request)
        query = PreCheckout(
            query_id="",
            payload=asked["invoice_payload"],
            payer_telegram_id=asked["telegram_user_id"],
            amount=asked["total_amount"],
            currency=asked["currency"],
        )
        try:
            validate_checkout(query=query)
        except CheckoutRefused as refusal:
            with texts.speaking("en"):
                message = texts.checkout_refused(refusal.reason)
            return json_response({"ok": False, "reason": refusal.reason.value, "error_message": message})
        return json_response({"ok": True})
