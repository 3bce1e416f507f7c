"""From a plan to a page of Stripe on which it is paid, in the chat, by the API, and back."""

from datetime import UTC, datetime

import pytest
from django.test import Client

from payments import invoicing
from payments.channels import stripe as channel
from payments.channels.base import Refused, Unavailable, Unclear
from payments.models import Invoice, PaymentMethod, StripeCustomer
from payments.money import Money
from payments.stripe import selling
from telegram_bot.handlers import account, shop
from telegram_bot.updates import ButtonPress, Command, Person
from tests.api.conftest import claims_of, signed
from tests.factories import CustomerFactory, PlanFactory
from tests.stripe.shop import by_stripe, club, quoted

pytestmark = pytest.mark.django_db(transaction=True)


def buy(customer, **changes) -> Invoice:
    return invoicing.send_invoice(
        **{
            "customer": customer,
            "plan_code": "gold_1m",
            "payment_method": PaymentMethod.STRIPE,
            "delivery": invoicing.Delivery.LINK,
            **changes,
        }
    )


def session_of(stripe, invoice) -> dict:
    return next(each for each in stripe.account.all("checkout.session") if each["url"] == invoice.link)


class TestAPage:
    @pytest.fixture
    def gold(self):
        return by_stripe(PlanFactory())

    def test_says_what_is_sold_to_whom_for_how_much_and_until_when(self, stripe, gold):
        invoice = buy(CustomerFactory())

        session = session_of(stripe, invoice)
        assert (invoice.status, invoice.price) == ("sent", Money(2500, "GBP"))
        assert (session["mode"], session["amount_total"], session["currency"]) == ("payment", 2500, "gbp")
        assert session["client_reference_id"] == str(invoice.pk)
        assert session["customer"] == StripeCustomer.objects.get().stripe_id
        assert session["expires_at"] == int(invoice.expires_at.timestamp())
        ours = {"starledger_payload": invoice.payload, "starledger_user_id": invoice.customer.user_id}
        assert session["metadata"] == session["_data"]["metadata"] == ours

    def test_is_paid_at_stripes_own_price_where_the_catalogue_names_it(self, stripe):
        price = stripe.account.create_price({"currency": "gbp", "unit_amount": "2500"})
        by_stripe(PlanFactory(), stripe_price_id=price["id"])

        session = session_of(stripe, buy(CustomerFactory()))

        [call] = stripe.local.calls("POST /v1/checkout/sessions")
        assert call.params["line_items"] == [{"price": price["id"], "quantity": "1"}]
        assert session["amount_total"] == 2500

    def test_whose_price_at_stripe_is_another_is_taken_back(self, stripe):
        price = stripe.account.create_price({"currency": "gbp", "unit_amount": "2400"})
        by_stripe(PlanFactory(), stripe_price_id=price["id"])

        with pytest.raises(invoicing.ChannelRefused, match=r"Stripe asks £24\.00 for it, the catalogue £25\.00"):
            buy(CustomerFactory())

        assert Invoice.objects.get().status == "void"
        assert [each["status"] for each in stripe.account.all("checkout.session")] == ["expired"]

    def test_is_for_the_same_customer_of_stripe_every_time(self, stripe, gold):
        customer = CustomerFactory()

        buy(customer)
        buy(customer)

        assert len(stripe.account.all("customer")) == 1

    def test_is_made_for_a_customer_whom_stripe_has_forgotten(self, stripe, gold):
        customer = CustomerFactory()
        StripeCustomer.objects.create(customer=customer, stripe_id="cus_of_another_account")

        session = session_of(stripe, buy(customer))

        assert StripeCustomer.objects.get().stripe_id == session["customer"]

    def test_is_made_for_who_has_no_telegram_account(self, stripe, gold):
        customer = CustomerFactory(telegram_user_id=None, user_id="alice@host", user_id_origin="host")

        assert buy(customer, payment_method=None).payment_method == "stripe"
        with pytest.raises(invoicing.ChatUnavailable):
            buy(customer, delivery=invoicing.Delivery.CHAT)

    def test_is_not_offered_without_the_key(self, stripe, gold, settings):
        settings.STRIPE_SECRET_KEY = ""

        with pytest.raises(invoicing.CurrencyNotOffered):
            buy(CustomerFactory())
        assert [price.payment_method for price in invoicing.offered_prices(gold)] == [
            "telegram_stars",
            "telegram_provider",
        ]

    def test_is_asked_for_by_the_api(self, stripe, gold):
        customer = CustomerFactory()

        answer = Client().post(
            "/api/v1/telegram/payment/send-invoice",
            {"plan_code": "gold_1m", "payment_method": "stripe", "delivery": "link"},
            content_type="application/json",
            headers={"Authorization": f"Bearer {signed(claims_of(customer))}"},
        )

        told = answer.json()
        assert answer.status_code == 200, told
        assert (told["amount"], told["currency"], told["payment_method"]) == (2500, "GBP", "stripe")
        assert told["invoice_link"].startswith(stripe.local.address)

    @pytest.mark.parametrize(
        ("fault", "error", "status"),
        [
            ("refuse", invoicing.ChannelRefused, "void"),
            ("429", invoicing.ChannelUnavailable, "void"),
            ("500", invoicing.ChannelUnavailable, "unclear"),
            ("cut_after_effect", invoicing.ChannelUnavailable, "unclear"),
            ("half_json", invoicing.ChannelUnavailable, "unclear"),
        ],
    )
    def test_that_stripe_does_not_make_is_no_loss(self, stripe, gold, fault, error, status):
        stripe.faults.order("POST /v1/checkout/sessions", fault)

        with pytest.raises(error):
            buy(CustomerFactory())

        assert Invoice.objects.get().status == status

    def test_of_which_we_have_not_heard_can_be_paid_all_the_same(self, stripe, gold):
        stripe.faults.order("POST /v1/checkout/sessions", "cut_after_effect")
        with pytest.raises(invoicing.ChannelUnavailable):
            buy(CustomerFactory())

        stripe.account.pay(stripe.account.all("checkout.session")[0]["id"])
        stripe.tells()

        assert Invoice.objects.get().status == "paid"


class TestACall:
    """Of the channel: what its failure means."""

    def test_that_is_refused_for_good_is_told_from_one_that_was_lost(self, stripe):
        with pytest.raises(channel.Missing):
            channel.dispute("dp_none")
        stripe.faults.order("GET /v1/disputes/:id", "hang", seconds=1.0)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(channel, "READ_LIMIT", 0.2)
            channel._client.cache_clear()
            with pytest.raises(Unclear):
                channel.dispute("dp_none")
        channel._client.cache_clear()

    def test_that_never_left_may_be_made_again(self, stripe, settings):
        settings.STRIPE_API_BASE = "http://127.0.0.1:9"

        with pytest.raises(Unavailable):
            channel.dispute("dp_none")

    def test_with_a_wrong_key_says_that_nothing_works(self, stripe, settings):
        settings.STRIPE_SECRET_KEY = "sk_test_of_somebody_else"

        with pytest.raises(channel.KeyRefused):
            channel.dispute("dp_none")

    def test_is_not_made_while_a_transaction_is_open(self, stripe):
        from django.db import transaction

        with transaction.atomic(), pytest.raises(channel.CallInsideTransaction):
            channel.dispute("dp_none")

    def test_with_a_parameter_that_stripe_does_not_know_is_refused(self, stripe):
        with pytest.raises(Refused, match="unknown parameter"):
            channel._call(lambda client: client.v1.refunds.create({"amont": 1}))


class TestThePortal:
    def test_is_for_who_has_bought_by_stripe(self, stripe):
        invoice = quoted()
        stripe.charges(invoice)

        assert selling.portal(invoice.customer).startswith(stripe.local.address)

    def test_is_asked_for_by_the_api(self, stripe):
        invoice = quoted()
        stripe.charges(invoice)

        answer = ask_for_portal(invoice.customer)

        assert (answer.status_code, list(answer.json())) == (200, ["portal_link"])

    def test_is_not_there_for_who_never_bought_by_it(self, stripe):
        assert ask_for_portal(CustomerFactory()).status_code == 404

    def test_is_opened_five_times_a_minute(self, stripe):
        customer = CustomerFactory()
        for _ in range(5):
            ask_for_portal(customer)

        assert ask_for_portal(customer).status_code == 429


def ask_for_portal(customer):
    return Client().post(
        "/api/v1/me/billing-portal", headers={"Authorization": f"Bearer {signed(claims_of(customer))}"}
    )


class TestTheBot:
    """/buy shows the ways to pay, and one of them leads to Stripe."""

    @pytest.fixture
    def alice(self, telegram):
        person = telegram.local.person("Alice", user_id=7_000_000_777)
        person.says("/start")
        return person

    def test_offers_every_way_and_sends_the_page_of_stripe(self, stripe, alice):
        by_stripe(PlanFactory())
        shop.buy(command(alice, "buy", "gold_1m"))
        assert {"Pay 500 ⭐", "Pay £25.00 by card", "Pay £25.00 with Stripe"} <= labels(alice)

        presses(alice, "Pay £25.00 with Stripe")

        sent = alice.messages()[-1]
        assert sent["text"] == "Gold, 1 month for £25.00. The button opens the page where you pay."
        assert address(sent) == stripe.account.all("checkout.session")[0]["url"]

    def test_leads_to_the_portal_from_the_status(self, stripe, alice):
        stripe.sells(quoted(customer=CustomerFactory(telegram_user_id=alice.id)))
        account.status(command(alice, "status"))

        presses(alice, "Cards, receipts, subscriptions")

        assert "/p/session/" in address(alice.messages()[-1])

    def test_says_that_a_plan_renews_itself(self, stripe, alice):
        club()

        buy(CustomerFactory(telegram_user_id=alice.id), plan_code="club", delivery=invoicing.Delivery.CHAT)

        assert alice.messages()[-1]["text"].endswith("for £9.00, renewed by itself until you cancel it.")


def command(person, name: str, argument: str = "") -> Command:
    return Command(
        name=name, argument=argument, chat_id=person.id, is_private=True, sender=sender(person), date=datetime.now(UTC)
    )


def sender(person) -> Person:
    return Person(id=person.id, first_name="Alice", language_code="en")


def labels(person) -> set[str]:
    return {button["text"] for row in keyboard(person.messages()[-1]) for button in row}


def keyboard(message: dict) -> list:
    return message["reply_markup"]["inline_keyboard"]


def address(message: dict) -> str:
    return keyboard(message)[0][0]["url"]


def presses(person, label: str) -> None:
    query = person.presses(label).query
    shop.pressed(
        ButtonPress(
            query_id=query.id,
            data=query.data,
            chat_id=person.id,
            message_id=None,
            sender=sender(person),
        )
    )


class TestThePagesItLeadsBackTo:
    @pytest.mark.parametrize(("how", "words"), [("done", "Thank you"), ("left", "Nothing was charged")])
    def test_say_what_to_do_next(self, stripe, how, words):
        answer = Client().get(f"/pay/stripe/{how}")

        assert answer.status_code == 200
        assert words in answer.content.decode()

    def test_speak_russian(self, stripe):
        assert "Спасибо" in Client().get("/pay/stripe/done", headers={"Accept-Language": "ru"}).content.decode()

    def test_are_not_there_without_the_key(self, settings):
        settings.STRIPE_SECRET_KEY = ""

        assert Client().get("/pay/stripe/done").status_code == 404
