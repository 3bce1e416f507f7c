"""T06 for Stripe: two workers at the same money, in every order of their statements, leave the same books."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from entitlements.models import CustomerQuerySet
from payments.models import Notice, PaymentEvent, WhenActive
from payments.models.ledger import FEES
from payments.stripe import processing, refunds
from tests.books import faults_in_the_books
from tests.factories import PlanFactory
from tests.faults.interleaving import Choice, Operation, Turn, every_order, stage
from tests.stripe.shop import Shop, by_stripe, club, quoted

pytestmark = pytest.mark.django_db(transaction=True)

INTERRUPTIONS, ORDERS, ORDERS_TO_FIND_ONE = 2, 4, 80


@dataclass(frozen=True, slots=True)
class Meeting:
    """Two operations, and how many lines of the ledger come of both whatever their order."""

    first: Operation
    second: Operation
    ledger: int


def acts(kind: str, thing: dict) -> Operation:
    return lambda: processing.act(kind, thing)


def one_payment_told_twice(stripe: Shop) -> Meeting:
    session = stripe.charges(quoted())
    told = acts("checkout.session.completed", session)
    return Meeting(told, told, ledger=1)


def a_payment_and_its_refund(stripe: Shop) -> Meeting:
    session = stripe.charges(quoted())
    stripe.account.refund_in_dashboard(session["payment_intent"])
    charge = stripe.happened("charge.refunded")["data"]["object"]
    return Meeting(acts("checkout.session.completed", session), acts("charge.refunded", charge), ledger=2)


def a_refund_by_our_call_and_by_its_event(stripe: Shop) -> Meeting:
    paid = stripe.sells(quoted())
    stripe.account.refund_in_dashboard(paid.event_id, 1000)
    charge = stripe.happened("charge.refunded")["data"]["object"]
    ours = lambda: refunds.bring_up_to_date(paid, origin="api")  # noqa: E731 - as the other operations are
    return Meeting(ours, acts("charge.refunded", charge), ledger=2)


def two_payments(stripe: Shop) -> Meeting:
    """For what may be bought again and again, each by an invoice of its own."""
    first = quoted(plan=by_stripe(PlanFactory(code="gold_more", when_active=WhenActive.EXTEND)))
    sessions = [stripe.charges(each) for each in (first, quoted(customer=first.customer, plan=first.plan))]
    told = [acts("checkout.session.completed", session) for session in sessions]
    return Meeting(*told, ledger=2)


def two_renewals(stripe: Shop) -> Meeting:
    stripe.sells(quoted(plan=club(), amount=900))
    name = stripe.account.all("subscription")[0]["id"]
    first, second = stripe.account.renew(name), stripe.account.renew(name)
    return Meeting(acts("invoice.paid", first), acts("invoice.paid", second), ledger=3)


@pytest.mark.parametrize(
    "meet",
    [
        one_payment_told_twice,
        a_payment_and_its_refund,
        a_refund_by_our_call_and_by_its_event,
        two_payments,
        two_renewals,
    ],
)
def test_in_every_order_the_books_are_right(stripe, meet: Callable[[Shop], Meeting]):
    assert list(faults(stripe, meet, orders=ORDERS)) == []


def test_without_the_customers_lock_they_would_not_be(stripe, monkeypatch):
    monkeypatch.setattr(CustomerQuerySet, "locked", lambda customers: customers)

    assert next(faults(stripe, two_payments, orders=ORDERS_TO_FIND_ONE), None) is not None


def faults(stripe: Shop, meet: Callable[[Shop], Meeting], *, orders: int) -> Iterator[str]:
    """What is wrong after each order of a meeting in which anything is."""
    met, lines = False, 0
    with stage() as actors:

        def once(choose: Choice) -> list[Turn]:
            nonlocal lines
            meeting = meet(stripe)
            lines += meeting.ledger
            return actors.play((meeting.first, meeting.second), choose)

        for turns in every_order(once, interruptions=INTERRUPTIONS, at_most=orders, seed=6):
            met |= len({turn.taken for turn in turns}) == 2
            yield from actors.errors()
            money, fees = PaymentEvent.objects.filter(cost_of=None), PaymentEvent.objects.filter(event_type__in=FEES)
            for what, there in (("lines", money.count()), ("messages", Notice.objects.count())):
                if there != lines:
                    yield f"{there} {what} instead of {lines}"
            if fees.count() != money.payments().count():
                yield f"{fees.count()} fees of {money.payments().count()} payments"
            yield from faults_in_the_books()
    assert met, "they never met"
