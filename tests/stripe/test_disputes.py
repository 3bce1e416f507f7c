"""A bank wants the money back: seen by staff from its first day to its last."""

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from config.shown import page_of
from payments.models import Dispute, PaymentEvent
from tests.books import faults_in_the_books
from tests.staff import signed_in
from tests.stripe.shop import quoted

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def disputed(stripe) -> Dispute:
    payment = stripe.sells(quoted())
    stripe.account.dispute(payment.event_id)
    stripe.tells()
    return Dispute.objects.get()


class TestADispute:
    def test_is_kept_with_the_day_until_which_to_answer(self, disputed):
        assert (disputed.payment, disputed.amount, disputed.currency, disputed.reason, disputed.status) == (
            PaymentEvent.objects.get(cost_of=None),
            2500,
            "GBP",
            "fraudulent",
            "needs_response",
        )
        assert disputed.evidence_due_at > disputed.opened_at
        assert list(Dispute.objects.open()) == [disputed]
        assert faults_in_the_books() == []

    def test_is_told_to_staff_in_words_with_where_to_answer(self, disputed):
        staff = signed_in(User.objects.create_superuser("dana"))

        page = staff.get(page_of(disputed)).content.decode()
        listed = staff.get(reverse("admin:payments_dispute_changelist")).content.decode()

        assert "£25.00 disputed: fraudulent, needs response" in page
        assert "It is answered in Stripe's dashboard, by <time" in page
        assert "needs response</span>" in listed

    @pytest.mark.parametrize("status", ["won", "lost"])
    def test_is_closed_when_the_bank_has_decided(self, stripe, disputed, status):
        stripe.account.close_dispute(disputed.dispute_id, status)

        stripe.tells()

        disputed.refresh_from_db()
        assert disputed.status == status
        assert disputed.closed_at is not None
        assert not Dispute.objects.open().exists()

    def test_is_closed_also_when_that_is_heard_first(self, stripe):
        payment = stripe.sells(quoted())
        told = stripe.account.dispute(payment.event_id)
        stripe.account.close_dispute(told["id"], "lost")

        stripe.brings(*reversed(stripe.local.events()[-2:]))
        stripe.works()

        assert Dispute.objects.get().status == "lost"

    def test_of_a_payment_we_have_not_heard_of_brings_it(self, stripe):
        session = stripe.charges(quoted())
        stripe.account.dispute(session["payment_intent"])

        stripe.brings(stripe.happened("charge.dispute.created"))
        stripe.works()

        assert Dispute.objects.get().payment == PaymentEvent.objects.get(cost_of=None)

    def test_of_another_shop_is_left_alone(self, stripe):
        session = stripe.account.sell_something_else()
        stripe.account.dispute(session["payment_intent"])

        stripe.tells()

        assert not Dispute.objects.exists()
