"""What updates look like: as Bot API 10.3 describes them, and as python-telegram-bot reads them."""

import json

import pytest
from telegram import Bot, Update

from telegram_bot.sandbox.errors import NotPossible
from tests.sandbox.conftest import ALLOWED, assert_shape

MONTH = 2_592_000


@pytest.fixture
def everything(telegram, api, hooked, alice, bob):
    """One of each update there is."""
    markup = {"inline_keyboard": [[{"text": "Gold", "callback_data": "gold"}]]}
    api.result("sendMessage", chat_id=alice.id, text="Choose <b>now</b>", parse_mode="HTML", reply_markup=markup)
    alice.says("/buy gold_1m @shop_bot https://example.org 😀")
    alice.presses("Gold")
    fiat = {"title": "T", "description": "D", "payload": "p", "currency": "GBP", "provider_token": "1:2"}
    prices = [{"label": "T", "amount": 5}]
    api.result("sendInvoice", chat_id=alice.id, **fiat, prices=prices, need_name=True, need_phone_number=True)
    alice.pays(alice.last_invoice())
    charge = alice.pays(api.invoice(alice)).charge
    api.result("refundStarPayment", user_id=alice.id, telegram_payment_charge_id=charge.id)
    alice.pays(api.link(alice, subscription_period=MONTH))
    subscription = alice.subscriptions()[0]
    telegram.renews(subscription)
    alice.cancels(subscription)
    alice.reenables(subscription)
    telegram.fails_to_renew(subscription)
    bob.blocks()
    bob.unblocks()
    telegram.wait_until_quiet()
    return [one.update for one in hooked.received]


class TestEveryUpdate:
    def test_is_there(self, everything):
        kinds = {kind for update in everything for kind in update} - {"update_id"}
        inside = {name for update in everything for name in update.get("message", {})}

        assert kinds == set(ALLOWED)
        assert {"text", "successful_payment", "refunded_payment"} <= inside

    def test_has_exactly_the_fields_of_the_bot_api(self, everything):
        for update in everything:
            assert_shape("Update", update)

    def test_is_read_by_python_telegram_bot(self, telegram, everything):
        bot = Bot(telegram.token)
        for update in everything:
            parsed = Update.de_json(update, bot)

            known = parsed.to_dict() | dict(parsed.api_kwargs)
            assert set(known) == set(update)
            for name, content in update.items():
                if isinstance(content, dict) and name != "subscription":
                    assert set(content) <= set(known[name]) | {"from", "entities"}

    def test_is_written_in_ascii_with_its_id_first(self, hooked, everything):
        for received in hooked.received:
            assert received.body.isascii()
            assert received.body.startswith(b'{"update_id":')

    def test_has_an_id_greater_than_the_last(self, everything):
        ids = [update["update_id"] for update in everything]

        assert len(set(ids)) == len(ids)
        assert max(ids) - min(ids) == len(ids) - 1


class TestCommands:
    def test_are_marked_in_utf_16(self, telegram, api, alice):
        alice.says("😀 /buy@local_shop_bot gold")

        entities = api.updates()[-1]["message"]["entities"]
        assert entities == [{"type": "bot_command", "offset": 3, "length": 19}]


class TestPeople:
    def test_have_ids_of_up_to_52_bits(self, telegram, api):
        dave = telegram.person("Dave", user_id=2**52 - 1)
        dave.says("hi")

        assert api.updates()[-1]["message"]["from"]["id"] == 2**52 - 1

    def test_may_have_odd_names(self, telegram, api):
        odd = "\u202e<script>\n=HYPERLINK(\x00\ud800"
        telegram.person(odd, language_code=None).says("\x00")

        message = api.updates()[-1]["message"]
        assert message["from"] == {"id": message["chat"]["id"], "is_bot": False, "first_name": odd}
        assert message["text"] == "\x00"

    def test_do_not_share_ids(self, telegram):
        telegram.person("Dave", user_id=5)
        with pytest.raises(NotPossible, match="has the id 5"):
            telegram.person("Eve", user_id=5)

    def test_who_block_the_bot_are_told_of(self, telegram, api, alice):
        alice.blocks()

        change = api.updates()[-1]["my_chat_member"]
        assert change["old_chat_member"]["status"] == "member"
        assert change["new_chat_member"]["status"] == "kicked"
        assert json.dumps(change["new_chat_member"]["user"]["id"]) == telegram.token.split(":")[0]
