"""What an invoice may be. Limits and words as documented or reported by developers."""

import pytest

from tests.sandbox.conftest import assert_shape, stars

FIAT = {"currency": "GBP", "provider_token": "1:TEST:2"}


class TestAnInvoice:
    @pytest.mark.parametrize(
        "change",
        [
            {"title": "x" * 32},
            {"description": "x" * 255},
            {"payload": "x" * 128},
            {"payload": "ё" * 64},
            {"prices": [{"label": "Gold", "amount": 100_000}]},
            {"provider_token": ""},
            {"need_name": False},
            FIAT,
            FIAT | {"prices": [{"label": "Gold", "amount": 2000}, {"label": "Tax", "amount": 500}]},
        ],
    )
    def test_may_go_to_its_limits(self, api, alice, change):
        message = api.result("sendInvoice", chat_id=alice.id, **stars() | change)

        assert_shape("Message", message)
        assert message["invoice"]["total_amount"] == sum(price["amount"] for price in (stars() | change)["prices"])

    @pytest.mark.parametrize("method", ["sendInvoice", "createInvoiceLink"])
    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"title": ""}, "INVOICE_TITLE_INVALID"),
            ({"title": "x" * 33}, "INVOICE_TITLE_INVALID"),
            ({"description": ""}, "INVOICE_DESCRIPTION_INVALID"),
            ({"description": "x" * 256}, "INVOICE_DESCRIPTION_INVALID"),
            ({"payload": ""}, "INVOICE_PAYLOAD_INVALID"),
            ({"payload": "x" * 129}, "INVOICE_PAYLOAD_INVALID"),
            ({"payload": "ё" * 65}, "INVOICE_PAYLOAD_INVALID"),
            ({"provider_token": "1:TEST:2"}, "STARS_INVOICE_INVALID"),
            ({"prices": [{"label": "a", "amount": 1}, {"label": "b", "amount": 2}]}, "STARS_INVOICE_INVALID"),
            ({"prices": []}, "STARS_INVOICE_INVALID"),
            ({"max_tip_amount": 5}, "STARS_INVOICE_INVALID"),
            ({"need_email": True}, "STARS_INVOICE_INVALID"),
            ({"is_flexible": True}, "STARS_INVOICE_INVALID"),
            ({"prices": [{"label": "Gold", "amount": 150_000}]}, "CURRENCY_TOTAL_AMOUNT_INVALID"),
            ({"prices": [{"label": "Gold", "amount": 0}]}, "CURRENCY_TOTAL_AMOUNT_INVALID"),
            ({"currency": "GBP"}, "PAYMENT_PROVIDER_INVALID"),
            (FIAT | {"currency": "gbp"}, "CURRENCY_INVALID"),
            (FIAT | {"currency": "XXX"}, "CURRENCY_INVALID"),
            (FIAT | {"prices": [{"label": "Gold", "amount": 0}]}, "CURRENCY_TOTAL_AMOUNT_INVALID"),
        ],
    )
    def test_is_refused_beyond_them(self, api, alice, method, change, words):
        where = {"chat_id": alice.id} if method == "sendInvoice" else {}

        assert api.refusal(method, **where, **stars() | change) == f"Bad Request: {words}"

    def test_that_was_refused_leaves_nothing(self, telegram, api, alice):
        api.refusal("sendInvoice", chat_id=alice.id, **stars(amount=150_000))
        telegram.person("Carol", user_id=77)
        api.refusal("sendInvoice", chat_id=77, **stars())

        assert telegram.truth.invoices == []

    def test_never_shows_its_payload(self, api, alice):
        message = api.result("sendInvoice", chat_id=alice.id, **stars(payload="the secret payload"))

        assert "the secret payload" not in str(message)


class TestASubscription:
    def test_is_sold_by_link(self, api, alice):
        invoice = api.link(alice, subscription_period=2_592_000, amount=10_000)

        assert invoice.subscription_period == 2_592_000
        assert invoice.link.startswith("https://t.me/$")

    def test_is_not_sold_by_message(self, api, alice):
        words = api.refusal("sendInvoice", chat_id=alice.id, **stars(), subscription_period=2_592_000)

        assert words == "Bad Request: SUBSCRIPTION_EXPORT_MISSING"

    @pytest.mark.parametrize("period", [1, 2_591_999, 31_536_000, -1])
    def test_lasts_thirty_days(self, api, period):
        words = api.refusal("createInvoiceLink", **stars(), subscription_period=period)

        assert words == "Bad Request: SUBSCRIPTION_PERIOD_INVALID"

    def test_costs_ten_thousand_at_most(self, api):
        words = api.refusal("createInvoiceLink", **stars(amount=10_001), subscription_period=2_592_000)

        assert words == "Bad Request: SUBSCRIPTION_PRICE_INVALID"

    def test_is_paid_in_stars(self, api):
        words = api.refusal("createInvoiceLink", **stars() | FIAT, subscription_period=2_592_000)

        assert words == "Bad Request: SUBSCRIPTION_PERIOD_INVALID"
