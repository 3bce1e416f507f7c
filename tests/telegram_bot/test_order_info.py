"""What a buyer enters with a payment by card: asked for where the plan says so, kept beside the ledger, erasable."""

import json

import pytest
from django.core.exceptions import PermissionDenied
from django.db import ProgrammingError, transaction
from django.urls import reverse

from entitlements.models import AuditEntry, Customer
from payments import order_info
from payments.invoicing import Delivery, send_invoice
from payments.models import OrderInfo, PaymentEvent, PaymentMethod, ProviderRecord
from payments.order_info import NothingToErase, erase
from telegram_bot.models import IncomingUpdate
from telegram_bot.receiving import receive
from tests import updates
from tests.admin_pages.conftest import staff_with
from tests.books import faults_in_the_books
from tests.factories import InvoiceFactory, PlanFactory
from tests.staff import signed_in

pytestmark = pytest.mark.django_db

ENTERED = {"name": "Alice Liddell", "phone_number": "+44 20 7946 0000", "email": "alice@example.org"}


@pytest.fixture
def by_card(alice, gold):
    return InvoiceFactory(
        customer=alice, plan=gold, payment_method=PaymentMethod.TELEGRAM_PROVIDER, amount=2500, currency="GBP"
    )


def report(invoice, **changes) -> bytes:
    changes = {"provider_payment_charge_id": "ch_1", "order_info": ENTERED} | changes
    return updates.body(updates.payment(invoice, **changes, update_id=77, date=1_760_000_000))


@pytest.fixture
def paid(by_card) -> PaymentEvent:
    receive(updates.body(updates.pre_checkout(by_card, order_info=ENTERED)))
    receive(report(by_card))
    return PaymentEvent.objects.get()


class TestWhatABuyerEnters:
    @pytest.mark.parametrize("delivery", ["chat", "link"])
    def test_is_asked_for_where_the_plan_says_so_and_kept_when_it_is_paid(
        self, shop, local_telegram, settings, delivery
    ):
        settings.TELEGRAM_PAYMENT_PROVIDER_TOKEN = "1:TEST:token"
        PlanFactory(need_name=True, need_email=True)
        alice = local_telegram.person("Alice", language_code="en")
        alice.says("/start")
        shop.works()
        ours = order_for(alice, delivery)

        paying = alice.starts_paying(alice.opens(ours.link) if ours.link else alice.last_invoice())
        while not paying.done():
            shop.works()
        shop.works()

        payment = PaymentEvent.objects.get()
        kept = OrderInfo.objects.get(event=payment)
        assert (kept.name, kept.phone_number, kept.email) == ("Alice", "", f"{alice.id}@example.org")
        assert payment.status == "processed"

    def test_is_not_asked_for_with_stars(self, shop, local_telegram):
        PlanFactory(need_name=True, need_email=True)
        alice = local_telegram.person("Alice", language_code="en")
        alice.says("/buy gold_1m")
        shop.works()

        alice.presses("Pay 500 ⭐")
        shop.works()

        assert alice.last_invoice().needs == []

    def test_stands_beside_the_ledger_and_nowhere_else(self, paid):
        assert OrderInfo.objects.values("name", "phone_number", "email").get() == ENTERED
        answer = json.loads(bytes(ProviderRecord.objects.get().body))
        assert answer["provider_payment_charge_id"] == "ch_1"
        assert "order_info" not in answer

    def test_is_in_no_line_of_the_log(self, by_card, logged):
        receive(report(by_card))

        assert "payment recorded" in [line["event"] for line in logged]
        assert not [line for line in logged if any(text in str(line) for text in ENTERED.values())]

    @pytest.mark.parametrize("odd", ["Alice", 5, [], {"email": 7}, {"shipping_address": {"city": "Oxford"}}])
    def test_keeps_no_payment_from_being_recorded_though_it_is_nonsense(self, by_card, odd):
        receive(report(by_card, order_info=odd))

        assert PaymentEvent.objects.get().status == "processed"
        assert not OrderInfo.objects.exclude(email="").exists()

    def test_is_kept_though_a_program_told_of_the_payment_before(self, by_card):
        receive(report(by_card, order_info=None))
        assert not OrderInfo.objects.exists()

        receive(updates.body(updates.payment(by_card, order_info=ENTERED)))

        assert OrderInfo.objects.get().name == "Alice Liddell"


def order_for(alice, delivery):
    customer = Customer.objects.get(telegram_user_id=alice.id)
    return send_invoice(customer=customer, plan_code="gold_1m", currency="GBP", delivery=Delivery(delivery))


class TestErasing:
    @pytest.fixture
    def dana(self, admin_user):
        return admin_user

    def test_lets_go_of_it_everywhere_and_leaves_the_ledger_as_it_is(self, paid, dana):
        before = PaymentEvent.objects.values().get()

        erase(payment=paid, staff=dana, reason="She asked.")

        assert OrderInfo.objects.values("name", "phone_number", "email").get() == dict.fromkeys(ENTERED, "")
        assert PaymentEvent.objects.values().get() == before
        assert [bytes(body) for body in IncomingUpdate.objects.values_list("body", flat=True)] == [b"", b""]
        entry = AuditEntry.objects.get()
        assert (entry.what, entry.reason, entry.customer) == (order_info.ERASED, "She asked.", paid.customer)
        assert not any(text in str(AuditEntry.objects.values().get()) for text in ENTERED.values())
        assert faults_in_the_books() == []

    def test_leaves_the_updates_about_others(self, paid, dana, gold):
        receive(report(InvoiceFactory(plan=gold, payment_method="telegram_provider", amount=2500, currency="GBP"),
                       charge_id="another"))  # fmt: skip

        erase(payment=paid, staff=dana, reason="She asked.")

        assert IncomingUpdate.objects.exclude(body=b"").count() == 1
        assert OrderInfo.objects.exclude(name="").count() == 1

    def test_is_for_good_though_telegram_reports_the_payment_again(self, paid, dana, by_card):
        erase(payment=paid, staff=dana, reason="She asked.")

        receive(report(by_card))
        receive(updates.body(updates.payment(by_card, order_info=ENTERED)))

        assert OrderInfo.objects.get().name == ""
        assert not IncomingUpdate.objects.exclude(status="done").exists()
        with pytest.raises(ProgrammingError, match="Cannot update"), transaction.atomic():
            OrderInfo.objects.update(erased_at=None, name="Alice")

    def test_is_done_once(self, paid, dana):
        erase(payment=paid, staff=dana, reason="She asked.")

        with pytest.raises(NothingToErase):
            erase(payment=paid, staff=dana, reason="She asked.")

        assert AuditEntry.objects.count() == 1

    def test_needs_the_permission(self, paid, django_user_model):
        with pytest.raises(PermissionDenied):
            erase(payment=paid, staff=django_user_model.objects.create_user("eve", is_staff=True), reason="So.")

        assert OrderInfo.objects.get().name == "Alice Liddell"


class TestThePageOfAPayment:
    def test_shows_it_to_those_who_may_see_it(self, paid):
        page = reverse("admin:payments_paymentevent_change", args=[paid.pk])

        may = staff_with("dana", "payments.view_paymentevent", "payments.view_orderinfo")
        assert "alice@example.org" in may.get(page).content.decode()
        may_not = staff_with("eve", "payments.view_paymentevent")
        assert "alice@example.org" not in may_not.get(page).content.decode()

    def test_leads_to_erasing_it(self, paid, admin_user):
        dana = signed_in(admin_user)
        page = reverse("admin:payments_paymentevent_change", args=[paid.pk])
        erasing = reverse("admin:payments_paymentevent_erase", args=[paid.pk])
        assert erasing in dana.get(page).content.decode()

        assert dana.get(erasing).status_code == 200
        assert OrderInfo.objects.get().name == "Alice Liddell"
        assert dana.post(erasing, {"reason": "She asked."}).status_code == 302

        assert "Erased" in dana.get(page).content.decode()
        assert "it is erased already" in dana.post(erasing, {"reason": "Again."}).content.decode()


def test_who_asks_for_delivery_is_told_that_nothing_is_shipped(shop, local_telegram):
    question = {"id": "q-1", "from": updates.person(42), "invoice_payload": "x", "shipping_address": {"city": "Oxford"}}

    shop.is_told({"update_id": 1, "shipping_query": question})

    [call] = local_telegram.truth.calls_of("answerShippingQuery")
    assert (call.arguments["ok"], call.arguments["shipping_query_id"]) == (False, "q-1")
    assert call.arguments["error_message"] == "Nothing is shipped here. Please start anew with /plans."
    assert IncomingUpdate.objects.get().status == "done"
