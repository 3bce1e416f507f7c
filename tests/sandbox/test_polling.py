"""getUpdates."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest


class TestGetUpdates:
    def test_gives_the_oldest_first(self, api, alice):
        for number in range(3):
            alice.says(str(number))

        assert [one["message"]["text"] for one in api.updates()] == ["/start", "0", "1", "2"]
        assert len(api.result("getUpdates", limit=2)) == 2

    def test_confirms_what_is_below_the_offset(self, telegram, api, alice):
        alice.says("next")
        first, second = api.updates()

        assert [one["update_id"] for one in api.updates(first["update_id"] + 1)] == [second["update_id"]]
        assert api.updates() == [second]
        assert telegram.truth.updates[0].state == "confirmed"

    def test_counts_a_negative_offset_from_the_end(self, api, alice):
        alice.says("last")

        assert [one["message"]["text"] for one in api.updates(-1)] == ["last"]
        assert [one["message"]["text"] for one in api.updates()] == ["last"]

    def test_waits_for_an_update(self, api, alice):
        api.updates(api.updates()[-1]["update_id"] + 1)
        with ThreadPoolExecutor() as pool:
            began = time.monotonic()
            asked = pool.submit(api, "getUpdates", timeout=50)
            time.sleep(0.2)
            alice.says("here")
            answer = asked.result()

        assert answer["result"][-1]["message"]["text"] == "here"
        assert 0.15 < time.monotonic() - began < 40

    def test_gives_nothing_after_its_time(self, api):
        began = time.monotonic()

        assert api.result("getUpdates", timeout=1) == []
        assert time.monotonic() - began > 0.9

    def test_is_a_conflict_with_a_webhook(self, api, hooked):
        answer = api("getUpdates")

        assert answer["error_code"] == 409
        assert answer["description"].startswith("Conflict: can't use getUpdates method while webhook is active")

    def test_is_a_conflict_with_another_of_its_kind(self, api):
        with ThreadPoolExecutor() as pool:
            first = pool.submit(api, "getUpdates", timeout=10)
            time.sleep(0.2)
            second = api("getUpdates")

            assert second["ok"]
            assert first.result()["description"].startswith("Conflict: terminated by other getUpdates request")

    def test_ends_when_a_webhook_is_set(self, api, receiver):
        with ThreadPoolExecutor() as pool:
            asked = pool.submit(api, "getUpdates", timeout=50)
            time.sleep(0.2)
            api.result("setWebhook", url=receiver.url)

            assert asked.result()["error_code"] == 409

    def test_gives_bytes_as_they_are(self, telegram, api):
        telegram.injects(b'{"update_id": 1, "message": {"text": "\xff"}}')

        assert b'{"text": "\xff"}' in api.client.post("getUpdates").content

    def test_keeps_to_the_kinds_asked_for(self, api, alice):
        api.result("getUpdates", allowed_updates=["callback_query"])
        alice.says("unheard")

        assert [one["message"]["text"] for one in api.updates()] == ["/start"]

    @pytest.mark.parametrize("limit", [0, 101])
    def test_has_a_limit(self, api, limit):
        assert "limit" in api.refusal("getUpdates", limit=limit)
