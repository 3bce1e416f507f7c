"""Events of payments: whatever is said, what Stripe has is recorded, once, and given."""

from datetime import timedelta

import pytest

from config.database import database_now
from entitlements.models import Entitlement, Grant
from payments.channels.base import ChannelError
from payments.models import (
    Hold,
    HoldReason,
    Invoice,
    Notice,
    PaymentEvent,
    Refund,
    StripeEvent,
    WhenActive,
)
from payments.stripe import inbox, recovering
from payments.stripe.processing import LOOKS
from payments.stripe.timeline import tell
from tests.books import faults_in_the_books
from tests.factories import PlanFactory
from tests.stripe.shop import by_stripe, quoted

pytestmark = pytest.mark.django_db(transaction=True)


class TestAPayment:
    def test_is_recorded_with_all_it_entails(self, stripe):
        invoice = quoted()

        payment = stripe.sells(invoice)

        assert (payment.money, payment.status, payment.customer, payment.invoice, payment.payment_method) == (
            invoice.price,
            "processed",
            invoice.customer,
            invoice,
            "stripe",
        )
        assert payment.event_id.startswith("pi_")
        grant = Grant.objects.get()
        assert (grant.source, grant.granted_at) == (f"stripe:{payment.event_id}", payment.occurred_at)
        assert Invoice.objects.get().status == "paid"
        assert Notice.objects.get().kind == "payment_confirmed"
        assert faults_in_the_books() == []

    def test_told_again_and_again_changes_nothing(self, stripe):
        stripe.sells(quoted())
        told = StripeEvent.objects.get(kind="checkout.session.completed")

        for again in range(3):
            copy = dict(stripe.happened("checkout.session.completed"), id=f"evt_again_{again}")
            stripe.brings(copy)
            stripe.works()

        assert PaymentEvent.objects.filter(cost_of=None).count() == Grant.objects.count() == Notice.objects.count() == 1
        assert told.status == "done"
        assert faults_in_the_books() == []

    def test_of_another_amount_is_held(self, stripe):
        invoice = quoted()
        session = stripe.charges(invoice)
        session["amount_total"] = 1

        stripe.tells()

        assert Hold.objects.get().reason == HoldReason.AMOUNT_MISMATCH
        assert not Grant.objects.exists()

    def test_of_another_currency_is_held(self, stripe):
        session = stripe.charges(quoted())
        session["currency"] = "usd"

        stripe.tells()

        assert Hold.objects.get().reason == HoldReason.CURRENCY_MISMATCH

    def test_for_an_invoice_nobody_knows_is_held_for_whom_stripe_names(self, stripe):
        invoice = quoted()
        session = stripe.charges(invoice)
        session["metadata"]["starledger_payload"] = "1.nobody.knows.it"

        stripe.tells()

        held = Hold.objects.get()
        assert (held.reason, held.event.customer) == (HoldReason.UNKNOWN_PAYLOAD, invoice.customer)

    def test_that_names_nobody_is_kept_for_a_person(self, stripe):
        session = stripe.charges(quoted())
        session["metadata"] = {"starledger_payload": "1.nobody.knows.it"}

        stripe.tells()

        assert Hold.objects.get().reason == HoldReason.UNREADABLE

    def test_that_takes_days_gives_access_when_the_money_is_there(self, stripe):
        session = stripe.charges(quoted(), delayed=True)
        stripe.tells()
        assert not PaymentEvent.objects.exists()

        stripe.account.settle(session["id"])
        stripe.tells()

        assert PaymentEvent.objects.get(cost_of=None).status == "processed"

    def test_of_another_shop_on_the_same_account_is_left_alone(self, stripe):
        stripe.account.sell_something_else()

        stripe.tells()

        assert set(StripeEvent.objects.values_list("status", flat=True)) == {"done"}
        assert not PaymentEvent.objects.exists()
        assert not Hold.objects.exists()

    def test_for_what_is_active_already_is_given_back_by_itself(self, stripe):
        first = quoted()
        second = quoted(customer=first.customer, plan=first.plan)
        sessions = [stripe.charges(first), stripe.charges(second)]
        stripe.tells()

        held = Hold.objects.get()
        intent = Refund.objects.get()
        assert held.reason == HoldReason.BOUGHT_TWICE
        assert intent.payment.event_id == sessions[1]["payment_intent"]
        assert Entitlement.objects.get().active_until - Grant.objects.get().granted_at == timedelta(days=30)

    def test_of_a_plan_that_extends_adds_another_period(self, stripe):
        plan = by_stripe(PlanFactory(code="gold_more", when_active=WhenActive.EXTEND))
        first = quoted(plan=plan)
        stripe.sells(first)
        stripe.sells(quoted(customer=first.customer, plan=plan))

        left = Entitlement.objects.get().active_until - database_now()
        assert timedelta(days=59) < left < timedelta(days=61)


def test_the_story_of_a_payment_has_the_events_that_told_of_it(stripe):
    payment = stripe.sells(quoted())
    stripe.account.dispute(payment.event_id)
    stripe.tells()

    told = [entry.detail for entry in tell(payment)]

    assert told == [
        "checkout.session.completed: done.",
        "charge.dispute.created: done.",
        "charge.dispute.funds_withdrawn: done.",
    ]


class TestAnEventThatFails:
    def test_is_stored_before_anything_is_asked_of_stripe(self, stripe):
        session = stripe.charges(quoted())

        stripe.brings()

        assert StripeEvent.objects.get(kind="checkout.session.completed").status == "pending"
        assert stripe.local.calls("GET /v1/checkout/sessions/:id") == []
        assert not PaymentEvent.objects.filter(event_id=session["payment_intent"]).exists()

    def test_is_tried_again_and_given_up_after_nine_tries(self, stripe):
        stripe.charges(quoted())
        stripe.brings()
        session = StripeEvent.objects.get(kind="checkout.session.completed")
        for attempt in range(1, 10):
            stripe.faults.order("GET /v1/checkout/sessions/:id", "cut_before")
            StripeEvent.objects.filter(pk=session.pk).update(next_attempt_at=database_now())
            with pytest.raises(ChannelError):
                stripe.works()
            session.refresh_from_db()
            assert session.attempts == attempt
        assert session.status == "dead"
        assert "Unclear" in session.error

    def test_is_not_tried_before_its_time(self, stripe):
        stripe.charges(quoted())
        stripe.brings()
        stripe.faults.order("GET /v1/checkout/sessions/:id", "500")
        with pytest.raises(ChannelError):
            stripe.works()

        stripe.works()

        assert not PaymentEvent.objects.exists()

    def test_is_found_by_the_sweep_when_its_pause_is_over(self, stripe):
        stripe.charges(quoted())
        stripe.brings()
        assert inbox.sweep() == 0  # their own jobs come first

        StripeEvent.objects.update(next_attempt_at=database_now() - timedelta(minutes=2))

        assert inbox.sweep() == StripeEvent.objects.count()

    def test_is_told_to_the_one_who_runs_it(self, stripe):
        stripe.charges(quoted())
        stripe.brings()
        stripe.faults.order("GET /v1/checkout/sessions/:id", "429", retry_after=700)
        with pytest.raises(ChannelError):
            stripe.works()

        waits = StripeEvent.objects.get(kind="checkout.session.completed").next_attempt_at - database_now()
        assert timedelta(minutes=11) < waits < timedelta(minutes=12)


class TestAnEventThatNeverCame:
    def test_is_found_in_stripes_list_and_acted_upon(self, stripe):
        stripe.charges(quoted())

        assert recovering.recover_events() == 1
        stripe.works()

        assert PaymentEvent.objects.get(cost_of=None).status == "processed"

    def test_is_looked_for_once(self, stripe):
        stripe.charges(quoted())
        recovering.recover_events()

        assert recovering.recover_events() == 0
        assert StripeEvent.objects.count() == 1

    def test_is_found_beyond_the_first_page(self, stripe):
        for _ in range(101):
            stripe.account._happens("charge.refunded", {"id": "ch_1", "object": "charge"})

        assert recovering.recover_events() == 101

    def test_is_not_looked_for_where_nothing_is_sold_by_stripe(self, settings):
        settings.STRIPE_SECRET_KEY = ""

        assert recovering.recover_events() == 0


def test_the_events_acted_upon_are_those_of_the_table():
    """README and the dashboard's endpoint name them; every other changes nothing."""
    assert sorted(LOOKS) == [
        "charge.dispute.closed",
        "charge.dispute.created",
        "charge.dispute.funds_reinstated",
        "charge.dispute.funds_withdrawn",
        "charge.dispute.updated",
        "charge.refunded",
        "charge.updated",
        "checkout.session.async_payment_succeeded",
        "checkout.session.completed",
        "customer.subscription.deleted",
        "customer.subscription.updated",
        "invoice.paid",
        "invoice.payment_failed",
        "refund.failed",
        "refund.updated",
    ]
