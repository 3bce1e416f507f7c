"""Who may do what. Nothing is open unless its view says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from config.api.authentication import Buyer, Program
from config.api.problems import Code, Problem
from entitlements import selectors
from entitlements.metrics import entitlement_denied
from entitlements.models import Scope

if TYPE_CHECKING:  # DRF's views read the settings, which name this module
    from rest_framework.views import APIView


class NobodyByDefault(BasePermission):
    """What a view has that names no permission."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return False


class IsBuyer(BasePermission):
    def has_permission(self, request: Request, view: APIView) -> bool:
        return isinstance(request.user, Buyer)


class HasScope(BasePermission):
    """A program whose API key has the `scope` that the view names."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        scope: Scope = view.scope  # type: ignore[attr-defined]
        return isinstance(request.user, Program) and scope in request.user.scopes


class EntitlementRequired(BasePermission):
    """A buyer with access to `entitlement`; one without is told so and counted."""

    entitlement: ClassVar[str]

    def has_permission(self, request: Request, view: APIView) -> bool:
        if not isinstance(request.user, Buyer):
            return False
        if not selectors.has_access(request.user.customer.user_id, self.entitlement):
            entitlement_denied.labels(self.entitlement).inc()
            raise Problem(Code.ENTITLEMENT_REQUIRED, entitlement=self.entitlement)
        return True


def requires_entitlement(code: str) -> type[EntitlementRequired]:
    """For a view that only those with access may call: `permission_classes = [requires_entitlement("gold")]`."""
    return type(f"Requires_{code}", (EntitlementRequired,), {"entitlement": code})
