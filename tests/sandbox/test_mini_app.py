"""What a Mini App gets to prove who opened it."""

import json
from urllib.parse import parse_qs

import pytest
from init_data_py import validate_by_hash
from init_data_py.errors import ExpiredError, HashInvalidError


class TestInitData:
    def test_is_signed_with_the_bots_token(self, telegram, alice):
        data = validate_by_hash(alice.init_data(), telegram.token, expires_in=60)

        assert (data.user.id, data.user.first_name, data.user.language_code) == (alice.id, "Alice", "ru")

    def test_of_another_bot_does_not_fit(self, alice):
        with pytest.raises(HashInvalidError):
            validate_by_hash(alice.init_data(), "123456:another")

    def test_is_covered_by_the_hash_with_its_signature(self, telegram, alice):
        data = alice.init_data()
        signature = parse_qs(data)["signature"][0]

        with pytest.raises(HashInvalidError):
            validate_by_hash(data.replace(signature, signature[::-1]), telegram.token)

    def test_can_be_old(self, telegram, alice):
        with pytest.raises(ExpiredError):
            validate_by_hash(alice.init_data(age=3601), telegram.token, expires_in=3600)

    def test_can_be_from_the_future(self, telegram, alice):
        future = int(parse_qs(alice.init_data(age=-600))["auth_date"][0])

        assert future > telegram.now() + 500

    def test_is_of_the_machines_time_also_when_telegrams_was_moved_on(self, telegram, alice):
        telegram.advance(days=30)

        validate_by_hash(alice.init_data(), telegram.token, expires_in=60)
        assert int(parse_qs(alice.init_data())["auth_date"][0]) < telegram.now() - 29 * 86_400

    def test_keeps_names_as_they_are(self, telegram):
        odd = telegram.person("<b>&=\n漢", last_name="é")

        user = json.loads(parse_qs(odd.init_data())["user"][0])
        assert (user["first_name"], user["last_name"], user["allows_write_to_pm"]) == ("<b>&=\n漢", "é", False)
        validate_by_hash(odd.init_data(), telegram.token)
