"""Plans that Stripe renews by itself: paid, renewed, not paid, cancelled, ended, given back."""

from datetime import timedelta

import pytest

from config.database import database_now
from entitlements.models import Entitlement, Grant
from payments import cancelling
from payments.models import Hold, Notice, PaymentEvent, Refund, StripeEvent, Subscription
from payments.recording import record_payment
from tests.books import faults_in_the_books
from tests.factories import CustomerFactory, InvoiceFactory
from tests.payments.reports import payment_of
from tests.payments.test_refunding import pursue
from tests.stripe.shop import club, quoted

pytestmark = pytest.mark.django_db(transaction=True)

MONTH = timedelta(days=30)
GRACE = timedelta(days=1)


@pytest.fixture
def invoice():
    """An invoice for the club, £9 every 30 days."""
    return quoted(plan=club(), amount=900)


@pytest.fixture
def member(stripe, invoice) -> Subscription:
    """Alice's membership, paid once."""
    stripe.sells(invoice)
    return Subscription.objects.get()


def name_of(subscription) -> str:
    return subscription.reference


class TestASubscription:
    def test_begins_with_its_first_payment(self, stripe, member, invoice):
        [listed] = stripe.account.all("subscription")

        payment = PaymentEvent.objects.get(cost_of=None)
        assert (member.reference, member.state, member.money, member.customer) == (
            listed["id"],
            "active",
            invoice.price,
            invoice.customer,
        )
        assert int(member.current_period_end.timestamp()) == listed["items"]["data"][0]["current_period_end"]
        assert payment.period_ends_at == member.current_period_end
        assert Entitlement.objects.get().active_until == member.current_period_end + GRACE
        assert faults_in_the_books() == []

    def test_is_renewed_without_being_taken_for_bought_twice(self, stripe, member):
        stripe.account.renew(name_of(member))

        stripe.tells()

        before = member.current_period_end
        member.refresh_from_db()
        assert (member.renewals, member.current_period_end) == (1, before + MONTH)
        assert Entitlement.objects.get().active_until == before + MONTH + GRACE
        assert not Hold.objects.exists()
        assert PaymentEvent.objects.filter(cost_of=None, invoice__isnull=False).count() == 2
        assert faults_in_the_books() == []

    def test_whose_renewal_fails_says_so_until_it_is_paid(self, stripe, member):
        Subscription.objects.update(state_changed_at=database_now() - MONTH)
        end = database_now() + timedelta(hours=1)
        stripe.account.objects[name_of(member)]["items"]["data"][0]["current_period_end"] = int(end.timestamp())
        with_trigger_off("UPDATE payments_subscription SET current_period_end = now() + interval '1 hour'")
        stripe.account.fail_to_renew(name_of(member))
        stripe.tells()
        member.refresh_from_db()
        assert member.state == "failed"

        stripe.account.renew(name_of(member))
        stripe.tells()

        member.refresh_from_db()
        assert (member.state, member.renewals) == ("active", 1)

    def test_is_cancelled_and_renewed_after_all_in_the_portal(self, stripe, member):
        stripe.account.cancel_in_portal(name_of(member))
        stripe.tells()
        member.refresh_from_db()
        assert member.state == "canceled"
        assert Entitlement.objects.active_at(database_now()).exists()

        stripe.account.cancel_in_portal(name_of(member), cancel=False)
        stripe.tells()

        member.refresh_from_db()
        assert member.state == "active"

    def test_that_is_deleted_keeps_what_is_paid_for(self, stripe, member):
        stripe.account.end(name_of(member))

        stripe.tells()

        member.refresh_from_db()
        assert member.state == "canceled"
        assert Entitlement.objects.active_at(database_now()).exists()
        assert faults_in_the_books() == []

    def test_is_the_same_in_whatever_order_its_events_come(self, stripe, invoice):
        stripe.charges(invoice)
        [listed] = stripe.account.all("subscription")
        stripe.account.renew(listed["id"])
        stripe.account.cancel_in_portal(listed["id"])

        stripe.brings(*reversed(stripe.account.events))
        stripe.works()

        member = Subscription.objects.get()
        assert (member.state, member.renewals, member.first_charge_known) == ("canceled", 1, True)
        assert PaymentEvent.objects.filter(cost_of=None).count() == 2
        assert set(StripeEvent.objects.values_list("status", flat=True)) == {"done"}
        assert faults_in_the_books() == []

    def test_of_another_shop_is_left_alone(self, stripe, member):
        other = dict(stripe.account.objects[name_of(member)], id="sub_of_others", metadata={})
        stripe.account.objects["sub_of_others"] = other
        stripe.account.end("sub_of_others")

        stripe.tells()

        member.refresh_from_db()
        assert member.state == "active"

    def test_given_back_with_the_wish_to_cancel_is_cancelled_at_stripe(self, stripe, member):
        from payments.refunding import request_refund

        payment = PaymentEvent.objects.get(cost_of=None)
        refund = request_refund(
            payment_id=payment.pk, reason="He asked.", requested_by="staff:7", cancel_subscription=True
        )
        refund.refresh_from_db()
        cancelling.pursue(refund_id=refund.pk)
        pursue(refund)

        assert stripe.account.objects[name_of(member)]["cancel_at_period_end"] is True
        member.refresh_from_db()
        refund.refresh_from_db()
        assert (member.state, refund.status) == ("canceled", "confirmed")
        assert refund.subscription_cancelled_at is not None
        assert not Entitlement.objects.active_at(database_now()).exists()


class TestTwoMethods:
    """Whoever pays by both has one access and his money back."""

    def test_stripe_after_stars_is_given_back_and_cancelled(self, stripe, invoice):
        stars = InvoiceFactory(customer=invoice.customer, plan=invoice.plan, amount=300)
        record_payment(payment_of(stars, period_ends_at=database_now() + MONTH))
        before = Entitlement.objects.get().active_until

        stripe.sells(invoice)

        assert Entitlement.objects.get().active_until == before
        assert Grant.objects.count() == 1
        intent = Refund.objects.get()
        assert (intent.payment.payment_method, intent.cancel_subscription) == ("stripe", True)
        pursue(intent)
        cancelling.pursue(refund_id=intent.pk)
        assert [each["cancel_at_period_end"] for each in stripe.account.all("subscription")] == [True]
        assert Notice.objects.filter(kind="payment_confirmed").count() == 1
        assert faults_in_the_books() == []

    def test_a_single_month_by_stripe_while_it_is_active_is_given_back(self, stripe):
        customer = CustomerFactory()
        first = quoted(customer=customer)
        stars = InvoiceFactory(customer=customer, plan=first.plan)
        record_payment(payment_of(stars))

        stripe.sells(first)

        assert Grant.objects.count() == 1
        assert Refund.objects.get().payment.payment_method == "stripe"


def with_trigger_off(statement: str) -> None:
    """What happens with time, which nobody can wait for here."""
    from django.db import connection, transaction

    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(statement)
