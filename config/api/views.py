"""What all views of the API share: JSON in, JSON out, a body read once, and its fields checked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, cast

from django.http.response import HttpResponseBase
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.permissions import AllowAny
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.serializers import BaseSerializer
from rest_framework.views import APIView

from config.api import ratelimit
from config.api.authentication import ApiKeyAuthentication, BearerAuthentication, Buyer, Program
from config.api.permissions import HasScope, IsBuyer
from config.api.problems import Code, Problem
from entitlements.models import Scope


class FirstRenderer(BaseContentNegotiation):
    """Whatever `Accept` says, there is one form of each answer."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser | None:
        media_type = request.content_type.partition(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == media_type), None)

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        renderer = next(iter(renderers))
        return renderer, renderer.media_type


class ApiView(APIView):
    """`problems`: those an operation answers with beside the ones that follow from its method and credentials."""

    http_method_names = ["get", "head", "post"]
    content_negotiation_class = FirstRenderer
    problems: ClassVar[tuple[Code, ...]] = ()

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Nobody on the way keeps an answer, unless its view says for how long."""
        answer: HttpResponseBase = super().finalize_response(request, response, *args, **kwargs)
        answer.setdefault("Cache-Control", "no-store")
        return answer


class OpenView(ApiView):
    """For everybody. Who need not say who he is is counted by where he comes from."""

    permission_classes = [AllowAny]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        ratelimit.hit_by_stranger(request)
        super().initial(request, *args, **kwargs)


class BuyerView(ApiView):
    """For the bearer of a token."""

    authentication_classes = [BearerAuthentication]
    permission_classes = [IsBuyer]

    @property
    def buyer(self) -> Buyer:
        return cast(Buyer, self.request.user)


class ProgramView(ApiView):
    """For programs whose API key has the `scope`."""

    authentication_classes = [ApiKeyAuthentication]
    permission_classes = [HasScope]
    scope: ClassVar[Scope]

    @property
    def program(self) -> Program:
        return cast(Program, self.request.user)


def checked(serializer_class: type[BaseSerializer[Any]], request: Request) -> dict[str, Any]:
    """The fields of the body, as the serializer describes them.

    :raises Problem: `malformed` when the body is no JSON object
    :raises ValidationError: with the fields that are wrong
    """
    if not request.body:
        # To DRF an empty body is an empty form.
        raise Problem(Code.MALFORMED, "The body is empty.")
    serializer = serializer_class(data=request.data)
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)
