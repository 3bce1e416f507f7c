"""A Mini App's initData becomes a token of a quarter of an hour."""

import json
import time
from datetime import UTC, datetime
from urllib.parse import quote, urlencode

import jwt
import pytest
from django.conf import settings as configured
from hypothesis import given, settings
from hypothesis import strategies as st
from init_data_py import UnsignedInitData, sign

from entitlements.models import Customer, UserIdOrigin
from telegram_bot.api.sign_in import InvalidInitData, opener_of
from telegram_bot.sandbox import mini_app
from telegram_bot.sandbox.truth import Person
from tests.api.conftest import Caller, problem_of
from tests.factories import CustomerFactory

pytestmark = pytest.mark.django_db

NOBODY: dict = {}
EXCHANGE = "/api/v1/miniapp/exchange-initdata"


def signed(*, age: int = 0, user: dict | None = None, token: str | None = None, **fields) -> str:
    """What Telegram hands to the Mini App that Alice has opened."""
    alice = {"id": 7, "first_name": "Alice", "last_name": "A", "username": "alice", "language_code": "ru"}
    opener = {} if user is NOBODY else {"user": json.dumps(user or alice)}
    unsigned = UnsignedInitData(extra=opener | {"query_id": "AAF"} | fields)
    return sign(unsigned, token or configured.TELEGRAM_BOT_TOKEN, auth_date=time.time() - age)


def exchange(init_data):
    return Caller().post(EXCHANGE, {"init_data": init_data})


class TestAnExchange:
    def test_gives_a_token_that_lets_the_opener_in(self):
        answer = exchange(signed())

        body = answer.json()
        assert answer.status_code == 200
        assert body == {"access": body["access"], "expires_in": 900, "user_id": "7", "telegram_user_id": 7}
        assert Caller(f"Bearer {body['access']}").get("/api/v1/me/entitlements").json()["user_id"] == "7"
        claims = jwt.decode(body["access"], options={"verify_signature": False})
        assert claims["exp"] - claims["iat"] == 900
        assert (claims["sub"], claims["telegram_user_id"]) == ("7", 7)

    def test_keeps_who_he_is_and_what_he_speaks(self):
        exchange(signed())

        alice = Customer.objects.get()
        assert (alice.display_name, alice.username, alice.language_code) == ("Alice A", "alice", "ru")

    def test_names_a_customer_as_the_host_does(self):
        CustomerFactory(user_id="alice@example.org", telegram_user_id=7, user_id_origin=UserIdOrigin.HOST)

        body = exchange(signed()).json()

        assert body["user_id"] == "alice@example.org"
        assert Caller(f"Bearer {body['access']}").get("/api/v1/me/payments").status_code == 200

    def test_takes_what_the_local_telegram_signs(self):
        person = Person(id=7, first_name="Alice", last_name=None, username=None, language_code="en")
        init_data = mini_app.init_data(person, token=configured.TELEGRAM_BOT_TOKEN, auth_date=int(time.time()))

        assert exchange(init_data).status_code == 200

    def test_takes_fields_nobody_knows_yet(self):
        assert exchange(signed(brand_new="yes", signature="c2lnbmF0dXJl")).status_code == 200

    @pytest.mark.parametrize("age", [3590, -55])
    def test_takes_data_of_the_last_hour_and_of_a_clock_that_is_a_little_fast(self, age):
        assert exchange(signed(age=age)).status_code == 200


almost_init_data = st.dictionaries(
    st.sampled_from(["auth_date", "hash", "user", "receiver", "chat", "signature", "can_send_after"]),
    st.one_of(
        st.text(max_size=20),
        st.integers().map(str),
        st.just("0" * 64),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=9),
            lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["id", "first_name", "type"]), inner),
        ).map(json.dumps),
    ),
).map(urlencode)


class TestNoTokenIsGiven:
    def assert_refused(self, init_data):
        assert problem_of(exchange(init_data)) == (401, "invalid_token")
        assert not Customer.objects.exists()

    def test_for_data_older_than_an_hour(self):
        self.assert_refused(signed(age=3601))

    def test_for_data_from_the_future(self):
        self.assert_refused(signed(age=-65))

    def test_for_data_signed_with_another_bots_token(self):
        self.assert_refused(signed(token="100000001:another"))

    def test_where_no_token_is_set_with_which_only_telegram_could_have_signed(self, settings):
        settings.TELEGRAM_BOT_TOKEN = ""

        self.assert_refused(signed())

    def test_for_data_that_was_changed(self):
        self.assert_refused(signed().replace("Alice", "Malice"))

    def test_for_a_field_given_twice(self):
        self.assert_refused(f"{signed()}&query_id=AAF")
        self.assert_refused(f"{signed()}&user={quote(json.dumps({'id': 8, 'first_name': 'Bob'}))}")

    def test_for_data_without_a_user(self):
        self.assert_refused(signed(user=NOBODY))

    @pytest.mark.parametrize("user_id", [0, -7, 2**52])
    def test_for_a_user_that_cannot_be(self, user_id):
        self.assert_refused(signed(user={"id": user_id, "first_name": "X"}))

    @pytest.mark.parametrize(
        "init_data",
        [
            "x",
            "a=b",
            "hash=00",
            "&&&",
            "%00",
            "user=%7B%7D&hash=" + "0" * 64,
            urlencode({"auth_date": "253402300799", "hash": "0" * 64}),
            urlencode({"auth_date": "9" * 30, "hash": "0" * 64}),
            urlencode({"auth_date": "1", "user": "[" * 5000, "hash": "0" * 64}),
            urlencode({"auth_date": "1", "user": '{"id":' + "9" * 5000 + "}", "hash": "0" * 64}),
            urlencode({"auth_date": "1", "user": '{"id":true,"first_name":[]}', "hash": "0" * 64}),
        ],
    )
    def test_for_nonsense(self, init_data):
        self.assert_refused(init_data)

    @pytest.mark.parametrize("init_data", [None, 7, "", ["a"], "x" * 20_000, "\ud800", "a\x00b"])
    def test_for_what_is_no_text(self, init_data):
        refused = exchange(init_data)

        assert problem_of(refused) == (422, "invalid")
        assert list(refused.json()["errors"]) == ["init_data"]

    def test_for_a_blocked_customer(self):
        CustomerFactory(telegram_user_id=7, blocked_at=datetime.now(UTC))

        assert problem_of(exchange(signed())) == (403, "customer_blocked")

    @settings(max_examples=300, deadline=None)
    @given(st.one_of(st.text(max_size=200), almost_init_data))
    def test_for_anything_whatever(self, text):
        with pytest.raises(InvalidInitData):
            opener_of(text, now=datetime.now(UTC))
