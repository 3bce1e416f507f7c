"""T02: the process dies at every boundary of what staff ordered of a subscription, and it is done and told once."""

import pytest
from django.contrib.auth.models import User

from config.database import database_now
from payments.models import Order, SubscriptionOrder
from payments.money import Money
from payments.subscription_orders import order_by_staff, pursue
from tests.books import faults_in_the_books
from tests.factories import InvoiceFactory, PlanFactory
from tests.faults.crashing import boundaries, die_at
from tests.payments.test_cancelling import record

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def new_order(telegram):
    dana = User.objects.create_superuser("dana")
    plan = PlanFactory(code="club", recurring=True, prices=[Money(500, "XTR")])

    def order() -> SubscriptionOrder:
        payment = record(telegram, telegram.charges(InvoiceFactory(plan=plan)))
        subscription = payment.subscription_payment.subscription
        return order_by_staff(subscription=subscription, what=Order.CANCEL, staff=dana, reason="He asked us to.")

    return order


# The local Telegram lives in a thread of this process, and no lock of Python's is held by it for long.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_dying_at_any_boundary_has_it_done_and_told_once(telegram, new_order):
    first = new_order()
    for boundary in range(boundaries(lambda: pursue(order_id=first.pk))):
        order = new_order()
        die_at(boundary, lambda order=order: pursue(order_id=order.pk))

        SubscriptionOrder.objects.open().update(next_attempt_at=database_now())  # its lease is over
        pursue(order_id=order.pk)

        order.refresh_from_db()
        assert order.done_at is not None, boundary
        assert list(order.subscription.changes.order_by("pk").values_list("state", flat=True)) == ["active", "canceled"]
    assert all(each.canceled_by_bot for each in telegram.truth.subscriptions)
    assert faults_in_the_books() == []
