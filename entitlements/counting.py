"""How many customers have access by which plan: counted now and then, because it takes a look at all of them."""

from __future__ import annotations

from datetime import timedelta

from django.db import connection
from django.db.models import Count

from config.database import database_now, long_statements, retried
from entitlements.models import AccessCount, Entitlement


@retried
@long_statements(up_to=timedelta(minutes=2))
def count_access() -> None:
    """Count anew. Repeating it changes nothing but the time, and what has changed since."""
    now = database_now()
    with connection.cursor() as cursor:
        cursor.execute("LOCK TABLE entitlements_accesscount IN SHARE ROW EXCLUSIVE MODE")  # who reads it does not wait
    active = Entitlement.objects.active_at(now).with_plan().order_by()
    counts = active.values_list("code", "plan_code").annotate(customers=Count("pk"))  # type: ignore[misc]
    AccessCount.objects.all().delete()
    AccessCount.objects.bulk_create(
        AccessCount(entitlement=code, plan_code=plan_code, customers=customers, counted_at=now)
        for code, plan_code, customers in counts
    )
