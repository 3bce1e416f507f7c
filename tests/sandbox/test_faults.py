"""What goes wrong on order, and only then."""

import asyncio
import threading
import time

import httpx
import pytest
from telegram import Bot
from telegram.error import BadRequest, NetworkError, RetryAfter, TimedOut
from telegram.request import HTTPXRequest

from tests.sandbox.conftest import Reply


def says(api, alice):
    return api("sendMessage", chat_id=alice.id, text="the effect")


def happened(alice) -> bool:
    return any(message.get("text") == "the effect" for message in alice.messages())


class TestACall:
    def test_is_refused(self, telegram, api, alice):
        telegram.faults.order("sendMessage", "refuse", description="CHAT_RESTRICTED")

        assert says(api, alice)["description"] == "Bad Request: CHAT_RESTRICTED"
        assert not happened(alice)

    def test_fails_for_one_person_and_no_other(self, telegram, api, alice):
        telegram.faults.order("sendMessage", "refuse", person=alice.id + 1)
        assert says(api, alice)["ok"]

        telegram.faults.order("sendMessage", "refuse", person=alice.id)
        assert not says(api, alice)["ok"]

    def test_is_refused_although_it_was_done(self, telegram, api, hooked, alice):
        charge = alice.pays(api.invoice(alice)).charge
        telegram.faults.order("refundStarPayment", "refuse_after_effect", description="CHARGE_ALREADY_REFUNDED")

        words = api.refusal("refundStarPayment", user_id=alice.id, telegram_payment_charge_id=charge.id)

        assert words == "Bad Request: CHARGE_ALREADY_REFUNDED"
        assert [one.id for one in telegram.truth.refunds] == [charge.id]

    @pytest.mark.parametrize(("kind", "effect"), [("hang", False), ("hang_after_effect", True)])
    def test_hangs(self, telegram, api, alice, kind, effect):
        telegram.faults.order("sendMessage", kind)

        with pytest.raises(httpx.ReadTimeout):
            api.client.post("sendMessage", json={"chat_id": alice.id, "text": "the effect"}, timeout=0.2)
        assert happened(alice) is effect

    @pytest.mark.parametrize(("kind", "effect"), [("cut_before", False), ("cut_after_effect", True)])
    def test_is_cut(self, telegram, api, alice, kind, effect):
        telegram.faults.order("sendMessage", kind)

        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            says(api, alice)
        assert happened(alice) is effect

    @pytest.mark.parametrize(("kind", "effect"), [("500", False), ("500_after_effect", True)])
    def test_breaks_the_server(self, telegram, api, alice, kind, effect):
        telegram.faults.order("sendMessage", kind)

        assert says(api, alice) == {"ok": False, "error_code": 500, "description": "Internal Server Error"}
        assert happened(alice) is effect

    def test_meets_a_proxy_that_speaks_html(self, telegram, api, alice):
        telegram.faults.order("sendMessage", "502")

        answer = api.client.post("sendMessage", json={"chat_id": alice.id, "text": "the effect"})

        assert answer.status_code == 502
        assert answer.headers["Content-Type"].startswith("text/html")
        assert not happened(alice)

    def test_comes_too_soon(self, telegram, api, alice):
        telegram.faults.order("sendMessage", "429", retry_after=7)

        answer = says(api, alice)

        assert answer["error_code"] == 429
        assert answer["parameters"] == {"retry_after": 7}
        assert answer["description"] == "Too Many Requests: retry after 7"

    def test_is_answered_by_half(self, telegram, api, alice):
        telegram.faults.order("sendMessage", "half_json")

        answer = api.client.post("sendMessage", json={"chat_id": alice.id, "text": "the effect"})

        with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
            answer.json()
        assert happened(alice)

    def test_is_answered_after_what_follows_from_it(self, telegram, api, hooked, alice):
        charge = alice.pays(api.invoice(alice)).charge
        telegram.faults.order("refundStarPayment", "slow", seconds=0.5)
        refunding = threading.Thread(
            target=api.result,
            args=("refundStarPayment",),
            kwargs={"user_id": alice.id, "telegram_payment_charge_id": charge.id},
        )
        refunding.start()

        deadline = time.monotonic() + 0.4
        while not hooked.updates() or "refunded_payment" not in hooked.updates()[-1]["message"]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert refunding.is_alive()
        refunding.join()

    def test_fails_as_often_as_ordered_and_then_works(self, telegram, api, alice):
        telegram.faults.order("sendMessage", "500", times=2)

        assert [says(api, alice)["ok"] for _ in range(3)] == [False, False, True]
        assert telegram.faults.ordered == []

    def test_of_another_method_is_left_alone(self, telegram, api):
        telegram.faults.order("sendMessage", "500")

        assert api("getMe")["ok"]
        assert len(telegram.faults.ordered) == 1

    def test_of_any_method_fails(self, telegram, api):
        telegram.faults.order_any("500")

        assert not api("getMe")["ok"]

    def test_works_again_when_the_order_is_taken_back(self, telegram, api):
        telegram.faults.order("getMe", "500", times=100)
        telegram.faults.clear()

        assert api("getMe")["ok"]

    def test_cannot_fail_in_a_way_there_is_not(self, telegram):
        with pytest.raises(ValueError, match="unknown fault 'explode'"):
            telegram.faults.order("getMe", "explode")

    def test_that_failed_is_remembered_with_its_fault(self, telegram, api, alice):
        telegram.faults.order("sendMessage", "500")
        says(api, alice)

        call = telegram.truth.calls_of("sendMessage")[0]
        assert (call.fault, call.code, call.answer) == ("500", None, None)


class TestPythonTelegramBot:
    """The library the shop calls with takes each fault for what it is."""

    @pytest.mark.parametrize(
        ("kind", "error"),
        [
            ("refuse", BadRequest),
            ("hang", TimedOut),
            ("hang_after_effect", TimedOut),
            ("cut_before", NetworkError),
            ("cut_after_effect", NetworkError),
            ("500", NetworkError),
            ("502", NetworkError),
            ("429", RetryAfter),
        ],
    )
    def test_raises_its_error(self, telegram, alice, kind, error, monkeypatch):
        monkeypatch.setenv("PTB_TIMEDELTA", "true")

        async def send() -> None:
            request = HTTPXRequest(read_timeout=0.3)
            async with Bot(telegram.token, base_url=f"{telegram.base_url}/bot", request=request) as bot:
                telegram.faults.order("sendMessage", kind)
                await bot.send_message(alice.id, "Hi")

        with pytest.raises(error):
            asyncio.run(send())


class TestAnUpdate:
    def test_arrives_twice(self, telegram, hooked, alice):
        telegram.wait_until_quiet()
        telegram.faults.updates(duplicate=1)
        alice.says("once")
        alice.says("twice?")
        telegram.wait_until_quiet()

        assert [one["message"]["text"] for one in hooked.updates()] == ["/start", "once", "once", "twice?"]
        assert len({one["update_id"] for one in hooked.updates()}) == 3

    def test_arrives_in_another_order(self, telegram, hooked, alice):
        telegram.wait_until_quiet()
        telegram.faults.updates(reorder=3)
        for text in "abcd":
            alice.says(text)
        telegram.wait_until_quiet()

        assert [one["message"]["text"] for one in hooked.updates()] == ["/start", "c", "b", "a", "d"]

    def test_held_back_for_reordering_is_sent_when_the_order_is_taken_back(self, telegram, hooked, alice):
        telegram.wait_until_quiet()
        telegram.faults.updates(reorder=3)
        alice.says("a")
        with pytest.raises(TimeoutError, match="held back"):
            telegram.wait_until_quiet(timeout=0.1)

        telegram.faults.clear()
        telegram.wait_until_quiet()
        assert hooked.updates()[-1]["message"]["text"] == "a"

    def test_is_lost_and_only_the_list_knows_of_the_payment(self, telegram, api, hooked, alice):
        telegram.faults.updates(lose=1, kind="successful_payment")

        charge = alice.pays(api.invoice(alice)).charge
        telegram.wait_until_quiet()

        assert [one.state for one in telegram.truth.updates if one.kind == "successful_payment"] == ["lost"]
        assert [one for one in hooked.updates() if "successful_payment" in one["message"]] == []
        assert [row["id"] for row in telegram.truth.transactions] == [charge.id]

    def test_comes_again_when_the_answer_is_not_heard(self, telegram, hooked, alice):
        telegram.wait_until_quiet()
        telegram.faults.updates(unheard=2)
        alice.says("hello")
        telegram.wait_until_quiet()

        assert [one["message"]["text"] for one in hooked.updates()] == ["/start", "hello", "hello", "hello"]

    def test_of_another_kind_is_left_alone(self, telegram, hooked, alice):
        telegram.wait_until_quiet()
        telegram.faults.updates(lose=1, kind="refunded_payment")
        alice.says("hello")
        telegram.wait_until_quiet()

        assert hooked.updates()[-1]["message"]["text"] == "hello"

    def test_that_was_unheard_still_had_its_effect_at_the_bot(self, telegram, api, hooked, alice):
        """Telegram does not hear the approval, asks again, and hears the second one."""
        telegram.faults.updates(unheard=1, kind="pre_checkout_query")

        assert alice.pays(api.invoice(alice)).paid
        assert len(hooked.updates("pre_checkout_query")) == 2


def test_nothing_goes_wrong_unless_ordered(telegram, api, hooked, alice):
    hooked.answer = lambda update: Reply()
    for number in range(50):
        alice.says(str(number))
    telegram.wait_until_quiet()

    assert [one["message"]["text"] for one in hooked.updates()] == ["/start", *map(str, range(50))]
