"""The reads of the API as a textbook writes them: ModelSerializers on the same tables, simplejwt for the tokens."""

from typing import Any, ClassVar

from django.db.models import Q, QuerySet
from django.urls import path
from django.utils import timezone
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from entitlements.models import Entitlement, Grant


class GrantSerializer(serializers.ModelSerializer[Grant]):
    class Meta:
        model = Grant
        fields: ClassVar = ["source", "plan_code", "granted_at", "ends_at", "revoked_at"]


class EntitlementSerializer(serializers.ModelSerializer[Entitlement]):
    active = serializers.SerializerMethodField()
    sources = serializers.SerializerMethodField()

    class Meta:
        model = Entitlement
        fields: ClassVar = ["code", "active", "active_until", "version", "sources"]

    def get_active(self, entitlement: Entitlement) -> bool:
        return entitlement.active_until is None or entitlement.active_until > timezone.now()

    def get_sources(self, entitlement: Entitlement) -> Any:
        grants = Grant.objects.filter(customer=entitlement.customer_id, entitlement=entitlement.code)
        return GrantSerializer(grants.order_by("granted_at"), many=True).data


class MyEntitlementsView(generics.ListAPIView[Entitlement]):
    serializer_class = EntitlementSerializer

    def get_queryset(self) -> QuerySet[Entitlement]:
        return Entitlement.objects.filter(customer=self.request.user)  # type: ignore[misc]


class QuestionSerializer(serializers.Serializer[Any]):
    entitlement = serializers.CharField(max_length=50)
    user_ids = serializers.ListField(child=serializers.CharField(max_length=255), max_length=1000)


class ActiveSerializer(serializers.ModelSerializer[Entitlement]):
    user_id = serializers.CharField(source="customer.user_id")

    class Meta:
        model = Entitlement
        fields: ClassVar = ["user_id", "active_until"]


class CheckView(APIView):
    def post(self, request: Request) -> Response:
        question = QuestionSerializer(data=request.data)
        question.is_valid(raise_exception=True)
        active = Entitlement.objects.filter(
            Q(active_until=None) | Q(active_until__gt=timezone.now()),
            code=question.validated_data["entitlement"],
            customer__user_id__in=question.validated_data["user_ids"],
        ).select_related("customer")
        return Response(ActiveSerializer(active, many=True).data)


urlpatterns = [
    path("api/v1/me/entitlements", MyEntitlementsView.as_view()),
    path("api/v1/entitlements/check", CheckView.as_view()),
]
