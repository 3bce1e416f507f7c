"""Payments given back by Stripe: whole, in parts, waiting for a bank, or come back after all."""

from datetime import timedelta

import pytest

from config.database import database_now
from entitlements.models import Entitlement, Grant
from payments import intents, refunding
from payments.models import (
    EventType,
    Hold,
    HoldReason,
    Notice,
    PaymentEvent,
    Refund,
    RefundStatus,
)
from payments.refunding import AlreadyRefunded, NotRefundable, request_refund
from payments.revenue import revenue
from payments.selectors import PaymentStatus, payment, status_of
from tests.books import faults_in_the_books
from tests.payments.test_refunding import let_pass, pursue
from tests.stripe.shop import quoted

pytestmark = pytest.mark.django_db(transaction=True)

TURNS = 12


@pytest.fixture
def paid(stripe) -> PaymentEvent:
    """£25 that Alice paid by Stripe."""
    return stripe.sells(quoted())


def ask(paid, **changes) -> Refund:
    return request_refund(
        **{"payment_id": paid.pk, "reason": "Bought by mistake.", "requested_by": "api:shop", **changes}
    )


def standing(paid) -> PaymentStatus:
    return status_of(payment(paid.pk))


def has_access(paid) -> bool:
    return Entitlement.objects.active_at(database_now()).filter(customer=paid.customer).exists()


def revenue_of_these_days() -> tuple[int, int, int]:
    today = database_now().date()
    [row] = revenue(first_day=today - timedelta(days=1), last_day=today)  # it may have become midnight since
    return row.gross, row.refunded, row.refunds


class TestTheWhole:
    def test_is_given_back_by_a_call_and_takes_the_access(self, stripe, paid):
        refund = pursue(ask(paid))

        assert (refund.status, refund.amount) == (RefundStatus.CONFIRMED, 2500)
        event = paid.refunds.get()
        assert (event.event_type, event.money, event.event_id[:3]) == (EventType.STRIPE_REFUND, paid.money, "re_")
        assert not has_access(paid)
        assert standing(paid) == PaymentStatus.REFUNDED
        assert [notice.kind for notice in Notice.objects.filter(event=event)] == ["refunded"]
        assert faults_in_the_books() == []

    def test_is_asked_for_with_a_key_that_makes_it_once(self, stripe, paid):
        refund = pursue(ask(paid))

        [call] = stripe.local.calls("POST /v1/refunds")
        assert call.key == f"starledger-refund-{refund.pk}-0"
        assert call.params == {
            "payment_intent": paid.event_id,
            "amount": "2500",
            "metadata": {"starledger_refund": str(refund.pk)},
        }

    def test_cannot_be_asked_for_twice(self, stripe, paid):
        pursue(ask(paid))

        with pytest.raises(AlreadyRefunded):
            ask(paid)

    def test_told_by_its_event_too_is_recorded_once(self, stripe, paid):
        pursue(ask(paid))

        stripe.tells()

        assert PaymentEvent.objects.filter(cost_of=None).count() == 2
        assert faults_in_the_books() == []

    def test_made_in_the_dashboard_is_recorded_and_closes_what_was_asked_for(self, stripe, paid):
        refund = ask(paid)
        stripe.account.refund_in_dashboard(paid.event_id)

        stripe.tells()

        refund.refresh_from_db()
        assert refund.status == RefundStatus.CONFIRMED
        refunding.pursue(refund_id=refund.pk)
        assert stripe.local.calls("POST /v1/refunds") == []
        assert not has_access(paid)
        assert faults_in_the_books() == []

    def test_made_in_the_dashboard_is_found_when_stripe_says_so_to_our_call(self, stripe, paid):
        stripe.account.refund_in_dashboard(paid.event_id)
        refund = pursue(ask(paid))
        assert (refund.status, "already" in refund.detail) == (RefundStatus.VERIFY, True)

        refund = pursue(refund)

        assert refund.status == RefundStatus.CONFIRMED
        assert faults_in_the_books() == []

    def test_cannot_be_asked_for_without_the_key(self, stripe, paid, settings):
        settings.STRIPE_SECRET_KEY = ""

        with pytest.raises(NotRefundable):
            ask(paid)

    def test_that_is_refused_says_why(self, stripe, paid):
        stripe.faults.order("POST /v1/refunds", "refuse")
        refund = pursue(ask(paid))

        refund = pursue(refund)

        assert (refund.status, refund.refusal) == (RefundStatus.REFUSED, "refused by order")
        assert refund.detail == "Stripe refused it: refused by order."


class TestAPart:
    def test_leaves_the_access_and_counts_as_given_back(self, stripe, paid):
        refund = pursue(ask(paid, amount=1000))

        assert refund.status == RefundStatus.CONFIRMED
        assert paid.refunds.get().amount == 1000
        assert has_access(paid)
        assert standing(paid) == PaymentStatus.PROCESSED
        assert revenue_of_these_days() == (2500, 1000, 1)
        assert faults_in_the_books() == []

    def test_that_is_the_rest_takes_the_access(self, stripe, paid):
        pursue(ask(paid, amount=1000))
        pursue(ask(paid))

        assert sorted(paid.refunds.values_list("amount", flat=True)) == [1000, 1500]
        assert not has_access(paid)
        assert standing(paid) == PaymentStatus.REFUNDED
        assert revenue_of_these_days() == (2500, 2500, 2)
        assert faults_in_the_books() == []

    def test_of_more_than_is_left_is_refused_before_any_call(self, stripe, paid):
        pursue(ask(paid, amount=1000))

        with pytest.raises(NotRefundable, match=r"no more than £15\.00 is left"):
            ask(paid, amount=1501)

    def test_made_in_the_dashboard_leaves_what_was_asked_for_besides(self, stripe, paid):
        refund = ask(paid, amount=1000)
        stripe.account.refund_in_dashboard(paid.event_id, 500)
        stripe.tells()
        refund.refresh_from_db()
        assert refund.status == RefundStatus.REQUESTED

        refund = pursue(refund)

        assert refund.status == RefundStatus.CONFIRMED
        assert sorted(paid.refunds.values_list("amount", flat=True)) == [500, 1000]
        assert faults_in_the_books() == []

    def test_above_the_limit_waits_for_a_second_person_and_below_does_not(self, stripe, paid):
        limit = {"GBP": 1000}
        assert pursue(ask(paid, amount=1000, approval_above=limit)).status == RefundStatus.CONFIRMED

        assert ask(paid, amount=1001, approval_above=limit).status == RefundStatus.PROPOSED


class TestARefundThatComesBeforeItsPayment:
    def test_brings_the_payment_with_it(self, stripe):
        session = stripe.charges(quoted())
        stripe.account.refund_in_dashboard(session["payment_intent"])
        stripe.brings(stripe.happened("charge.refunded"))
        stripe.works()

        assert PaymentEvent.objects.filter(cost_of=None).count() == 2
        stripe.brings(*stripe.local.events("checkout.session.completed"))
        stripe.works()

        assert PaymentEvent.objects.filter(cost_of=None).count() == 2
        assert Grant.objects.get().revoked_at is not None
        assert faults_in_the_books() == []

    def test_of_another_shop_is_left_alone(self, stripe):
        session = stripe.account.sell_something_else()
        stripe.account.refund_in_dashboard(session["payment_intent"])

        stripe.tells()

        assert not PaymentEvent.objects.exists()
        assert not Hold.objects.exists()


class TestARefundThatWaitsForABank:
    def test_is_not_recorded_before_it_succeeds(self, stripe, paid):
        stripe.account.refund_outcome = "pending"
        refund = pursue(ask(paid))
        assert (refund.status, paid.refunds.count(), has_access(paid)) == (RefundStatus.VERIFY, 0, True)
        assert refund.detail == "Stripe has it and waits for the bank: pending."

        refund = pursue(refund)  # we look: it still waits
        assert refund.status == RefundStatus.VERIFY
        [made] = stripe.account.all("refund")
        stripe.account.finish_refund(made["id"], "succeeded")
        stripe.tells()

        refund.refresh_from_db()
        assert refund.status == RefundStatus.CONFIRMED
        assert len(stripe.account.all("refund")) == 1
        assert not has_access(paid)
        assert faults_in_the_books() == []

    def test_is_refused_when_it_fails_and_may_be_asked_for_again(self, stripe, paid):
        stripe.account.refund_outcome = "pending"
        refund = pursue(ask(paid))
        stripe.account.finish_refund(stripe.account.all("refund")[0]["id"], "failed")

        refund = pursue(refund)

        assert (refund.status, refund.refusal) == (RefundStatus.REFUSED, "expired_or_canceled_card")
        assert has_access(paid)
        stripe.account.refund_outcome = "succeeded"
        assert pursue(ask(paid)).status == RefundStatus.CONFIRMED
        assert faults_in_the_books() == []

    def test_that_fails_at_once_is_refused(self, stripe, paid):
        stripe.account.refund_outcome = "failed"

        refund = pursue(pursue(ask(paid)))

        assert (refund.status, refund.refusal) == (RefundStatus.REFUSED, "declined")
        assert faults_in_the_books() == []


class TestARefundThatFailsAfterItSucceeded:
    def test_is_undone_in_the_books_told_and_put_before_a_person(self, stripe, paid):
        refund = pursue(ask(paid))
        [made] = stripe.account.all("refund")
        stripe.account.finish_refund(made["id"], "failed")

        stripe.tells()

        undone = PaymentEvent.objects.get(event_type=EventType.STRIPE_FAILED_REFUND)
        assert (undone.event_id, undone.money, undone.refund_of) == (made["id"], paid.money, paid)
        assert paid.left == 2500
        assert revenue_of_these_days() == (2500, 0, 0)
        assert Notice.objects.get(event=undone).kind == "refund_failed"
        hold = Hold.objects.get()
        assert (hold.reason, "expired_or_canceled_card" in hold.detail) == (HoldReason.REFUND_FAILED, True)
        refund.refresh_from_db()
        assert refund.status == RefundStatus.CONFIRMED
        assert faults_in_the_books() == []

    def test_is_undone_once_however_often_it_is_told(self, stripe, paid):
        pursue(ask(paid))
        stripe.account.finish_refund(stripe.account.all("refund")[0]["id"], "failed")
        stripe.tells()
        stripe.brings(dict(stripe.happened("refund.failed"), id="evt_again"))
        stripe.works()

        assert PaymentEvent.objects.filter(event_type=EventType.STRIPE_FAILED_REFUND).count() == 1
        assert Hold.objects.count() == 1

    def test_can_be_given_back_anew(self, stripe, paid):
        pursue(ask(paid))
        stripe.account.finish_refund(stripe.account.all("refund")[0]["id"], "failed")
        stripe.tells()

        assert pursue(ask(paid)).status == RefundStatus.CONFIRMED

        assert standing(paid) == PaymentStatus.REFUNDED
        assert faults_in_the_books() == []

    def test_of_what_was_bought_twice_leaves_it_held_and_can_be_given_back_anew(self, stripe, paid):
        again = stripe.sells(quoted(customer=paid.customer, plan=paid.plan))
        pursue(Refund.objects.get())
        stripe.account.finish_refund(stripe.account.all("refund")[0]["id"], "failed")
        stripe.tells()
        assert standing(again) == PaymentStatus.HELD

        assert pursue(ask(again)).status == RefundStatus.CONFIRMED

        assert standing(again) == PaymentStatus.REFUNDED
        assert faults_in_the_books() == []


class TestAnAnswerThatIsLost:
    """Whatever goes wrong on the way, it is given back once."""

    @pytest.mark.parametrize(
        "fault", ["500", "500_after_effect", "429", "cut_before", "cut_after_effect", "half_json", "hang_after_effect"]
    )
    def test_leaves_one_refund_and_one_row(self, stripe, paid, fault, monkeypatch):
        """Of a part, for which Stripe would take a second one."""
        from payments.channels import stripe as channel

        monkeypatch.setattr(channel, "READ_LIMIT", 0.3)
        channel._client.cache_clear()
        stripe.faults.order("POST /v1/refunds", fault, seconds=0.6)
        refund = ask(paid, amount=1000)

        for _ in range(TURNS):
            refund = pursue(refund)
            if refund.status == RefundStatus.CONFIRMED:
                break
            let_pass(refund, timedelta(minutes=2))

        assert refund.status == RefundStatus.CONFIRMED
        assert [each["amount"] for each in stripe.account.all("refund")] == [1000]
        assert list(paid.refunds.values_list("amount", flat=True)) == [1000]
        assert faults_in_the_books() == []

    def test_is_looked_for_before_it_is_sent_again(self, stripe, paid):
        stripe.faults.order("POST /v1/refunds", "cut_after_effect")
        refund = pursue(ask(paid))
        assert refund.status == RefundStatus.VERIFY

        refund = pursue(refund)

        assert refund.status == RefundStatus.CONFIRMED
        assert len(stripe.local.calls("POST /v1/refunds")) == 1

    def test_is_made_after_all_where_one_of_the_dashboard_stood_in_its_way_and_failed(self, stripe, paid):
        """Under the key of the first call Stripe would say for ever that it was given back already."""
        stripe.account.refund_outcome = "pending"
        stripe.account.refund_in_dashboard(paid.event_id)
        refund = pursue(ask(paid))
        assert "already" in refund.detail
        [other] = stripe.account.all("refund")
        stripe.account.finish_refund(other["id"], "failed")
        stripe.account.refund_outcome = "succeeded"

        for _ in range(TURNS):
            let_pass(refund, timedelta(minutes=2))
            refund = pursue(refund)

        assert refund.status == RefundStatus.CONFIRMED
        assert faults_in_the_books() == []

    def test_is_not_taken_for_a_no_while_stripe_is_away(self, stripe, paid):
        stripe.faults.order("POST /v1/refunds", "cut_after_effect")
        refund = pursue(ask(paid))
        stripe.faults.order("GET /v1/refunds", "500")

        refund = pursue(refund)

        assert refund.status == RefundStatus.VERIFY
        assert refund.detail.startswith("Stripe's list cannot be read")


def test_a_payment_for_what_was_active_already_is_given_back_to_the_card(stripe):
    first = quoted()
    stripe.sells(first)
    second = stripe.sells(quoted(customer=first.customer, plan=first.plan))
    intent = Refund.objects.get(payment=second, requested_by=intents.SYSTEM)

    assert pursue(intent).status == RefundStatus.CONFIRMED

    assert has_access(second)
    assert standing(second) == PaymentStatus.REFUNDED
    assert faults_in_the_books() == []
