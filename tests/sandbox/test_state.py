"""The truth in a file: a demo keeps its chats and its money between runs."""

import json

import pytest

from telegram_bot.sandbox.server import LocalTelegram
from telegram_bot.sandbox.store import UnreadableState
from tests.sandbox.conftest import Api, Reply

TOKEN = "123456789:a-token-of-the-tests-that-opens-nothing"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "telegram.json"


@pytest.fixture
def run(path):
    """Starts a local Telegram on the same file, as often as wanted."""
    return lambda **options: LocalTelegram.running(token=TOKEN, state=path, pace=0.001, **options)


def facts(telegram) -> dict:
    truth = telegram.truth
    return {
        name: getattr(truth, name)
        for name in ("bot", "people", "messages", "invoices", "charges", "subscriptions", "transactions", "webhook")
    } | {
        "forwards": telegram._world.truth.forwards,
        "callbacks": truth.callbacks,
        "checkouts": truth.checkouts,
        "balance": truth.balance,
    }


def test_everything_is_there_again(run, receiver):
    with run() as telegram:
        api = Api(telegram.base_url, TOKEN)
        alice, bob = telegram.person("Alice", username="alice"), telegram.person("Bob")
        api.result("setMyCommands", commands=[{"command": "buy", "description": "Buy"}])
        api.result("setWebhook", url=receiver.url, allowed_updates=["message", "pre_checkout_query", "callback_query"])
        alice.says("/start")
        bob.says("/start")
        bob.blocks()
        markup = {"inline_keyboard": [[{"text": "Gold", "callback_data": "gold"}]]}
        api.result("sendMessage", chat_id=alice.id, text="Choose", reply_markup=markup)
        alice.presses("Gold")
        telegram.charges_back(3)
        alice.forwards(api.invoice(alice), to=bob)
        charge = alice.pays(api.invoice(alice)).charge
        alice.pays(api.link(alice, subscription_period=2_592_000))
        api.result("refundStarPayment", user_id=alice.id, telegram_payment_charge_id=charge.id)
        telegram.wait_until_quiet()
        telegram.advance(days=3)
        before, now = facts(telegram), telegram.now()
        api.client.close()

    with run() as telegram:
        assert facts(telegram) == before
        assert 0 <= telegram.now() - now < 60
        api = Api(telegram.base_url, TOKEN)
        assert api.result("getMyStarBalance") == {"amount": 497}
        assert api.result("getMyCommands") == [{"command": "buy", "description": "Buy"}]
        api.client.close()


def test_what_had_not_arrived_arrives_after_the_restart(run, receiver):
    receiver.answer = lambda update: Reply(500)
    with run() as telegram:
        api = Api(telegram.base_url, TOKEN)
        api.result("setWebhook", url=receiver.url)
        telegram.person("Alice").says("hello")
        telegram.injects(b"\xff\xfe")
        api.client.close()

    receiver.answer = lambda update: Reply()
    receiver.received.clear()
    with run() as telegram:
        telegram.wait_until_quiet()
    raw, said = sorted({one.body for one in receiver.received}, key=len)  # the last of the first run may end only now
    assert raw == b"\xff\xfe"
    assert json.loads(said)["message"]["text"] == "hello"


def test_a_checkout_that_was_open_is_over(run):
    with run() as telegram:
        api = Api(telegram.base_url, TOKEN)
        alice = telegram.person("Alice")
        alice.says("/start")
        paying = alice.starts_paying(api.invoice(alice))
        query_id = api.result("getUpdates", offset=-1, timeout=5)[0]["pre_checkout_query"]["id"]
        api.client.close()
    assert paying.cancelled()

    with run() as telegram:
        api = Api(telegram.base_url, TOKEN)
        words = api.refusal("answerPreCheckoutQuery", pre_checkout_query_id=query_id, ok=True)
        api.client.close()
    assert words.startswith("Bad Request: query is too old")


def test_numbers_go_on_where_they_stopped(run):
    with run() as telegram:
        first = telegram.person("Alice", user_id=5).says("one")
        last_id = telegram.truth.updates[-1].update_id

    with run() as telegram:
        second = telegram.person("Bob", user_id=6).says("two")
        assert second["message_id"] == first["message_id"] + 1
        assert telegram.truth.updates[-1].update_id == last_id + 1


def test_the_file_does_not_hold_the_token(run, path):
    with run():
        pass

    assert TOKEN.split(":")[1] not in path.read_text()


def test_the_file_is_written_while_it_runs(run, path):
    with run() as telegram:
        telegram.person("Alice")
        telegram._world.store.save()

        assert json.loads(path.read_text())["people"][0]["first_name"] == "Alice"


def test_a_file_that_cannot_be_written_any_more_does_not_stop_the_chat(run, path, caplog):
    with run() as telegram:
        path.unlink(missing_ok=True)
        path.mkdir()
        telegram.person("Alice")
        telegram._world.store.save()

        assert [person.first_name for person in telegram.truth.people] == ["Alice"]
    assert "cannot write the state file" in caplog.text


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", '{"format": 99}', '{"format": 1}', '{"format": 1, "bot": {"id": 5}}', "[" * 100_000, "\xff"],
    ids=["empty", "torn", "list", "other", "newer", "hollow", "of another bot", "deep", "not text"],
)
def test_a_file_that_is_not_one_is_refused_by_name(run, path, content):
    path.parent.mkdir()
    path.write_bytes(content.encode("latin-1"))

    with pytest.raises(UnreadableState, match=r"cannot use the state file .*telegram\.json"), run():
        pass
    assert path.read_bytes() == content.encode("latin-1")


def test_a_place_that_cannot_hold_a_file_is_refused_by_name(run, path):
    path.parent.write_text("a file, not a folder")

    with pytest.raises(UnreadableState, match="cannot use the state file"), run():
        pass


def test_those_who_follow_the_clock_are_told_of_it_at_the_start(run):
    told = []
    with run() as telegram:
        telegram.advance(days=3)

    with run(follow=told.append):
        pass

    assert [round(ahead / 86_400) for ahead in told] == [3]
