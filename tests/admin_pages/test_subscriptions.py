"""Staff see how a subscription came to stand as it does, cancel it and allow it again."""

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse

from config.database import database_now
from entitlements.models import AuditEntry
from payments.models import Subscription, SubscriptionOrder, SubscriptionState
from payments.money import Money
from payments.recording import record_payment
from payments.subscriptions import note_state, note_stopped
from tests.admin_pages.conftest import staff_with
from tests.factories import InvoiceFactory, PlanFactory
from tests.payments.reports import payment_of

pytestmark = pytest.mark.django_db

LIST = reverse("admin:payments_subscription_changelist")
SEES = ("payments.view_subscription", "payments.view_paymentevent")


@pytest.fixture
def finn(db) -> Client:
    """Staff who may cancel subscriptions."""
    return staff_with("finn", *SEES, "payments.edit_subscription")


@pytest.fixture
def running(alice) -> Subscription:
    plan = PlanFactory(code="club", title="The club", recurring=True, prices=[Money(500, "XTR")])
    invoice = InvoiceFactory(customer=alice, plan=plan)
    report = payment_of(invoice, period_ends_at=database_now() + timedelta(days=30))
    return record_payment(report).event.subscription_payment.subscription


def page_of(subscription) -> str:
    return reverse("admin:payments_subscription_change", args=[subscription.pk])


def ordering(subscription) -> str:
    return reverse("admin:payments_subscription_order", args=[subscription.pk])


def shown(client, address, **data) -> str:
    return client.get(address, data).content.decode()


class TestTheList:
    def test_shows_each_with_its_customer_price_and_end(self, finn, running):
        page = shown(finn, LIST)

        for words in ("The club", "Alice", "500 ⭐", "renews by itself"):
            assert words in page

    @pytest.mark.parametrize(("standing", "listed"), [("running", True), ("active", True), ("ended", False)])
    def test_is_narrowed_by_how_they_stand(self, finn, running, standing, listed):
        assert (page_of(running) in shown(finn, LIST, standing=standing)) == listed

    def test_is_searched_by_charge_and_customer(self, finn, running, alice):
        for term in (running.first_charge_id, str(running.pk), alice.user_id):
            assert page_of(running) in shown(finn, LIST, q=term)


class TestItsPage:
    def test_tells_its_story_and_payments(self, finn, running, alice):
        note_state(payer=alice.telegram_user_id, reference=running.reference, state="canceled", at=database_now())

        page = shown(finn, page_of(running))

        for words in ("The first payment.", "The customer cancelled it.", "Stars paid: 500 ⭐", "may renew it again"):
            assert words in page

    def test_offers_a_cancellation_to_whoever_may(self, finn, running):
        viewer = staff_with("vera", *SEES)

        assert "Cancel it…" in shown(finn, page_of(running))
        assert ordering(running) not in shown(viewer, page_of(running))
        assert viewer.get(ordering(running)).status_code == 403

    def test_tells_what_was_ordered_and_how_that_stands(self, finn, running):
        finn.post(ordering(running), {"do": "cancel", "reason": "He <b>asked</b>."})
        page = shown(finn, page_of(running))
        assert "He &lt;b&gt;asked&lt;/b&gt;." in page
        assert "Telegram is being asked." in page

        SubscriptionOrder.objects.update(next_attempt_at=None, done_at=database_now())

        assert "Telegram did so" in shown(finn, page_of(running))


class TestAnOrder:
    def test_says_what_it_does_and_asks_why(self, finn, running):
        page = shown(finn, ordering(running))

        assert "Telegram charges for it no more" in page
        assert "Allow it again" not in page
        assert finn.post(ordering(running), {"do": "cancel", "reason": ""}).status_code == 200
        assert not SubscriptionOrder.objects.exists()

    def test_is_given_with_one_audit_entry(self, finn, running, alice):
        answer = finn.post(ordering(running), {"do": "cancel", "reason": "He asked."})

        assert answer["Location"] == page_of(running)
        assert (SubscriptionOrder.objects.get().what, AuditEntry.objects.get().customer) == ("cancel", alice)

    def test_allows_again_what_we_stopped(self, finn, running):
        note_stopped(running, why="so")
        assert "Nothing is charged before he does." in shown(finn, ordering(running))

        finn.post(ordering(running), {"do": "allow", "reason": "He asked."})

        assert SubscriptionOrder.objects.get().what == "allow"

    def test_that_is_not_possible_says_why(self, finn, running):
        Subscription.objects.update(state=SubscriptionState.ENDED)

        assert "It has ended." in shown(finn, ordering(running))
        assert "It has ended." in finn.post(ordering(running), {"do": "cancel", "reason": "x"}).content.decode()
