"""What the entitlement endpoints take and give. Answers are built by hand; their serializers are the documentation."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from config.api.fields import Text

MOST_USER_IDS = 1000
LONGEST_USER_ID = 255


@extend_schema_field(
    {
        "type": "array",
        "items": {"type": "string", "minLength": 1, "maxLength": LONGEST_USER_ID},
        "maxItems": MOST_USER_IDS,
    }
)
class UserIds(serializers.Field[Any, Any, Any, Any]):
    """A list of user_ids, checked as a whole: a field per item would cost more than the question it asks."""

    default_error_messages = {
        "not_a_list": "Must be a list of strings.",
        "too_many": f"Must not hold more than {MOST_USER_IDS} user_ids.",
        "not_user_ids": f"Each must be a string of 1 to {LONGEST_USER_ID} characters, without NUL.",
    }

    def to_internal_value(self, data: Any) -> list[str]:
        if not isinstance(data, list):
            self.fail("not_a_list")
        if len(data) > MOST_USER_IDS:
            self.fail("too_many")
        if not all(isinstance(each, str) and 0 < len(each) <= LONGEST_USER_ID for each in data):
            self.fail("not_user_ids")
        if not is_storable("".join(data)):
            self.fail("not_user_ids")
        return data


def is_storable(text: str) -> bool:
    """Whether PostgreSQL can hold it: no NUL, no lone surrogate."""
    try:
        return b"\x00" not in text.encode()
    except UnicodeEncodeError:
        return False


class CheckSerializer(serializers.Serializer[Any]):
    entitlement = Text(max_length=50)
    user_ids = UserIds()


class CheckedSerializer(serializers.Serializer[Any]):
    server_time = serializers.DateTimeField()
    active = serializers.DictField(
        child=serializers.DateTimeField(allow_null=True),
        help_text="Those with access: user_id → the end of it, null for life.",
    )


class SourceSerializer(serializers.Serializer[Any]):
    source = serializers.CharField(  # type: ignore[assignment]
        help_text="`<payment_method>:<charge id>` or `staff:<id>`."
    )
    plan_code = serializers.CharField()
    granted_at = serializers.DateTimeField()
    ends_at = serializers.DateTimeField(allow_null=True, help_text="Where access ended after it; null: for life.")
    revoked_at = serializers.DateTimeField(allow_null=True)


class EntitlementSerializer(serializers.Serializer[Any]):
    entitlement = serializers.CharField()
    plan_code = serializers.CharField()
    active = serializers.BooleanField()
    granted_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True, help_text="Null: for life.")
    will_renew = serializers.BooleanField()
    features = serializers.DictField()
    sources = SourceSerializer(many=True)


class HoldingsSerializer(serializers.Serializer[Any]):
    user_id = serializers.CharField()
    server_time = serializers.DateTimeField()
    version = serializers.IntegerField(help_text="Grows with each grant and revocation of the customer.")
    entitlements = EntitlementSerializer(many=True)
