"""What Stripe and banks take, and bring back, is in the ledger beside the payment it was taken for."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction

from config.database import database_now
from payments.models import EventType, Notice, PaymentEvent
from payments.money import Money
from payments.revenue import Group, revenue
from payments.sandbox.account import DISPUTE_FEE, fee_of
from payments.selectors import payments_of
from payments.timeline import tell
from tests.books import faults_in_the_books
from tests.factories import PlanFactory
from tests.stripe.shop import by_stripe, club, quoted

pytestmark = pytest.mark.django_db(transaction=True)

FEE, RETURNED = EventType.STRIPE_FEE, EventType.STRIPE_RETURNED_FEE
DISPUTED, REINSTATED = EventType.STRIPE_DISPUTED, EventType.STRIPE_REINSTATED


def costs_of(payment: PaymentEvent) -> list[tuple[str, Money]]:
    """In the order in which they were recorded."""
    return [(cost.event_type, cost.money) for cost in payment.costs.order_by("received_at", "id")]


def proceeds() -> dict[str, int]:
    today = database_now().date()
    rows = revenue(first_day=today - timedelta(days=1), last_day=today)
    return {row.by[Group.CURRENCY]: row.proceeds for row in rows}


class TestTheFeeOfAPayment:
    def test_is_recorded_with_it(self, stripe):
        payment = stripe.sells(quoted())

        [fee] = payment.costs.all()
        [moved] = stripe.account.all("balance_transaction")
        assert (fee.event_type, fee.money, fee.event_id) == (FEE, Money(103, "GBP"), moved["id"])
        assert (fee.customer, fee.plan, fee.invoice) == (payment.customer, payment.plan, payment.invoice)
        assert moved["id"].encode() in bytes(fee.provider_record.body)
        assert proceeds() == {"GBP": 2500 - 103}
        assert faults_in_the_books() == []

    def test_told_again_is_recorded_once(self, stripe):
        payment = stripe.sells(quoted())
        completed = stripe.happened("checkout.session.completed")

        stripe.brings({**completed, "id": "evt_again"})
        stripe.works()

        assert payment.costs.count() == 1

    def test_of_a_renewal_is_recorded_too(self, stripe):
        stripe.sells(quoted(plan=club(), amount=900))
        [listed] = stripe.account.all("subscription")
        stripe.account.renew(listed["id"])

        stripe.tells()

        fees = PaymentEvent.objects.filter(event_type=FEE)
        assert [fee.amount for fee in fees] == [fee_of(900)] * 2
        assert {fee.cost_of for fee in fees} == set(PaymentEvent.objects.payments())
        assert faults_in_the_books() == []

    def test_comes_with_the_money_where_that_comes_later(self, stripe):
        stripe.account.captures_later = True
        payment = stripe.sells(quoted())
        assert costs_of(payment) == []

        stripe.account.capture(payment.event_id)
        stripe.tells()

        assert costs_of(payment) == [(FEE, Money(103, "GBP"))]
        assert faults_in_the_books() == []

    def test_that_comes_first_brings_its_payment(self, stripe):
        stripe.account.captures_later = True
        session = stripe.charges(quoted())
        stripe.account.capture(session["payment_intent"])

        stripe.brings(stripe.happened("charge.updated"))
        stripe.works()

        assert costs_of(PaymentEvent.objects.payments().get()) == [(FEE, Money(103, "GBP"))]

    def test_is_in_the_currency_of_the_balance(self, stripe):
        stripe.account.balance_in = "eur"

        payment = stripe.sells(quoted())

        assert costs_of(payment) == [(FEE, Money(51, "EUR"))]
        assert proceeds() == {"EUR": -51, "GBP": 2500}
        assert faults_in_the_books() == []

    def test_of_another_shop_is_left_alone(self, stripe):
        session = stripe.account.sell_something_else()
        stripe.account.capture(session["payment_intent"])

        stripe.tells()

        assert not PaymentEvent.objects.exists()

    def test_is_none_of_the_customers_business(self, stripe):
        payment = stripe.sells(quoted())

        assert list(payments_of(payment.customer.user_id)) == [payment]
        assert not Notice.objects.filter(event__cost_of=payment).exists()


class TestTheFeeOfARefund:
    def test_is_recorded_with_it_and_that_of_the_payment_stays(self, stripe):
        stripe.account.refund_fee = 20
        payment = stripe.sells(quoted())
        stripe.account.refund_in_dashboard(payment.event_id, 500)

        stripe.tells()

        assert costs_of(payment) == [(FEE, Money(103, "GBP")), (FEE, Money(20, "GBP"))]
        assert payment.refunds.given_back() == 500
        assert proceeds() == {"GBP": 2500 - 500 - 103 - 20}
        assert faults_in_the_books() == []

    def test_that_is_returned_is_one_less(self, stripe):
        stripe.account.refund_fee = -103
        payment = stripe.sells(quoted())
        stripe.account.refund_in_dashboard(payment.event_id)

        stripe.tells()

        assert costs_of(payment) == [(FEE, Money(103, "GBP")), (RETURNED, Money(103, "GBP"))]
        assert proceeds() == {"GBP": 0}

    def test_stays_where_the_refund_fails(self, stripe):
        stripe.account.refund_fee = 20
        payment = stripe.sells(quoted())
        refund = stripe.account.refund_in_dashboard(payment.event_id)
        stripe.tells()
        stripe.account.finish_refund(refund["id"], "failed")

        stripe.tells()

        assert proceeds() == {"GBP": 2500 - 103 - 20}
        assert faults_in_the_books() == []

    def test_counts_also_where_the_refund_never_succeeded(self, stripe):
        stripe.account.refund_fee = 20
        stripe.account.refund_outcome = "pending"
        payment = stripe.sells(quoted())
        refund = stripe.account.refund_in_dashboard(payment.event_id)
        stripe.account.finish_refund(refund["id"], "failed")

        stripe.tells()

        assert proceeds() == {"GBP": 2500 - 103 - 20}
        assert not payment.refunds.exists()


class TestADispute:
    def test_takes_the_payment_and_a_fee(self, stripe):
        payment = stripe.sells(quoted())
        stripe.account.dispute(payment.event_id)

        stripe.tells()

        assert sorted(costs_of(payment)[1:]) == [(FEE, Money(DISPUTE_FEE, "GBP")), (DISPUTED, payment.money)]
        assert proceeds() == {"GBP": -103 - DISPUTE_FEE}
        assert faults_in_the_books() == []

    def test_that_is_won_brings_both_back(self, stripe):
        payment = stripe.sells(quoted())
        told = stripe.account.dispute(payment.event_id)
        stripe.tells()
        stripe.account.close_dispute(told["id"], "won")

        stripe.tells()

        kinds = {kind for kind, _ in costs_of(payment)}
        assert kinds == {FEE, RETURNED, DISPUTED, REINSTATED}
        assert payment.costs.count() == 5
        assert proceeds() == {"GBP": 2500 - 103}
        assert faults_in_the_books() == []

    def test_that_is_lost_brings_nothing_back(self, stripe):
        payment = stripe.sells(quoted())
        stripe.account.close_dispute(stripe.account.dispute(payment.event_id)["id"], "lost")

        stripe.tells()

        assert proceeds() == {"GBP": -103 - DISPUTE_FEE}

    def test_that_is_only_asked_about_takes_nothing(self, stripe):
        payment = stripe.sells(quoted())
        stripe.account.dispute(payment.event_id, inquiry=True)

        stripe.tells()

        assert proceeds() == {"GBP": 2500 - 103}

    def test_told_in_the_wrong_order_and_twice_takes_once(self, stripe):
        payment = stripe.sells(quoted())
        stripe.account.close_dispute(stripe.account.dispute(payment.event_id)["id"], "won")
        events = stripe.account.events[stripe.brought :]

        stripe.brings(*reversed(events))
        stripe.works()
        stripe.brings(*({**event, "id": f"{event['id']}_again"} for event in events))
        stripe.works()

        assert proceeds() == {"GBP": 2500 - 103}
        assert payment.costs.count() == 5

    def test_is_of_the_payments_own_money_whatever_the_balance_has(self, stripe):
        stripe.account.balance_in = "eur"
        payment = stripe.sells(quoted())
        stripe.account.dispute(payment.event_id)

        stripe.tells()

        assert proceeds() == {"EUR": -51 - DISPUTE_FEE // 2, "GBP": 0}
        assert faults_in_the_books() == []

    def test_is_told_in_the_story_of_the_payment(self, stripe):
        payment = stripe.sells(quoted())
        stripe.account.close_dispute(stripe.account.dispute(payment.event_id)["id"], "won")
        stripe.tells()

        words = [entry.what for entry in tell(payment)]

        for told in (
            "£1.03: fee of Stripe",
            "£25.00: taken back by the bank",
            "£15.00: fee of Stripe",
            "£25.00: brought back by the bank",
            "£15.00: fee returned by Stripe",
        ):
            assert words.count(told) == 1


def test_only_a_cost_is_the_cost_of_a_payment(stripe):
    payment = stripe.sells(quoted())
    other = stripe.sells(quoted(plan=by_stripe(PlanFactory(code="silver", entitlement="silver"))))

    with pytest.raises(IntegrityError, match="payment_event_only_costs_cost"), transaction.atomic():
        PaymentEvent.objects.create(
            event_id="pi_odd",
            event_type=EventType.STRIPE_PAYMENT,
            payment_method="stripe",
            customer=payment.customer,
            amount=1,
            currency="GBP",
            status="processed",
            origin="webhook",
            occurred_at=other.occurred_at,
            received_at=other.received_at,
            cost_of=payment,
        )
