"""simplejwt with customers instead of Django's users."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework_simplejwt.authentication import JWTAuthentication
from rest_framework_simplejwt.exceptions import AuthenticationFailed
from rest_framework_simplejwt.tokens import Token

from entitlements.models import Customer

if TYPE_CHECKING:  # the views import this module
    from rest_framework.views import APIView


class CustomerAuthentication(JWTAuthentication):
    def get_user(self, validated_token: Token) -> Customer:  # type: ignore[override]
        try:
            return Customer.objects.get(user_id=validated_token["sub"])
        except Customer.DoesNotExist:
            raise AuthenticationFailed from None


class IsCustomer(BasePermission):
    def has_permission(self, request: Request, view: APIView) -> bool:
        return isinstance(request.user, Customer)
