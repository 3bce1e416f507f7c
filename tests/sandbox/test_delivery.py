"""Updates on their way to a webhook, by Telegram's rules. Pauses are a thousandth of Telegram's."""

import json
import threading
import time

import httpx
import pytest

from telegram_bot.sandbox.clock import Clock
from telegram_bot.sandbox.server import LocalTelegram
from tests.sandbox.conftest import ALLOWED, Receiver, Reply, called, eventually


def said(hooked) -> list[str]:
    return [one["message"]["text"] for one in hooked.updates()]


class Failing:
    """Fails the first so many requests, then agrees."""

    def __init__(self, times: int, reply: Reply) -> None:
        self.left = times
        self.reply = reply

    def __call__(self, update: dict) -> Reply:
        self.left -= 1
        return self.reply if self.left >= 0 else Reply()


class TestARequest:
    def test_carries_the_secret_and_the_update(self, telegram, hooked, alice):
        telegram.wait_until_quiet()

        (received,) = hooked.received
        assert received.headers["X-Telegram-Bot-Api-Secret-Token"] == "the-secret"
        assert received.headers["Content-Type"] == "application/json"
        assert received.update["message"]["text"] == "/start"

    def test_is_remembered_byte_for_byte_with_its_answer(self, telegram, hooked):
        hooked.answer = lambda update: Reply(status=202, body=b"thanks")
        telegram.person("Carol").says("hello")
        telegram.wait_until_quiet()

        (delivery,) = telegram.truth.deliveries
        assert delivery.request == hooked.received[0].body
        assert (delivery.status, delivery.reply, delivery.error, delivery.attempt) == (202, b"thanks", None, 1)

    @pytest.mark.parametrize("status", [200, 201, 204, 299])
    def test_answered_with_any_2xx_has_arrived(self, telegram, hooked, status):
        hooked.answer = lambda update: Reply(status=status)
        telegram.person("Carol").says("hello")
        telegram.wait_until_quiet()

        assert [one.state for one in telegram.truth.updates] == ["delivered"]
        assert len(hooked.received) == 1

    @pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 404, 500, 503])
    def test_answered_with_anything_else_comes_again(self, telegram, hooked, status):
        hooked.answer = Failing(2, Reply(status=status, headers={"Location": hooked.url}))
        telegram.person("Carol").says("hello")
        telegram.wait_until_quiet()

        assert [one.status for one in telegram.truth.deliveries] == [status, status, 200]
        assert [one.attempt for one in telegram.truth.deliveries] == [1, 2, 3]
        assert len({one.body for one in hooked.received}) == 1

    def test_that_nobody_takes_comes_again(self, telegram, api, alice):
        api.result("setWebhook", url="http://127.0.0.1:9/hook")
        alice.says("hello")

        eventually(lambda: len(telegram.truth.deliveries) >= 4)
        assert telegram.truth.deliveries[3].status is None
        assert "refused" in api.result("getWebhookInfo")["last_error_message"]

    def test_that_is_not_answered_in_time_comes_while_the_first_still_runs(self, receiver):
        running = threading.Semaphore(0)

        def answer(update):
            if len(receiver.received) == 1:
                running.acquire()
            else:
                running.release()
            return Reply()

        receiver.answer = answer
        with LocalTelegram.running(pace=0.001, webhook_seconds=0.3) as telegram:
            telegram.person("Alice").says("hello")
            httpx.post(f"{telegram.base_url}/bot{telegram.token}/setWebhook", data={"url": receiver.url})
            telegram.wait_until_quiet()

            assert [one.error for one in telegram.truth.deliveries] == ["Read timeout expired", None]


class TestPauses:
    def pauses(self, telegram, hooked, monkeypatch, failures: int, reply: Reply) -> list[float]:
        asked = []

        async def noted(clock, seconds):
            asked.append(seconds)

        monkeypatch.setattr(Clock, "pause", noted)
        hooked.answer = Failing(failures, reply)
        telegram.person("Carol").says("hello")
        telegram.wait_until_quiet()
        return asked

    def test_are_none_then_double_then_one_to_two_minutes(self, telegram, hooked, monkeypatch):
        asked = self.pauses(telegram, hooked, monkeypatch, 10, Reply(status=500))

        assert asked[:6] == [0, 2, 4, 8, 16, 32]
        assert all(60 <= seconds <= 120 for seconds in asked[6:])
        assert len(asked) == 10

    def test_are_what_the_webhook_asks_for(self, telegram, hooked, monkeypatch):
        assert self.pauses(telegram, hooked, monkeypatch, 2, Reply(503, headers={"Retry-After": "7"})) == [7, 7]

    def test_are_an_hour_at_most(self, telegram, hooked, monkeypatch):
        assert self.pauses(telegram, hooked, monkeypatch, 1, Reply(503, headers={"Retry-After": "9999"})) == [3600]

    @pytest.mark.parametrize("header", ["1.5", "soon", "-3", "Wed, 21 Oct 2026 07:28:00 GMT"])
    def test_are_asked_for_in_whole_seconds_only(self, telegram, hooked, monkeypatch, header):
        assert self.pauses(telegram, hooked, monkeypatch, 1, Reply(503, headers={"Retry-After": header})) == [0]

    def test_longer_than_the_life_of_an_update_end_it(self, telegram, api, hooked, alice):
        hooked.answer = lambda update: (
            Reply(503, headers={"Retry-After": "151"}) if "message" not in update else Reply()
        )
        paying = alice.starts_paying(api.invoice(alice))
        telegram.wait_until_quiet()
        telegram.advance(seconds=3)

        assert paying.result().status == "timed_out"
        states = {one.kind: one.state for one in telegram.truth.updates}
        assert states == {"message": "delivered", "pre_checkout_query": "expired"}


class TestTheLifeOfAnUpdate:
    def test_is_a_day_for_messages(self, telegram, api, alice):
        (update,) = telegram.truth.updates
        assert round(update.expires_at - update.date) == 86_400

        telegram.advance(hours=25)
        assert api.updates() == []
        assert [one.state for one in telegram.truth.updates] == ["expired"]

    def test_is_150_seconds_for_checkouts_and_buttons(self, telegram, api, alice):
        markup = {"inline_keyboard": [[{"text": "Gold", "callback_data": "gold"}]]}
        api.result("sendMessage", chat_id=alice.id, text="Choose", reply_markup=markup)
        alice.presses("Gold")
        paying = alice.starts_paying(api.invoice(alice))
        telegram.advance(seconds=151)
        paying.result()

        assert [next(iter(one.keys() - {"update_id"})) for one in api.updates()] == ["message"]

    def test_of_a_payment_ends_but_the_list_of_transactions_keeps_it(self, telegram, api, hooked, alice):
        hooked.answer = lambda update: Reply(500) if "message" in update else called(
            "answerPreCheckoutQuery", pre_checkout_query_id=update["pre_checkout_query"]["id"], ok=True
        )  # fmt: skip
        charge = alice.pays(api.invoice(alice)).charge
        telegram.advance(hours=25)
        telegram.wait_until_quiet()

        assert {one.state for one in telegram.truth.updates if one.kind == "successful_payment"} == {"expired"}
        assert [row["id"] for row in api.result("getStarTransactions")["transactions"]] == [charge.id]


class TestOrder:
    def test_within_a_chat_is_kept_and_one_is_in_flight_at_a_time(self, telegram, hooked, alice):
        running, most = 0, 0
        lock = threading.Lock()

        def answer(update):
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            time.sleep(0.02)
            with lock:
                running -= 1
            return Reply()

        hooked.answer = answer
        for number in range(8):
            alice.says(str(number))
        telegram.wait_until_quiet()

        assert said(hooked) == ["/start", *map(str, range(8))]
        assert most == 1

    def test_between_chats_is_not_promised_and_one_that_fails_holds_up_itself_alone(self, telegram, hooked, alice, bob):
        telegram.wait_until_quiet()
        hooked.answer = lambda update: Reply(500 if update["message"]["from"]["id"] == alice.id else 200)
        alice.says("poison")
        alice.says("behind it")
        bob.says("hello")

        eventually(lambda: "hello" in said(hooked))
        assert "behind it" not in said(hooked)
        hooked.answer = lambda update: Reply()
        telegram.wait_until_quiet()
        assert said(hooked)[-1] == "behind it"

    def test_as_many_failing_chats_as_twice_the_connections_stall_the_bot(self, telegram, api, receiver, bob):
        bad = {telegram.person(f"Bad {number}").says("poison")["from"]["id"] for number in range(4)}
        receiver.answer = lambda update: Reply(500 if update["message"]["from"]["id"] in bad else 200)
        api.result("setWebhook", url=receiver.url, max_connections=2, drop_pending_updates=False)
        bob.says("can anybody hear me")

        time.sleep(0.3)
        assert "can anybody hear me" not in said(receiver)
        receiver.answer = lambda update: Reply()
        telegram.wait_until_quiet()
        assert "can anybody hear me" in said(receiver)


class TestAnAnswerWithAMethod:
    @pytest.mark.parametrize("method", ["sendMessage", "SENDMESSAGE"])
    def test_is_a_call(self, telegram, hooked, alice, method):
        hooked.answer = lambda update: called(
            method, chat_id=update["message"]["chat"]["id"], text="Hi from the answer"
        )
        alice.says("x")

        assert alice.hears("Hi from the answer")
        assert telegram.truth.calls[-1].via == "webhook"

    @pytest.mark.parametrize("method", ["getMe", "setWebhook", "deleteWebhook", "close", "logOut"])
    def test_is_none_when_it_would_ask_or_turn_the_webhook(self, telegram, hooked, method):
        hooked.answer = lambda update: called(method)
        telegram.person("Carol").says("hello")
        telegram.wait_until_quiet()

        assert [call.method for call in telegram.truth.calls if call.via == "webhook"] == []

    @pytest.mark.parametrize(
        "body", [b'{"method": "sendMessage"', b'["sendMessage"]', b'{"method": 5}', b"[" * 100_000], ids=range(4)
    )
    def test_is_none_when_it_cannot_be_read(self, telegram, hooked, body):
        hooked.answer = lambda update: Reply(body=body, headers={"Content-Type": "application/json"})
        telegram.person("Carol").says("hello")
        telegram.wait_until_quiet()

        assert [one.state for one in telegram.truth.updates] == ["delivered"]

    def test_is_none_when_it_is_not_called_json(self, telegram, hooked, alice):
        text = json.dumps({"method": "sendMessage", "chat_id": alice.id, "text": "x"}).encode()
        hooked.answer = lambda update: Reply(body=text, headers={"Content-Type": "text/plain"})
        alice.says("hello")
        telegram.wait_until_quiet()

        assert telegram.truth.calls_of("sendMessage") == []


class TestTheWebhook:
    def test_gets_only_what_it_asked_for(self, telegram, api, receiver, alice):
        api.result("setWebhook", url=receiver.url, allowed_updates=["callback_query"], drop_pending_updates=True)
        alice.says("unheard")
        alice.blocks()
        telegram.wait_until_quiet()

        assert receiver.received == []

    def test_keeps_its_list_when_it_is_set_without_one(self, telegram, api, receiver, alice):
        api.result("setWebhook", url=receiver.url, allowed_updates=["callback_query"], drop_pending_updates=True)
        api.result("setWebhook", url=receiver.url, secret_token="other")
        alice.says("unheard")
        telegram.wait_until_quiet()

        assert receiver.received == []
        assert api.result("getWebhookInfo")["allowed_updates"] == ["callback_query"]

    def test_set_again_to_the_same_is_left_alone(self, api, receiver):
        first = api("setWebhook", url=receiver.url)
        second = api("setWebhook", url=receiver.url)

        assert first == {"ok": True, "result": True, "description": "Webhook was set"}
        assert second["description"] == "Webhook is already set"

    def test_elsewhere_gets_what_is_pending_at_once(self, api, receiver, hooked, alice):
        hooked.answer = lambda update: Reply(500)
        alice.says("hello")
        other = Receiver()
        api.result("setWebhook", url=other.url)

        eventually(lambda: "hello" in said(other))
        other.close()
        assert said(other)[-1] == "hello"

    def test_deleted_leaves_updates_to_get_updates(self, telegram, api, hooked, alice):
        hooked.answer = lambda update: Reply(500)
        alice.says("hello")
        api.result("deleteWebhook")

        assert [one["message"]["text"] for one in api.updates()][-1] == "hello"

    def test_drops_what_is_pending_when_told(self, api, hooked, alice):
        hooked.answer = lambda update: Reply(500)
        alice.says("hello")
        api.result("deleteWebhook", drop_pending_updates=True)

        assert api.updates() == []

    def test_says_how_it_is(self, telegram, api, hooked):
        hooked.answer = Failing(1, Reply(status=503))
        telegram.person("Carol").says("hello")
        telegram.wait_until_quiet()

        info = api.result("getWebhookInfo")
        assert info["url"] == hooked.url
        assert info["pending_update_count"] == 0
        assert info["last_error_message"] == "Wrong response from the webhook: 503 Service Unavailable"
        assert info["allowed_updates"] == ALLOWED

    def test_that_says_gone_for_23_hours_is_removed(self, telegram, api, hooked, alice):
        hooked.answer = lambda update: Reply(status=410)
        alice.says("one")
        eventually(lambda: telegram.truth.deliveries and telegram.truth.deliveries[-1].status == 410)
        telegram.advance(hours=22)
        tries = len(telegram.truth.deliveries)
        eventually(lambda: len(telegram.truth.deliveries) > tries + 1)
        assert api.result("getWebhookInfo")["url"] == hooked.url

        telegram.advance(hours=1.5)
        eventually(lambda: api.result("getWebhookInfo")["url"] == "")

    @pytest.mark.parametrize(
        "wrong",
        [
            {"url": "not a url"},
            {"url": "ftp://example.org"},
            {"secret_token": "a b"},
            {"secret_token": "x" * 257},
            {"max_connections": 0},
            {"max_connections": 101},
            {"allowed_updates": ["mesage"]},
        ],
    )
    def test_is_refused_when_it_is_none(self, api, receiver, wrong):
        assert api("setWebhook", **{"url": receiver.url} | wrong)["error_code"] == 400
        assert api.result("getWebhookInfo")["url"] == ""


class TestRedelivery:
    def test_under_the_same_id_is_the_same_bytes(self, telegram, hooked, alice):
        telegram.wait_until_quiet()
        telegram.redelivers(telegram.truth.updates[0].update_id)
        telegram.wait_until_quiet()

        first, second = hooked.received
        assert first.body == second.body

    def test_under_a_new_id_is_the_same_but_for_that(self, telegram, hooked, alice):
        telegram.wait_until_quiet()
        new_id = telegram.redelivers(telegram.truth.updates[0].update_id, under_new_id=True)
        telegram.wait_until_quiet()

        first, second = (one.update for one in hooked.received)
        assert second == first | {"update_id": new_id}
        assert new_id != first["update_id"]

    def test_of_an_update_nobody_knows_is_refused(self, telegram):
        with pytest.raises(LookupError, match="no update 5"):
            telegram.redelivers(5)

    @pytest.mark.parametrize("body", [b"hello", b"", b'{"update_id": 1, "message": {"text": "\xff\xfe"}}'])
    def test_of_any_bytes_at_all(self, telegram, hooked, body):
        telegram.injects(body)
        telegram.wait_until_quiet()

        assert hooked.received[0].body == body


class TestQuiet:
    def test_says_what_it_waits_for_in_vain(self, telegram, hooked, alice):
        hooked.answer = lambda update: Reply(500)
        alice.says("x")

        with pytest.raises(TimeoutError, match=r"\(message, \d+ attempts\).*last error: Wrong response"):
            telegram.wait_until_quiet(timeout=0.3)
