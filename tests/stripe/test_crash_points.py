"""T02 for Stripe: the process dies at every boundary of its SQL and of its calls, and the books are right."""

from collections.abc import Callable

import pytest

from config.database import database_now
from payments import refunding
from payments.models import PaymentEvent, Refund, RefundStatus, StripeEvent
from payments.refunding import request_refund
from payments.stripe import processing
from tests.books import faults_in_the_books
from tests.faults.crashing import boundaries, die_at
from tests.payments.test_refunding import pursue
from tests.stripe.shop import Shop, quoted

pytestmark = pytest.mark.django_db(transaction=True)

Flow = Callable[[Shop], Callable[[], object]]
TRIES_AFTERWARDS = 3


def refund_before_its_payment(stripe: Shop):
    """Both are recorded."""
    session = stripe.charges(quoted())
    stripe.account.refund_in_dashboard(session["payment_intent"])
    return process(stripe, "charge.refunded")


def part_given_back_by_our_call(stripe: Shop):
    paid = stripe.sells(quoted())
    refund = request_refund(payment_id=paid.pk, amount=1000, reason="He asked.", requested_by="api:shop")
    return lambda: refunding.pursue(refund_id=refund.pk)


def process(stripe: Shop, kind: str):
    stripe.brings(stripe.happened(kind))
    event = StripeEvent.objects.latest("pk")
    return lambda: processing.process(event_pk=event.pk)


def workers_go_on() -> None:
    """Until nothing is left to be done, some time later."""
    for _ in range(TRIES_AFTERWARDS):
        StripeEvent.objects.filter(status="pending").update(next_attempt_at=database_now())
        for event in StripeEvent.objects.filter(status="pending"):
            processing.process(event_pk=event.pk)
        for refund in Refund.objects.under_way():
            pursue(refund)


@pytest.mark.parametrize(
    "flow",
    [refund_before_its_payment, part_given_back_by_our_call],
    ids=["refund before its payment", "part given back by our call"],
)
def test_dying_at_any_boundary_loses_and_doubles_nothing(stripe, flow):
    total = boundaries(flow(stripe))

    for boundary in range(total):
        die_at(boundary, flow(stripe))
    workers_go_on()

    assert faults_in_the_books() == []
    assert not StripeEvent.objects.exclude(status="done").exists()
    assert not Refund.objects.exclude(status=RefundStatus.CONFIRMED).exists()
    assert PaymentEvent.objects.count() == 3 * (total + 1)  # the payment, its fee and its refund
    assert len(stripe.account.all("refund")) == PaymentEvent.objects.refunds().count()
