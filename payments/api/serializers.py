"""What the payment endpoints take and give. Answers are built by hand; their serializers are the documentation."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from rest_framework import serializers

from config.api.fields import Amount, Currency, Day, Text, UserId, Word, Words
from config.database import database_now
from payments.invoicing import Delivery
from payments.models import PaymentMethod, RefundStatus
from payments.models.ledger import FAILED_REFUNDS, PAYMENTS, REFUNDS
from payments.revenue import Group
from payments.selectors import PaymentStatus

LONGEST_CHARGE_ID = 512  # characters; longer than any seen, and short enough for an index
LONGEST_CODE = 255
MOST_DAYS = 3_660  # ten years of revenue in one answer
DAYS_BY_DEFAULT = 30

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


class RefundRequestSerializer(serializers.Serializer[Any]):
    reason = Text(max_length=1000)
    amount = Amount(
        required=False, help_text="Of what was paid by Stripe; all of it by default, and always so of Stars."
    )


class RevenueQuerySerializer(serializers.Serializer[Any]):
    """`from` and `to` become `first_day` and `last_day`."""

    to = Day(required=False, source="last_day", help_text="The last day, in UTC; today when left out.")
    group_by = Words(
        Group, required=False, default=(), help_text="Any of these, with commas between; `currency` is always included."
    )

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        first_day = Day(
            required=False, source="first_day", help_text=f"The first day; {DAYS_BY_DEFAULT} days in all when left out."
        )
        return {"from": first_day, **super().get_fields()}  # a field cannot be named by a keyword of Python

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        last_day = attrs.setdefault("last_day", database_now().date())
        span = last_day - attrs.setdefault("first_day", last_day - timedelta(days=DAYS_BY_DEFAULT - 1))
        if span < timedelta():
            raise serializers.ValidationError({"from": [f"Must not be after `to`, which is {last_day}."]})
        if span >= timedelta(days=MOST_DAYS):
            raise serializers.ValidationError({"from": [f"Must be within {MOST_DAYS} days of `to`."]})
        return attrs


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


class BillingPortalSerializer(serializers.Serializer[Any]):
    portal_link = serializers.URLField()


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
    event_type = serializers.ChoiceField([each.value for each in (*REFUNDS, *FAILED_REFUNDS)])
    amount = serializers.IntegerField()
    currency = serializers.CharField()
    occurred_at = serializers.DateTimeField()


class OnePaymentSerializer(PaymentSerializer):
    refunds = RefundSerializer(many=True)


class RevenueRowSerializer(serializers.Serializer[Any]):
    """The first four are there when they are grouped by."""

    day = serializers.DateField(required=False)
    month = serializers.RegexField(r"^[0-9]{4}-[0-9]{2}$", required=False)
    plan_code = serializers.CharField(required=False, allow_null=True, help_text="Null: payments without a plan.")
    payment_method = serializers.ChoiceField(PaymentMethod.values, required=False)
    currency = serializers.CharField()
    gross = serializers.IntegerField(help_text="In the currency's smallest unit, as the other five.")
    refunded = serializers.IntegerField()
    net = serializers.IntegerField(help_text="Gross less refunded.")
    disputed = serializers.IntegerField(help_text="Taken back by banks, and not brought back.")
    fees = serializers.IntegerField(help_text="Of Stripe, in the currency in which they were taken.")
    proceeds = serializers.IntegerField(help_text="Net less disputed and fees.")
    payments = serializers.IntegerField()
    refunds = serializers.IntegerField()


class RevenueSerializer(serializers.Serializer[Any]):
    results = RevenueRowSerializer(many=True)


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


class RequestedRefundSerializer(serializers.Serializer[Any]):
    refund_id = serializers.UUIDField()
    status = serializers.ChoiceField([RefundStatus.REQUESTED.value])


class RefundIntentSerializer(serializers.Serializer[Any]):
    refund_id = serializers.UUIDField()
    payment_id = serializers.UUIDField()
    status = serializers.ChoiceField(
        [status.value for status in RefundStatus if status not in {RefundStatus.PROPOSED, RefundStatus.DECLINED}]
    )
    reason = serializers.CharField()
    detail = serializers.CharField(allow_blank=True, help_text="How it stands, in plain words.")
    confirmed_at = serializers.DateTimeField(allow_null=True)
