"""What these endpoints take and give. Answers are built by hand; their serializers are the documentation."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from config.api.fields import LARGEST_INTEGER, Integer, TelegramId, Text
from payments.checkout import Reason

LONGEST_INIT_DATA = 16_384  # characters; real ones have a few hundred


class InitDataSerializer(serializers.Serializer[Any]):
    init_data = Text(max_length=LONGEST_INIT_DATA, help_text="`window.Telegram.WebApp.initData`, as it is.")


class SignedInSerializer(serializers.Serializer[Any]):
    access = serializers.CharField(help_text="A JWT for `Authorization: Bearer`.")
    expires_in = serializers.IntegerField(help_text="Seconds.")
    user_id = serializers.CharField()
    telegram_user_id = serializers.IntegerField()


class CheckoutSerializer(serializers.Serializer[Any]):
    invoice_payload = Text(allow_blank=True)
    telegram_user_id = TelegramId()
    total_amount = Integer(min_value=-LARGEST_INTEGER, max_value=LARGEST_INTEGER)
    currency = Text(allow_blank=True, max_length=255)


class ValidatedSerializer(serializers.Serializer[Any]):
    ok = serializers.BooleanField()
    reason = serializers.ChoiceField([each.value for each in Reason], required=False)
    error_message = serializers.CharField(required=False, help_text="For the buyer, in English.")
