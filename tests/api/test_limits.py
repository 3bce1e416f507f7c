"""T52: as many are let through as a limit says, however they ask and whatever they say of where they come from."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle, islice
from typing import Any

import pytest
from django.conf import settings as configured
from django.db import connection
from django.test import Client, RequestFactory
from django.urls import get_resolver
from rest_framework.views import APIView

from config.api.authentication import GoodKeys
from config.api.docs import DocsView
from config.api.schema import SchemaView
from config.api.views import OpenView
from entitlements.models import ApiClient, Scope
from payments.api.views import CatalogView, SendInvoiceView
from payments.invoicing import ATTEMPTS_PER_MINUTE
from payments.stripe.webhook import StripeWebhook
from telegram_bot.api.views import ExchangeInitDataView
from telegram_bot.webhook import TelegramWebhook
from tests.api.conftest import claims_of, problem_of, program, signed
from tests.api.test_ratelimit import needs_redis, redis  # noqa: F401 - a fixture

AT_ONCE = 200
CATALOG, EXCHANGE = "/api/v1/catalog", "/api/v1/miniapp/exchange-initdata"
SEND_INVOICE = "/api/v1/telegram/payment/send-invoice"
STRANGER = "203.0.113.9"
FORWARDING = (
    "X-Forwarded-For", "X-Real-IP", "Forwarded", "X-Client-IP", "True-Client-IP", "CF-Connecting-IP", "X-Forwarded",
    "X-Cluster-Client-IP", "Forwarded-For", "Via", "X_Forwarded_For", "Client-IP",
)  # fmt: skip
ODD_SPELLINGS = (
    "/{}", "{}/", "{}//", "/api//v1/telegram/payment/send-invoice", "/API/v1/telegram/payment/send-invoice",
    "/api/v1/telegram/payment/Send-Invoice", "/api/v1/telegram/./payment/send-invoice", "{}?a=1", "{};a=1", "{}#a",
    "/api/v1/telegram/x/../payment/send-invoice", "/api/v1/telegram/payment/send%2Dinvoice", "{}%20", "{}%00",
    "/api/v1/telegram%2Fpayment/send-invoice", "/%61pi/v1/telegram/payment/send-invoice",
)  # fmt: skip


@pytest.fixture
def ten_open_calls(settings):
    settings.OPEN_CALLS_PER_MINUTE = 10


@pytest.fixture(params=["postgresql", pytest.param("redis", marks=needs_redis)])
def store(request):
    """Either place where attempts are counted."""
    if request.param == "redis":
        request.getfixturevalue("redis")


@dataclass
class Asked:
    """One call: when it began and ended, in seconds, and what it was answered."""

    began: float
    ended: float
    status: int


def ask(view, request) -> Asked:
    """Call a view as the server does, without what is around it."""
    began = time.monotonic()
    try:
        return Asked(began, status=view(request).status_code, ended=time.monotonic())
    finally:
        if threading.current_thread() is not threading.main_thread():
            connection.close()


def at_once(view, requests) -> list[Asked]:
    with ThreadPoolExecutor(AT_ONCE) as threads:
        return list(threads.map(lambda request: ask(view, request), requests))


def assert_let_through(asked: list[Asked], limit: int) -> None:
    """As many as the limit says, and in no 60 seconds more; so that it holds where a test takes longer than that."""
    refused = [one for one in asked if one.status == 429]
    let_through = sorted((one for one in asked if one.status != 429), key=lambda one: one.began)
    assert refused
    assert len(let_through) >= limit
    for first, one_too_many in zip(let_through, let_through[limit:], strict=False):
        assert one_too_many.ended - first.began >= 60


def addresses(resolver=None, prefix: str = "/") -> dict[str, Any]:
    """The pattern of each address of the house, by an address that looks like it."""
    found = {}
    for pattern in (resolver or get_resolver()).url_patterns:
        address = prefix + str(pattern.pattern).lstrip("^")
        found |= addresses(pattern, address) if hasattr(pattern, "url_patterns") else {address: pattern}
    return found


def forged(number: int) -> dict[str, str]:
    """Headers that name another address for each call, in each way that some proxy or other has."""
    address = f"198.18.{number // 256}.{number % 256}"
    spelled = {"Forwarded": f"for={address}", "Via": f"1.1 {address}"}
    name = FORWARDING[number % len(FORWARDING)]
    return {name: spelled.get(name, address)}


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("store", "ten_open_calls")
class TestTwoHundredAtOnce:
    def test_open_calls_of_an_address_are_let_through_up_to_the_limit(self):
        requests = [RequestFactory(REMOTE_ADDR=STRANGER).get(CATALOG) for _ in range(AT_ONCE)]

        assert_let_through(at_once(CatalogView.as_view(), requests), 10)

    def test_attempts_of_a_buyer_are_let_through_up_to_the_limit(self, alice):
        authorised = {"Authorization": f"Bearer {signed(claims_of(alice))}"}
        requests = [
            RequestFactory().post(SEND_INVOICE, b"{", content_type="application/json", headers=authorised)
            for _ in range(AT_ONCE)
        ]

        assert_let_through(at_once(SendInvoiceView.as_view(), requests), ATTEMPTS_PER_MINUTE)


@pytest.mark.django_db
@pytest.mark.usefixtures("ten_open_calls")
class TestAnAddress:
    def test_is_told_when_to_come_again(self):
        stranger = Client(REMOTE_ADDR=STRANGER)
        for _ in range(10):
            stranger.get(CATALOG)

        refused = stranger.get(CATALOG)

        assert problem_of(refused) == (429, "rate_limited")
        assert 1 <= int(refused["Retry-After"]) <= 60

    @pytest.mark.parametrize("proxies", [[], ["127.0.0.1"]], ids=["", "behind a proxy"])
    def test_is_not_another_for_a_thousand_forged_headers(self, settings, proxies):
        settings.TRUSTED_PROXIES = proxies
        proxy = {"REMOTE_ADDR": "127.0.0.1"} if proxies else {"REMOTE_ADDR": STRANGER}
        asked = []

        for number in range(1_000):
            headers = forged(number)
            if proxies:  # which appends whom it sees
                claimed = headers.get("X-Forwarded-For")
                headers["X-Forwarded-For"] = f"{claimed}, {STRANGER}" if claimed else STRANGER
            asked.append(ask(CatalogView.as_view(), RequestFactory(**proxy).get(CATALOG, headers=headers)))

        assert_let_through(asked, 10)

    def test_of_ipv6_counts_with_its_neighbours(self):
        client = Client()
        for number in range(10):
            client.get(CATALOG, REMOTE_ADDR=f"2001:db8::{number}")

        assert client.get(CATALOG, REMOTE_ADDR="2001:db8::ffff").status_code == 429
        assert client.get(CATALOG, REMOTE_ADDR="2001:db8:0:1::1").status_code == 200

    def test_counts_sign_ins_and_the_rest_together_and_hinders_no_other(self):
        client = Client(REMOTE_ADDR=STRANGER)
        for _ in range(10):
            client.post(EXCHANGE, b"{}", content_type="application/json")

        assert client.get(CATALOG).status_code == 429
        assert client.get(CATALOG, REMOTE_ADDR="203.0.113.10").status_code == 200

    def test_that_is_used_up_still_serves_those_who_say_who_they_are(self, alice, telegram_posts):
        client = Client()
        for _ in range(10):
            client.get(CATALOG)
        assert client.get(CATALOG).status_code == 429

        me = client.get("/api/v1/me/entitlements", headers={"Authorization": f"Bearer {signed(claims_of(alice))}"})
        assert me.status_code == 200
        assert program(Scope.ENTITLEMENTS_READ).get("/api/v1/customers/7/entitlements").status_code == 200
        assert telegram_posts({"update_id": 1, "poll": {}}).status_code == 200
        assert client.get("/healthz").status_code == 200

    def test_that_nobody_knows_is_no_address(self):
        """Through a socket of the file system, by a proxy that nobody has told us to believe."""
        client = Client(REMOTE_ADDR="")

        assert {client.get(CATALOG).status_code for _ in range(12)} == {200}


@pytest.mark.django_db
@pytest.mark.usefixtures("ten_open_calls")
class TestWrongCredentials:
    PROGRAMS, BUYERS = "/api/v1/customers/7/entitlements", "/api/v1/me/entitlements"

    @pytest.fixture(autouse=True)
    def in_one_second(self, monkeypatch):
        """However slow this machine is."""
        monkeypatch.setattr(GoodKeys, "FRESH", 3600.0)

    def ask(self, path: str, authorization: str, address: str = STRANGER):
        return Client(REMOTE_ADDR=address).get(path, headers={"Authorization": authorization})

    def wrong(self, number: int) -> tuple[str, str]:
        """One that was never good, of either kind."""
        if number % 2:
            return self.BUYERS, f"Bearer {signed(claims_of(), key=f'of somebody else, of thirty-two bytes {number}')}"
        return self.PROGRAMS, f"Api-Key abcdefgh.{number:043}"

    def use_up(self) -> None:
        """Come with too many wrong ones, so that this is known when the next comes."""
        for number in range(13):
            self.ask(*self.wrong(number))

    def test_are_counted_by_address_with_its_open_calls(self):
        answers = [problem_of(self.ask(*self.wrong(number))) for number in range(14)]

        assert answers == [(401, "invalid_token")] * 10 + [(429, "rate_limited")] * 4
        assert Client(REMOTE_ADDR=STRANGER).get(CATALOG).status_code == 429
        assert self.ask(*self.wrong(0), address="203.0.113.10").status_code == 401

    def test_are_refused_without_a_query_when_there_were_too_many(self, django_assert_num_queries):
        self.use_up()

        with django_assert_num_queries(0):
            assert {self.ask(*self.wrong(number)).status_code for number in range(8)} == {429}

    def test_do_not_harm_good_ones_from_the_same_address(self, alice):
        key = program(Scope.ENTITLEMENTS_READ).credentials["Authorization"]
        self.use_up()

        assert self.ask(self.PROGRAMS, key).status_code == 200
        assert self.ask(self.BUYERS, f"Bearer {signed(claims_of(alice))}").status_code == 200

    @pytest.mark.parametrize("ended", ["revoked_at", "expires_at"])
    def test_are_also_those_that_were_good_once(self, ended, django_assert_num_queries):
        key = program(Scope.ENTITLEMENTS_READ).credentials["Authorization"]
        ApiClient.objects.update(**{ended: datetime.now(UTC)})
        self.use_up()

        with django_assert_num_queries(0):
            assert self.ask(self.PROGRAMS, key).status_code == 429

    def test_that_were_good_a_moment_ago_are_looked_up(self):
        """What is known of good keys spares questions, and answers none."""
        key = program(Scope.ENTITLEMENTS_READ).credentials["Authorization"]
        self.use_up()
        ApiClient.objects.update(revoked_at=datetime.now(UTC))

        assert problem_of(self.ask(self.PROGRAMS, key)) == (429, "rate_limited")


@pytest.mark.django_db
class TestABuyer:
    def test_has_one_limit_at_whatever_spelling_of_the_address(self, alice):
        client, authorised = Client(), {"Authorization": f"Bearer {signed(claims_of(alice))}"}
        spellings = [spelling.format(SEND_INVOICE) for spelling in ODD_SPELLINGS]

        statuses = [
            client.post(path, b"{", content_type="application/json", headers=authorised | forged(number)).status_code
            for number, path in enumerate(islice(cycle(spellings), 100))
        ]

        assert statuses.count(400) == ATTEMPTS_PER_MINUTE
        assert set(statuses) == {400, 404, 429}

    def test_has_one_limit_with_whatever_token(self, alice):
        client, statuses = Client(), []
        for number in range(20):
            token = signed(claims_of(alice, exp=claims_of()["exp"] + number))
            authorised = {"Authorization": f"{'bearer' if number % 2 else 'BEARER'} {token}"}
            statuses.append(
                client.post(SEND_INVOICE, b"{", content_type="application/json", headers=authorised).status_code
            )

        assert statuses.count(400) == ATTEMPTS_PER_MINUTE


def test_every_view_that_asks_for_no_credentials_counts_its_callers():
    """But for what is answered from memory, and for Telegram and Stripe, whom nothing may hold up."""
    exempt = {SchemaView, DocsView, TelegramWebhook, StripeWebhook}
    views = {getattr(pattern.callback, "view_class", None) for pattern in addresses().values()}
    open_views = {view for view in views if view and issubclass(view, APIView) and not view.authentication_classes}

    assert {CatalogView, ExchangeInitDataView} <= open_views
    assert [view for view in open_views - exempt if not issubclass(view, OpenView)] == []


class Unreadable:
    """A body of which not a byte may be read."""

    def read(self, *_: object) -> bytes:
        raise AssertionError("the body was read")

    readline = read


@pytest.mark.django_db
class TestABodyThatIsTooLarge:
    def test_is_refused_unread_at_every_address(self):
        assert len(addresses()) > 100
        client = Client()

        for path in [*addresses(), "/nothing", "/static/starledger/admin.css"]:
            answer = client.generic(
                "POST",
                path,
                content_type="multipart/form-data; boundary=x",
                CONTENT_LENGTH=str(configured.DATA_UPLOAD_MAX_MEMORY_SIZE + 1),
                **{"wsgi.input": Unreadable()},
            )

            assert answer.status_code == 413, path
            if path.startswith(("/api/", "/webhook/")):
                assert problem_of(answer) == (413, "too_large")

    def test_is_one_byte_more_than_what_is_read(self, nobody):
        largest = configured.DATA_UPLOAD_MAX_MEMORY_SIZE
        body = json.dumps({"init_data": ""}).ljust(largest)

        assert problem_of(nobody.post(EXCHANGE, body)) == (422, "invalid")
        assert problem_of(nobody.post(EXCHANGE, body + " ")) == (413, "too_large")

    @pytest.mark.parametrize("announced", ["", "-1", "x", "²", "1e9", "9" * 5_000])
    def test_is_not_what_announces_no_number(self, announced):
        answer = Client().generic(
            "POST", EXCHANGE, content_type="application/json", CONTENT_LENGTH=announced, **{"wsgi.input": Unreadable()}
        )

        assert problem_of(answer) == (400, "malformed")
