"""Who may use what: asked by the buyer himself, or by the programs whose access is sold."""

from __future__ import annotations

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request

from config.api.formats import json_response, rfc3339
from config.api.views import BuyerView, ProgramView, checked
from entitlements import selectors
from entitlements.api.answers import holdings_answer
from entitlements.api.serializers import CheckedSerializer, CheckSerializer, HoldingsSerializer
from entitlements.models import Scope


class MyEntitlementsView(BuyerView):
    @extend_schema(operation_id="my_entitlements", responses=HoldingsSerializer)
    def get(self, request: Request) -> HttpResponse:
        """What I may use, and until when."""
        holdings = selectors.holdings(self.buyer.claims.sub)
        if not self.buyer.is_known_as(holdings.identity):
            holdings = selectors.holdings(self.buyer.customer.user_id)
        return holdings_answer(request, holdings)


class CustomerEntitlementsView(ProgramView):
    scope = Scope.ENTITLEMENTS_READ

    @extend_schema(operation_id="customer_entitlements", responses=HoldingsSerializer)
    def get(self, request: Request, user_id: str) -> HttpResponse:
        """What a customer may use, and until when. A user nobody has seen has nothing."""
        return holdings_answer(request, selectors.holdings(user_id))


class CheckView(ProgramView):
    scope = Scope.ENTITLEMENTS_READ

    @extend_schema(operation_id="check_entitlement", request=CheckSerializer, responses=CheckedSerializer)
    def post(self, request: Request) -> HttpResponse:
        """Which of up to 1000 users may use something."""
        question = checked(CheckSerializer, request)
        answer = selectors.check_many(question["entitlement"], question["user_ids"])
        return json_response({"server_time": rfc3339(answer.now), "active": answer.active})
