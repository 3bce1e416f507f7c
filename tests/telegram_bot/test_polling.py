"""Long polling: the same way as the webhook's, and nothing lost by whatever interrupts it."""

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from django.conf import settings as project
from django.db import connection

from payments.models import CheckoutDecision, PaymentEvent, PaymentMethod
from telegram_bot import polling
from telegram_bot.gateway import TokenRefused, gateway
from telegram_bot.models import IncomingUpdate, UpdateStatus
from telegram_bot.polling import poll
from telegram_bot.receiving import NotStored, receive
from tests import updates
from tests.factories import CustomerFactory, InvoiceFactory, PlanFactory

pytestmark = pytest.mark.usefixtures("transactional_db")


@pytest.fixture
def alice(local_telegram):
    alice = local_telegram.person("Alice")
    alice.says("/start")
    return alice


@pytest.fixture
def buys(alice):
    """An invoice for Alice that stands in her chat, and on paper."""
    invoice = InvoiceFactory(plan=PlanFactory(), customer=CustomerFactory(telegram_user_id=alice.id))
    message_id = gateway.send_invoice(
        chat_id=alice.id,
        title="Gold",
        description="All of it.",
        payload=invoice.payload,
        money=invoice.price,
        provider_token="",
    )
    return alice.opens(message_id=message_id)


@contextmanager
def polled():
    """Long polling, meanwhile."""
    stop, raised = threading.Event(), []

    def run():
        try:
            poll(stop, wait=1)
        except Exception as error:
            raised.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)
    assert not thread.is_alive()
    assert raised == []


@pytest.fixture
def quick(monkeypatch):
    """Pauses that do not last."""
    monkeypatch.setattr(polling, "LONGEST_PAUSE", 0)


class TestPolling:
    def test_stores_what_is_said_for_a_worker(self, local_telegram, alice):
        with polled():
            local_telegram.wait_until_quiet()

        stored = IncomingUpdate.objects.get()
        assert (stored.kind, stored.status) == ("message", UpdateStatus.PENDING)

    def test_lets_a_payment_through_and_records_it(self, local_telegram, alice, buys):
        with polled():
            outcome = alice.pays(buys)
            local_telegram.wait_until_quiet()

        assert outcome.paid
        assert CheckoutDecision.objects.get().ok
        event = PaymentEvent.objects.get()
        assert (event.payment_method, event.event_id) == (PaymentMethod.TELEGRAM_STARS, alice.charges()[0].id)

    def test_tells_the_buyer_why_he_cannot_pay(self, local_telegram, alice, buys, settings):
        settings.TELEGRAM_PAYMENT_ENABLED = False
        with polled():
            outcome = alice.pays(buys)

        assert outcome.sentence == "Sales are paused. Nothing was charged. Please try again later."

    def test_asks_for_the_updates_we_want(self, local_telegram, alice):
        with polled():
            local_telegram.wait_until_quiet()

        call = local_telegram.truth.calls_of("getUpdates")[0]
        assert call.arguments["allowed_updates"] == [
            "message",
            "callback_query",
            "pre_checkout_query",
            "subscription",
            "my_chat_member",
        ]

    def test_keeps_fields_that_no_library_knows(self, local_telegram):
        update = updates.message(7, text="hi", from_the_future={"deep": [1, {"x": "\ud83d"}]})
        local_telegram.injects(json.dumps(update).encode())
        with polled():
            for _ in range(50):
                if IncomingUpdate.objects.exists():
                    break
                threading.Event().wait(0.05)

        assert json.loads(bytes(IncomingUpdate.objects.get().body)) == update


class TestAnInterruption:
    def test_of_the_database_leaves_the_update_with_telegram(self, local_telegram, alice, quick, monkeypatch):
        failures = iter([NotStored(0), NotStored(0)])

        def receive_at_third(body):
            for failure in failures:
                raise failure
            return receive(body)

        monkeypatch.setattr(polling, "receive", receive_at_third)
        with polled():
            local_telegram.wait_until_quiet()

        assert IncomingUpdate.objects.count() == 1

    @pytest.mark.parametrize("fault", ["500", "502", "cut_before", "half_json", "refuse"])
    def test_of_telegram_is_waited_out(self, local_telegram, alice, quick, fault):
        local_telegram.faults.order("getUpdates", fault, times=2)
        with polled():
            local_telegram.wait_until_quiet()

        assert IncomingUpdate.objects.count() == 1

    def test_of_a_checkouts_answer_has_it_answered_at_the_next_try(self, local_telegram, alice, buys, quick):
        local_telegram.faults.order("answerPreCheckoutQuery", "500")
        with polled():
            outcome = alice.pays(buys)

        assert outcome.paid
        assert CheckoutDecision.objects.count() == 1

    def test_for_good_because_of_the_token_is_raised(self, local_telegram, settings):
        gateway.close()
        settings.TELEGRAM_BOT_TOKEN = "100000001:not-the-token-of-this-bot-0000000"
        with pytest.raises(TokenRefused):
            poll(threading.Event(), wait=0)


class TestTheCommand:
    @pytest.fixture
    def environment(self, local_telegram):
        server = urlsplit(os.environ["DATABASE_URL"])
        return {
            **os.environ,
            "DATABASE_URL": server._replace(path=f"/{connection.settings_dict['NAME']}").geturl(),
            "TELEGRAM_API_BASE_URL": local_telegram.base_url,
        }

    def start(self, environment):
        return subprocess.Popen(
            [sys.executable, "manage.py", "poll"],
            cwd=project.BASE_DIR,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
    def test_takes_over_from_a_webhook_introduces_the_bot_and_ends_when_told(
        self, local_telegram, alice, environment, ending
    ):
        gateway.set_webhook(
            url=f"{local_telegram.base_url}/nowhere", secret="s" * 32, allowed_updates=["message"], max_connections=1
        )
        process = self.start(environment)
        try:
            first_line = process.stdout.readline()
            local_telegram.wait_until_quiet()
        finally:
            process.send_signal(ending)
            rest, _ = process.communicate(timeout=60)

        assert first_line == "Polling for @local_shop_bot. Press Ctrl-C to stop.\n"
        assert (process.returncode, rest.splitlines()[-1]) == (0, "Stopped.")
        assert local_telegram.truth.webhook.url == ""
        assert len(local_telegram.truth.bot.commands) == 2
        assert IncomingUpdate.objects.count() == 1

    def test_ends_with_a_sentence_when_the_token_is_wrong(self, environment):
        process = self.start({**environment, "TELEGRAM_BOT_TOKEN": "100000001:not-the-token-of-this-bot-0000000"})
        output, _ = process.communicate(timeout=20)

        assert process.returncode == 1
        assert output.endswith("Set TELEGRAM_BOT_TOKEN to the token that @BotFather gave you.\n")
        assert "Traceback" not in output
