from datetime import UTC, datetime, timedelta

import pytest

from entitlements.models import IdempotencyKey, RateLimit
from entitlements.tasks import forget_old_requests


@pytest.mark.django_db
def test_what_was_noted_of_requests_is_forgotten_once_nobody_can_ask_for_it():
    for age in (timedelta(minutes=30), timedelta(days=2)):
        noted = datetime.now(UTC) - age
        RateLimit.objects.create(subject=f"{age}", updated_at=noted)
        IdempotencyKey.objects.create(caller="a", path="/", key=f"{age}", body_digest=b"", created_at=noted)

    forget_old_requests(timestamp=0)

    assert [limit.subject for limit in RateLimit.objects.all()] == ["0:30:00"]
    assert [kept.key for kept in IdempotencyKey.objects.all()] == ["0:30:00"]
