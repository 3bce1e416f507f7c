"""The addresses of the entitlement endpoints."""

from django.urls import path

import config.api.converters  # noqa: F401 - for the addresses with a user_id
from entitlements.api.views import CheckView, CustomerEntitlementsView, MyEntitlementsView

urlpatterns = [
    path("api/v1/me/entitlements", MyEntitlementsView.as_view()),
    path("api/v1/customers/<user_id:user_id>/entitlements", CustomerEntitlementsView.as_view()),
    path("api/v1/entitlements/check", CheckView.as_view()),
]
