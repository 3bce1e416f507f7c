"""What a payment cost beside what was given back of it."""

from __future__ import annotations

from collections.abc import Iterable

import structlog
from django.db import transaction

from config.database import database_now, retried
from entitlements.models import Customer
from payments.channels.base import Cost
from payments.models import EventStatus, Origin, PaymentEvent
from payments.recording import ledger

logger = structlog.get_logger(__name__)


@retried
@transaction.atomic
def record_costs(payment: PaymentEvent, costs: Iterable[Cost], *, origin: Origin) -> None:
    """Record what a payment cost beside what was given back of it; repeating it changes nothing."""
    Customer.objects.locked().get(pk=payment.customer_id)
    book_costs(payment, costs, origin=origin)


def book_costs(payment: PaymentEvent | None, costs: Iterable[Cost], *, origin: Origin) -> None:
    """Append to the ledger what of these it has not; the caller holds the customer's lock."""
    if payment is None or not costs:
        return
    booked = set(payment.costs.values_list("event_id", "event_type"))
    for cost in costs:
        if (cost.cost_id, cost.event_type) not in booked:
            _book_cost(payment, cost, origin=origin)


def _book_cost(payment: PaymentEvent, cost: Cost, *, origin: Origin) -> None:
    now = database_now()
    ledger.write(
        cost.raw,
        event_id=cost.cost_id,
        event_type=cost.event_type,
        payment_method=payment.payment_method,
        customer=payment.customer,
        invoice=payment.invoice,
        plan=payment.plan,
        amount=cost.money.amount,
        currency=cost.money.currency,
        status=EventStatus.PROCESSED,
        origin=origin,
        occurred_at=min(cost.occurred_at, now),
        received_at=now,
        reference=payment.reference,
        cost_of=payment,
    )
    logger.info(
        "cost recorded",
        what=str(cost.event_type),
        user_id=payment.customer.user_id,
        plan_code=payment.plan_id,
        amount=cost.money.amount,
        currency=cost.money.currency,
        payment_id=str(payment.pk),
        origin=origin,
    )
