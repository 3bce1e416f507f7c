"""What the payment endpoints take and give. Answers are built by hand; their serializers are the documentation."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from config.api.fields import Amount, Currency, Text, UserId, Word
from payments.invoicing import Delivery
from payments.models import EventType, PaymentMethod
from payments.models.ledger import PAYMENTS
from payments.selectors import PaymentStatus

LONGEST_CHARGE_ID = 512  # characters; longer than any seen, and short enough for an index
LONGEST_CODE = 255

# --- Taken ----------------------------------------------------------------------------------------------------------


class OrderSerializer(serializers.Serializer[Any]):
    plan_code = Text(max_length=LONGEST_CODE)
    currency = Currency(required=False)
    payment_method = Word(PaymentMethod.values, required=False)
    delivery = Word([each.value for each in Delivery], default=Delivery.CHAT.value)


class PaymentReportSerializer(serializers.Serializer[Any]):
    user_id = UserId()
    entitlement_type = Text(max_length=LONGEST_CODE, help_text="A plan code.")
    invoice_id = Text(required=False, allow_blank=True, max_length=LONGEST_CODE, help_text="Ours, or your reference.")
    telegram_payment_charge_id = Text(max_length=LONGEST_CHARGE_ID)
    provider_payment_charge_id = Text(required=False, allow_blank=True, max_length=LONGEST_CHARGE_ID)
    total_amount = Amount()
    currency = Currency()


class RefundReportSerializer(serializers.Serializer[Any]):
    user_id = UserId()
    entitlement_type = Text(max_length=LONGEST_CODE, help_text="A plan code.")
    telegram_payment_charge_id = Text(max_length=LONGEST_CHARGE_ID)
    refund_reason = Text(max_length=1000)


# --- Given ----------------------------------------------------------------------------------------------------------


class PriceSerializer(serializers.Serializer[Any]):
    amount = serializers.IntegerField(help_text="In the currency's smallest unit.")
    currency = serializers.CharField()
    payment_method = serializers.ChoiceField(PaymentMethod.values)


class PlanSerializer(serializers.Serializer[Any]):
    plan_code = serializers.CharField()
    title = serializers.CharField()
    description = serializers.CharField()
    entitlement = serializers.CharField()
    features = serializers.DictField()
    duration_days = serializers.IntegerField(allow_null=True, help_text="Null: for life.")
    recurring = serializers.BooleanField()
    prices = PriceSerializer(many=True)


class CatalogSerializer(serializers.Serializer[Any]):
    plans = PlanSerializer(many=True)


class SentInvoiceSerializer(serializers.Serializer[Any]):
    invoice_id = serializers.UUIDField()
    plan_code = serializers.CharField()
    amount = serializers.IntegerField()
    currency = serializers.CharField()
    payment_method = serializers.ChoiceField(PaymentMethod.values)
    delivery = serializers.ChoiceField([each.value for each in Delivery])
    invoice_link = serializers.URLField(allow_null=True)
    message_id = serializers.IntegerField(allow_null=True)
    expires_at = serializers.DateTimeField()


class PaymentSerializer(serializers.Serializer[Any]):
    payment_id = serializers.UUIDField()
    event_type = serializers.ChoiceField([each.value for each in PAYMENTS])
    plan_code = serializers.CharField(allow_null=True)
    amount = serializers.IntegerField()
    currency = serializers.CharField()
    payment_method = serializers.ChoiceField(PaymentMethod.values)
    status = serializers.ChoiceField([each.value for each in PaymentStatus])
    occurred_at = serializers.DateTimeField()
    refunded_at = serializers.DateTimeField(allow_null=True)


class PaymentPageSerializer(serializers.Serializer[Any]):
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = PaymentSerializer(many=True)


class RefundSerializer(serializers.Serializer[Any]):
    event_type = serializers.ChoiceField(EventType.values)
    amount = serializers.IntegerField()
    currency = serializers.CharField()
    occurred_at = serializers.DateTimeField()


class OnePaymentSerializer(PaymentSerializer):
    refunds = RefundSerializer(many=True)


class RecordedPaymentSerializer(serializers.Serializer[Any]):
    status = serializers.ChoiceField(["processed", "duplicate", "held"])
    payment_id = serializers.UUIDField()


class RecordedRefundSerializer(serializers.Serializer[Any]):
    status = serializers.ChoiceField(["processed", "duplicate", "held"])


class StepSerializer(serializers.Serializer[Any]):
    at = serializers.DateTimeField()
    what = serializers.ChoiceField(["granted", "revoked"])
    source = serializers.CharField()  # type: ignore[assignment]
    effect_on_end = serializers.DateTimeField(allow_null=True, help_text="Where access ended after it; null: for life.")
    payment_id = serializers.UUIDField(allow_null=True)


class ExplanationSerializer(serializers.Serializer[Any]):
    entitlement = serializers.CharField()
    active = serializers.BooleanField()
    expires_at = serializers.DateTimeField(allow_null=True, help_text="Null: for life, or never had.")
    steps = StepSerializer(many=True)
