"""What the page and tests in other processes can do over HTTP."""

import base64
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.sandbox.conftest import TLS, eventually


@pytest.fixture
def local(telegram):
    with httpx.Client(base_url=f"{telegram.base_url}/local/", timeout=20, verify=TLS) as client:
        yield client


class TestPeople:
    def test_are_added_and_listed(self, local):
        given = {"first_name": "Carol", "id": 2**40, "username": "carol_1", "language_code": "de"}
        carol = local.post("people", json=given).json()

        assert carol["id"] == 2**40
        assert local.get("people").json() == [carol]

    @pytest.mark.parametrize(
        ("given", "status"),
        [
            ({}, 400),
            ({"first_name": 5}, 400),
            ({"first_name": ""}, 409),
            ({"first_name": "x", "id": 2**52}, 409),
            ({"first_name": "x", "id": 0}, 409),
            ({"first_name": "x", "id": True}, 400),
        ],
    )
    def test_that_cannot_be_are_refused_with_a_sentence(self, local, given, status):
        answer = local.post("people", json=given)

        assert answer.status_code == status
        assert answer.json()["error"]

    def test_write_press_and_pay(self, local, api, hooked, alice):
        at = f"people/{alice.id}"
        assert local.post(f"{at}/say", json={"text": "/plans"}).json()["text"] == "/plans"
        markup = {"inline_keyboard": [[{"text": "Gold", "callback_data": "gold"}]]}
        message = api.result("sendMessage", chat_id=alice.id, text="Choose", reply_markup=markup)
        with ThreadPoolExecutor() as pool:
            press = {"message_id": message["message_id"], "data": "gold"}
            pressing = pool.submit(local.post, f"{at}/press", json=press)
            eventually(lambda: hooked.updates("callback_query"))
            query_id = hooked.updates("callback_query")[0]["callback_query"]["id"]
            api.result("answerCallbackQuery", callback_query_id=query_id, text="Done")
            assert pressing.result().json()["answer"] == {"text": "Done"}
        invoice = local.post(f"{at}/open", json={"message_id": api.invoice(alice).message_id}).json()
        assert (invoice["total_amount"], invoice["payload"]) == (500, "order 1")

        outcome = local.post(f"{at}/pay", json={"invoice_id": invoice["id"]}).json()

        assert outcome["status"] == "paid"
        assert outcome["charge"]["amount"] == 500

    def test_open_links_forward_block_and_unblock(self, local, api, hooked, alice, bob):
        link = api.link(alice).link
        assert local.post(f"people/{bob.id}/open", json={"link": link}).json()["link"] == link
        invoice = api.invoice(alice)
        forwarded = local.post(f"people/{alice.id}/forward", json={"invoice_id": invoice.id, "to": bob.id})
        assert forwarded.status_code == 200
        assert local.post(f"people/{bob.id}/pay", json={"invoice_id": invoice.id}).json()["status"] == "paid"

        assert local.post(f"people/{bob.id}/block", json={}).status_code == 200
        again = local.post(f"people/{bob.id}/block", json={})
        assert (again.status_code, again.json()["error"]) == (409, "Bob has already blocked the bot")
        assert local.post(f"people/{bob.id}/unblock", json={}).status_code == 200

    def test_who_are_not_there_are_not_found(self, local):
        assert local.post("people/5/say", json={"text": "hi"}).status_code == 404

    def test_have_init_data(self, local, alice):
        assert "hash=" in local.get(f"people/{alice.id}/init_data?age=10").json()["init_data"]


class TestSubscriptions:
    def test_are_renewed_cancelled_re_enabled_and_failed(self, telegram, local, api, hooked, alice):
        alice.pays(api.link(alice, subscription_period=2_592_000))
        at = f"subscriptions/{alice.subscriptions()[0].id}"

        states = [
            local.post(f"{at}/{verb}", json={}).json()["state"] for verb in ("renew", "cancel", "reenable", "fail")
        ]

        assert states == ["active", "canceled", "active", "failed"]
        assert local.post(f"{at}/renew", json={}).status_code == 409
        assert local.post("subscriptions/99/renew", json={}).status_code == 404
        assert len(telegram.truth.charges) == 2

    def test_are_told_to_fail_when_they_fall_due(self, local, api, hooked, alice):
        alice.pays(api.link(alice, subscription_period=2_592_000))
        at = f"subscriptions/{alice.subscriptions()[0].id}"

        assert local.post(f"{at}/next", json={"fails": True}).json()["next_fails"] is True
        assert local.post(f"{at}/next", json={"fails": False}).json()["next_fails"] is False
        assert local.post(f"{at}/next", json={}).status_code == 400


class TestUpdatesFaultsAndTime:
    def test_updates_are_injected_and_redelivered(self, telegram, local, hooked, alice):
        telegram.wait_until_quiet()
        local.post("updates", content=b"\xff", headers={"Content-Type": "application/octet-stream"})
        update_id = telegram.truth.updates[0].update_id
        assert local.post(f"updates/{update_id}/redeliver", json={}).json() == {"update_id": update_id}
        new = local.post(f"updates/{update_id}/redeliver", json={"under_new_id": True}).json()["update_id"]
        assert local.get("quiet?timeout=5").json() == {"quiet": True, "unrest": ""}

        assert new != update_id
        assert sorted(len(one.body) == 1 for one in hooked.received) == [False, False, False, True]
        assert local.post("updates/1/redeliver", json={}).status_code == 404

    def test_faults_are_ordered_listed_and_taken_back(self, telegram, local):
        local.post("faults", json={"method": "getMe", "kind": "500", "times": 2})
        local.post("faults/updates", json={"fault": "lose", "times": 1, "kind": "message"})

        ordered = local.get("faults").json()
        assert [(one["method"], one["times"]) for one in ordered["calls"]] == [("getMe", 2)]
        assert [(one["fault"], one["kind"]) for one in ordered["updates"]] == [("lose", "message")]
        local.delete("faults")
        assert telegram.faults.ordered == []

    @pytest.mark.parametrize("order", [{"method": "getMe", "kind": "explode"}, {"kind": "500"}, {"unknown": 1}])
    def test_faults_there_are_not_are_refused(self, local, order):
        assert local.post("faults", json=order).status_code == 400

    def test_time_moves_on(self, telegram, local):
        before = telegram.now()

        assert local.post("clock", json={"advance": 86400}).json()["now"] >= before + 86400
        assert local.post("clock", json={}).status_code == 400

    def test_a_transaction_is_added(self, api, local):
        row = {"id": "x", "amount": 7, "date": 1, "source": {"type": "other"}}

        assert local.post("transactions", json=row).status_code == 200
        assert api.result("getMyStarBalance") == {"amount": 7}
        assert local.post("transactions", json={"id": "x"}).status_code == 400


class TestTheTruth:
    def test_is_told_whole(self, telegram, local, api, hooked, alice):
        charge = alice.pays(api.invoice(alice)).charge
        telegram.wait_until_quiet()

        truth = local.get("truth").json()

        assert [one["id"] for one in truth["charges"]] == [charge.id]
        assert truth["balance"] == {"amount": 500}
        bodies = {base64.b64decode(one["request"]["base64"]) for one in truth["deliveries"]}
        assert bodies == {one.body for one in hooked.received}
        assert [one["method"] for one in truth["calls"]] == ["setWebhook", "sendInvoice", "answerPreCheckoutQuery"]

    def test_says_when_it_changes(self, telegram, local, alice):
        with local.stream("GET", "events") as events:
            lines = events.iter_lines()
            first = next(line for line in lines if line.startswith("data:"))
            alice.says("hello")
            second = next(line for line in lines if line.startswith("data:"))

        assert int(second.split()[1]) > int(first.split()[1])

    def test_of_the_wire_is_told_for_the_page(self, telegram, local, hooked, alice):
        telegram.wait_until_quiet()

        wire = local.get("wire").json()
        assert wire["calls"][0]["method"] == "setWebhook"
        assert wire["deliveries"][0]["request"]["text"] == hooked.received[0].body.decode()


class TestOtherSites:
    """A page of another site in the same browser must not steer the local Telegram."""

    def test_cannot_ask_under_their_own_name(self, local):
        for path in ("state", "truth", "people"):
            assert local.get(path, headers={"Host": "evil.example"}).status_code == 403

    @pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
    def test_cannot_post_what_browsers_send_without_asking(self, local, content_type):
        answer = local.post("people", content=b'{"first_name": "Mallory"}', headers={"Content-Type": content_type})

        assert answer.status_code == 415
        assert local.get("people").json() == []

    def test_are_told_that_a_body_must_be_an_object(self, local):
        for body in (b"{", b"[]", b"\xff"):
            answer = local.post("people", content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code == 400
