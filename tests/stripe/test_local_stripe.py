"""The local Stripe is as strict as the real one where we lean on it, as the official SDK sees it."""

import http.server
import threading
import time

import httpx
import pytest
from stripe import IdempotencyError, InvalidRequestError, RequestsClient, StripeClient, WebhookSignature, params
from stripe.params import billing_portal, checkout

from payments.sandbox import forms
from payments.sandbox.account import TAKEN, Account, as_bytes
from payments.sandbox.delivery import Delivery, signature
from payments.sandbox.faults import Faults
from payments.sandbox.server import LocalStripe
from tests.sandbox.conftest import eventually

KEY = "sk_test_of_the_tests_of_the_sandbox"
SECRET = "whsec_of_the_tests_of_the_sandbox"
DAY = 86_400
SALE = {
    "mode": "payment",
    "success_url": "https://shop.example/done",
    "line_items": [
        {"price_data": {"currency": "gbp", "unit_amount": 500, "product_data": {"name": "Gold"}}, "quantity": 1}
    ],
}


@pytest.fixture(scope="module")
def local():
    with LocalStripe.running(secret_key=KEY) as running:
        yield running


@pytest.fixture(scope="module")
def sdk(local) -> StripeClient:
    return StripeClient(KEY, base_addresses={"api": local.address}, http_client=RequestsClient(timeout=60))


def sold(local, sdk, **changes):
    session = sdk.v1.checkout.sessions.create(SALE | changes)
    local.account.pay(session.id)
    return sdk.v1.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent.latest_charge"]})


class TestASession:
    def test_is_paid_once(self, local, sdk):
        session = sold(local, sdk, metadata={"ours": "yes"})

        assert (session.status, session.payment_status, session.amount_total) == ("complete", "paid", 500)
        assert session.payment_intent.latest_charge.amount == 500
        with pytest.raises(Exception, match="not open"):
            local.account.pay(session.id)

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"mode": "gift"}, "Invalid mode"),
            ({"line_items": []}, "at least one line item"),
            ({"success_url": "nowhere"}, "valid URL"),
            ({"expires_at": 1}, "between 30 minutes and 24 hours"),
            ({"subscription_data": {"metadata": {"a": "b"}}}, "can not pass"),
            ({"customer": "cus_none"}, "No such customer"),
            ({"metadata": {"a": "x" * 501}}, "too long"),
            ({"colour": "red"}, "unknown parameter"),
            ({"mode": "subscription"}, "go with `subscription` mode"),
        ],
    )
    def test_that_is_asked_for_wrongly_is_refused(self, sdk, changes, words):
        with pytest.raises(InvalidRequestError, match=words):
            sdk.v1.checkout.sessions.create(SALE | changes)

    def test_that_has_expired_cannot_be_paid(self, local, sdk):
        session = sdk.v1.checkout.sessions.create(SALE)

        assert sdk.v1.checkout.sessions.expire(session.id).status == "expired"

        assert local.events("checkout.session.expired")[-1]["data"]["object"]["id"] == session.id
        with pytest.raises(Exception, match="not open"):
            local.account.pay(session.id)
        assert "This page has expired" in httpx.get(session.url, timeout=60).text

    @pytest.mark.parametrize("status", ["complete", "expired"])
    def test_that_is_not_open_cannot_be_made_to_expire(self, local, sdk, status):
        session = sdk.v1.checkout.sessions.create(SALE)
        local.account.objects[session.id]["status"] = status

        with pytest.raises(InvalidRequestError, match=rf"can be expired. .* has a status of `{status}`"):
            sdk.v1.checkout.sessions.expire(session.id)

    def test_is_found_by_its_customer_and_status(self, sdk):
        customer = sdk.v1.customers.create({}).id
        left, open_still = (sdk.v1.checkout.sessions.create(SALE | {"customer": customer}).id for _ in range(2))
        sdk.v1.checkout.sessions.expire(left)
        sdk.v1.checkout.sessions.create(SALE)

        def found(**asked) -> list[str]:
            return [each.id for each in sdk.v1.checkout.sessions.list({"customer": customer, **asked}).data]

        assert (found(), found(status="open")) == ([open_still, left], [open_still])
        with pytest.raises(InvalidRequestError, match="No such customer"):
            found(customer="cus_none")


class TestARefund:
    def test_of_more_than_is_left_is_refused(self, local, sdk):
        intent = sold(local, sdk).payment_intent.id
        sdk.v1.refunds.create({"payment_intent": intent, "amount": 300})

        with pytest.raises(InvalidRequestError, match="greater than unrefunded"):
            sdk.v1.refunds.create({"payment_intent": intent, "amount": 201})
        sdk.v1.refunds.create({"payment_intent": intent, "amount": 200})
        with pytest.raises(InvalidRequestError) as refusal:
            sdk.v1.refunds.create({"payment_intent": intent})
        assert refusal.value.code == "charge_already_refunded"
        assert [each.amount for each in sdk.v1.refunds.list({"payment_intent": intent}).data] == [200, 300]

    def test_under_one_key_is_made_once(self, local, sdk):
        intent = sold(local, sdk).payment_intent.id
        asked = {"payment_intent": intent, "amount": 100}, {"idempotency_key": f"once-{intent}"}

        assert sdk.v1.refunds.create(*asked).id == sdk.v1.refunds.create(*asked).id
        with pytest.raises(IdempotencyError):
            sdk.v1.refunds.create({"payment_intent": intent, "amount": 101}, asked[1])

    def test_that_went_wrong_goes_wrong_again_under_its_key(self, local, sdk):
        intent = sold(local, sdk).payment_intent.id
        asked = {"payment_intent": intent}, {"idempotency_key": f"wrong-{intent}"}
        local.faults.order("POST /v1/refunds", "500")

        for _ in range(2):
            with pytest.raises(Exception, match="unknown error"):
                sdk.v1.refunds.create(*asked)
        assert sdk.v1.refunds.list({"payment_intent": intent}).data == []


class TestAList:
    def test_comes_in_pages(self, local, sdk):
        for _ in range(3):
            sdk.v1.customers.create({})
            local.account._happens("customer.created", {"id": "cus_1", "object": "customer"})

        kinds = {"types": ["customer.created"], "limit": 2}
        first = sdk.v1.events.list(kinds)
        rest = sdk.v1.events.list({**kinds, "starting_after": first.data[-1].id})

        assert (len(first.data), first.has_more, len(rest.data), rest.has_more) == (2, True, 1, False)

    def test_is_expanded_four_levels_deep_at_most(self, local, sdk):
        with pytest.raises(InvalidRequestError, match="more than 4 levels"):
            sdk.v1.checkout.sessions.retrieve(
                sold(local, sdk).id, {"expand": ["payment_intent.latest_charge.refunds.data.charge"]}
            )


class TestAnEvent:
    def test_is_signed_so_that_the_sdk_takes_it(self):
        body = as_bytes({"id": "evt_1", "type": "charge.refunded"})

        assert WebhookSignature.verify_header(body, signature(body, secret=SECRET, at=1), SECRET)

    def test_is_brought_again_until_it_is_taken_and_spoilt_on_order(self):
        with webhook(answers=[500, 200, 200, 200, 200]) as (address, bodies, arrived):
            faults = Faults()
            delivery = Delivery(faults, url=address, secret=SECRET)
            faults.order_event("lose", "lost")
            faults.order_event("duplicate", "doubled")
            faults.order_event("reorder", "late")
            for kind in ("tried", "lost", "doubled", "late", "early"):
                delivery.take({"id": f"evt_{kind}", "type": kind})
            delivery.start()
            try:
                assert arrived.wait(60)
            finally:
                delivery.stop()

        told = [body.partition(b'"evt_')[2].partition(b'"')[0].decode() for body in bodies]
        assert sorted(told) == ["doubled", "doubled", "early", "late", "tried", "tried"]
        assert told.index("early") < told.index("late")


class TestItsClock:
    def test_moved_on_renews_what_falls_due_and_ends_what_was_cancelled(self):
        with LocalStripe.running(secret_key=KEY) as local:
            kept, left, declined = subscription(local), subscription(local), subscription(local)
            local.account.cancel_in_portal(left["id"])
            local.account.decline_next(declined["id"])
            began = local.account.now()

            answer = httpx.post(f"{local.address}/local/clock", json={"ahead": 65 * DAY}, timeout=60)

            assert answer.status_code == 200
            assert local.account.now() >= began + 65 * DAY
        assert [each["status"] for each in (kept, left, declined)] == ["active", "canceled", "past_due"]
        paid = [event["data"]["object"] for event in local.events("invoice.paid")]
        assert [round((each["status_transitions"]["paid_at"] - began) / DAY) for each in paid] == [0, 0, 0, 30, 60]
        assert round((left["ended_at"] - began) / DAY) == 30
        assert len(local.events("invoice.payment_failed")) == 1

    def test_is_that_of_its_signatures(self):
        hook = webhook(answers=[200])
        with (
            hook as (address, _, _),
            LocalStripe.running(secret_key=KEY, webhook=address, webhook_secret=SECRET) as local,
        ):
            local.account.pass_time(65 * DAY)
            local.account.sell_something_else()
            eventually(lambda: hook.signed, seconds=60)

        signed_at = int(hook.signed[0].partition(",")[0].removeprefix("t="))
        assert signed_at >= local.account.events[-1]["created"] > time.time() + 64 * DAY


def subscription(local) -> dict:
    """One of 30 days, paid once."""
    sdk = StripeClient(KEY, base_addresses={"api": local.address}, http_client=RequestsClient(timeout=60))
    price = {"currency": "gbp", "unit_amount": 900, "product_data": {"name": "The club"}}
    price["recurring"] = {"interval": "day", "interval_count": 30}
    sale = {"mode": "subscription", "line_items": [{"price_data": price, "quantity": 1}]}
    buyer = {"customer": sdk.v1.customers.create({}).id}
    session = local.account.pay(sdk.v1.checkout.sessions.create(SALE | sale | buyer).id)
    return local.account.find(session["subscription"], "subscription")


def test_its_page_takes_the_money_and_leads_back(local, sdk):
    session = sdk.v1.checkout.sessions.create(SALE | {"success_url": f"{local.address}/back"})
    assert "Gold" in httpx.get(session.url, timeout=60).text

    answer = httpx.post(f"{session.url}?do=pay", timeout=60)

    assert (answer.status_code, answer.headers["Location"]) == (303, f"{local.address}/back")
    assert sdk.v1.checkout.sessions.retrieve(session.id).payment_status == "paid"


def test_its_portal_tells_of_subscriptions_and_changes_them():
    with LocalStripe.running(secret_key=KEY) as local:
        club = subscription(local)
        portal = f"{local.address}/p/session/{club['customer']}"
        read = [httpx.get(portal, timeout=60).text]
        read += [
            httpx.post(f"{portal}?do={what}/{club['id']}", timeout=60).text for what in ("decline", "cancel", "keep")
        ]

    assert all("The club, 9.00 GBP every 30 days" in page for page in read)
    words = ("Renews on", "the card will be declined", "Cancelled; ends on", "Renews on")
    assert [word in page for word, page in zip(words, read, strict=True)] == [True] * 4
    assert "<li><span>" in read[0].partition("Receipts")[2]


@pytest.mark.parametrize(
    ("encoded", "read"),
    [
        ("a=1", {"a": "1"}),
        ("a[b]=1&a[c]=2", {"a": {"b": "1", "c": "2"}}),
        ("a[0]=1&a[1]=2", {"a": ["1", "2"]}),
        ("a[]=1&a[]=2", {"a": ["1", "2"]}),
        ("a[0][b]=1&a[0][c]=2", {"a": [{"b": "1", "c": "2"}]}),
        ("", {}),
    ],
)
def test_parameters_are_read_as_libraries_write_them(encoded, read):
    assert forms.read(encoded) == read


def test_an_account_keeps_what_is_its_own():
    account = Account()
    account.sell_something_else()

    assert all("_" not in name[0] for event in account.events for name in event["data"]["object"])


SHAPES = {
    "customers": params.CustomerCreateParams,
    "sessions": checkout.SessionCreateParams,
    "list of sessions": checkout.SessionListParams,
    "expiry": checkout.SessionExpireParams,
    "refunds": params.RefundCreateParams,
    "subscription": params.SubscriptionUpdateParams,
    "portal": billing_portal.SessionCreateParams,
}


@pytest.mark.parametrize("operation", TAKEN)
def test_it_takes_only_parameters_that_the_sdk_knows(operation):
    assert TAKEN[operation] <= set(SHAPES[operation].__annotations__)


class webhook:
    """A webhook that answers so, one after the other."""

    def __init__(self, answers: list[int]) -> None:
        self.bodies: list[bytes] = []
        self.signed: list[str] = []
        self.arrived = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                outer.signed.append(self.headers["Stripe-Signature"])
                self.send_response(answers[min(len(outer.bodies), len(answers)) - 1])
                self.send_header("Content-Length", "0")
                self.end_headers()
                if len(outer.bodies) == 6:
                    outer.arrived.set()

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))

    def __enter__(self):
        self.thread.start()
        return f"http://127.0.0.1:{self.server.server_port}/", self.bodies, self.arrived

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
