"""Calls to the Bot API: what they send, and how they fail."""

import os
import time
import traceback
from multiprocessing import get_context

import pytest
from django.db import transaction

from payments.channels.base import AlreadyRefunded, ChatUnavailable, Refused, Unavailable, Unclear
from payments.money import Money
from telegram_bot import gateway as module
from telegram_bot.gateway import CallInsideTransaction, TokenRefused, gateway


@pytest.fixture
def alice_there(local_telegram):
    """Alice, who has started the bot."""
    alice = local_telegram.person("Alice")
    alice.says("/start")
    return alice


@pytest.fixture
def impatient(monkeypatch):
    """Limits in tenths of the seconds they are."""
    monkeypatch.setattr(module, "READ_LIMIT", 0.3)
    monkeypatch.setattr(module, "CALL_LIMIT", 0.6)


@pytest.fixture
def nobody_listens(settings):
    gateway.close()
    settings.TELEGRAM_API_BASE_URL = "http://127.0.0.1:9"
    yield
    gateway.close()


def send(chat_id=7):
    return gateway.send_message(chat_id=chat_id, text="Hello")


class TestACall:
    def test_reaches_the_chat(self, alice_there):
        message_id = send(alice_there.id)

        assert alice_there.messages()[-1]["text"] == "Hello"
        assert alice_there.messages()[-1]["message_id"] == message_id

    def test_1_10_of_an_invoice_reaches_telegram_as_one_price_without_a_provider(self, local_telegram, alice_there):
        message_id = gateway.send_invoice(
            chat_id=alice_there.id,
            title="Gold",
            description="All of it.",
            payload="p-1",
            money=Money(500, "XTR"),
            provider_token="",
        )

        (invoice,) = local_telegram.truth.invoices
        assert invoice.message_id == message_id
        assert (invoice.payload, invoice.currency, invoice.total_amount) == ("p-1", "XTR", 500)
        assert invoice.prices == [{"label": "Gold", "amount": 500}]
        assert invoice.provider_token == ""

    def test_of_a_fiat_invoice_carries_the_providers_token(self, local_telegram, alice_there):
        gateway.send_invoice(
            chat_id=alice_there.id,
            title="Gold",
            description="All of it.",
            payload="p-1",
            money=Money(2500, "GBP"),
            provider_token="284685063:TEST:abc",
        )

        (invoice,) = local_telegram.truth.invoices
        assert (invoice.currency, invoice.provider_token) == ("GBP", "284685063:TEST:abc")

    def test_of_a_link_for_a_subscription_says_thirty_days(self, local_telegram):
        link = gateway.create_invoice_link(
            title="Gold",
            description="All of it.",
            payload="p-1",
            money=Money(500, "XTR"),
            provider_token="",
            subscription_days=30,
        )

        (invoice,) = local_telegram.truth.invoices
        assert (invoice.link, invoice.subscription_period) == (link, 2_592_000)

    def test_hands_a_link_over_on_a_button_in_the_buyers_language(self, alice_there):
        gateway.send_link(
            chat_id=alice_there.id,
            title="Gold",
            link="https://t.me/$abc",
            money=Money(500, "XTR"),
            renews=True,
            language_code="ru",
        )

        message = alice_there.messages()[-1]
        assert message["text"] == "Gold за 500 ⭐, продлевается сам, пока вы его не отмените."
        assert message["reply_markup"]["inline_keyboard"] == [
            [{"text": "Заплатить 500 ⭐", "url": "https://t.me/$abc"}]
        ]

    def test_keeps_one_connection_for_many(self, local_telegram, alice_there):
        line = gateway._open()
        for _ in range(3):
            send(alice_there.id)

        assert gateway._open() is line
        assert len(local_telegram.truth.calls_of("sendMessage")) == 3

    def test_is_made_by_many_threads_at_once(self, local_telegram, alice_there):
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(8) as threads:
            sent = list(threads.map(lambda _: send(alice_there.id), range(40)))

        assert len(set(sent)) == 40

    def test_works_again_after_the_gateway_was_closed(self, alice_there):
        send(alice_there.id)
        gateway.close()

        assert send(alice_there.id)


def test_editing_a_message_to_what_it_says_already_is_no_error(alice_there):
    message_id = send(alice_there.id)

    gateway.edit_message(chat_id=alice_there.id, message_id=message_id, text="Hello")

    assert alice_there.messages()[-1]["text"] == "Hello"


class TestARefund:
    @pytest.mark.parametrize("words", ["CHARGE_ALREADY_REFUNDED", "Charge_already_refunded"])
    def test_that_was_made_before_is_told_apart_however_it_is_spelled(self, local_telegram, alice_there, words):
        local_telegram.faults.order("refundStarPayment", "refuse", description=words)

        with pytest.raises(AlreadyRefunded):
            gateway.refund(telegram_user_id=alice_there.id, charge_id="stx")

    def test_of_an_unknown_charge_is_refused(self, alice_there):
        with pytest.raises(Refused, match=r"(?i)charge_not_found") as raised:
            gateway.refund(telegram_user_id=alice_there.id, charge_id="stx")

        assert not isinstance(raised.value, AlreadyRefunded)


class TestAnAnswerThatComesTooLate:
    def test_to_a_button_is_told_apart(self, local_telegram):
        assert gateway.answer_button(query_id="long ago") is False

    def test_to_a_checkout_is_told_apart(self, local_telegram):
        assert gateway.answer_pre_checkout(query_id="long ago", ok=True) is False


class TestAFailure:
    def test_of_a_chat_that_does_not_exist_is_for_good(self, local_telegram):
        with pytest.raises(ChatUnavailable):
            send(chat_id=424242)

    def test_of_a_buyer_who_blocked_the_bot_is_for_good(self, alice_there):
        alice_there.blocks()

        with pytest.raises(ChatUnavailable, match="blocked"):
            send(alice_there.id)

    def test_of_a_request_telegram_refuses_is_for_good_and_names_its_words(self, local_telegram, alice_there):
        local_telegram.faults.order("sendMessage", "refuse", description="STARS_INVOICE_INVALID")

        with pytest.raises(Refused, match=r"(?i)stars_invoice_invalid"):
            send(alice_there.id)

    def test_by_429_says_when_to_come_again(self, local_telegram, alice_there):
        local_telegram.faults.order("sendMessage", "429", retry_after=17)

        with pytest.raises(Unavailable) as raised:
            send(alice_there.id)

        assert raised.value.retry_after == 17

    @pytest.mark.parametrize("fault", ["500", "500_after_effect", "502", "cut_after_effect", "cut_before", "half_json"])
    def test_in_the_middle_is_unclear(self, local_telegram, alice_there, fault):
        local_telegram.faults.order("sendMessage", fault)

        with pytest.raises(Unclear):
            send(alice_there.id)

    @pytest.mark.parametrize("fault", ["hang", "hang_after_effect"])
    def test_to_answer_in_time_is_unclear(self, impatient, local_telegram, alice_there, fault):
        local_telegram.faults.order("sendMessage", fault, seconds=30)
        started = time.monotonic()

        with pytest.raises(Unclear):
            send(alice_there.id)

        assert time.monotonic() - started < 25

    def test_to_end_in_time_is_unclear_however_the_bytes_trickle(self, monkeypatch, local_telegram, alice_there):
        monkeypatch.setattr(module, "CALL_LIMIT", 0.2)
        local_telegram.faults.order("sendMessage", "hang", seconds=5)

        with pytest.raises(Unclear, match="no answer in time"):
            send(alice_there.id)

    def test_to_connect_certainly_did_nothing(self, nobody_listens):
        with pytest.raises(Unavailable):
            send()

    def test_of_the_token_is_told_apart(self, settings, local_telegram):
        gateway.close()
        settings.TELEGRAM_BOT_TOKEN = "100000001:not-the-token-of-this-bot-0000000"

        with pytest.raises(TokenRefused):
            send()


class TestTheToken:
    @pytest.mark.parametrize("fault", ["refuse", "429", "500", "502", "cut_before", "half_json"])
    def test_6_7_is_in_no_failure_nor_in_what_led_to_it(self, settings, local_telegram, alice_there, fault):
        local_telegram.faults.order("sendMessage", fault)

        with pytest.raises((Refused, Unavailable, Unclear)) as raised:
            send(alice_there.id)

        error = raised.value
        assert error.__cause__ is None
        assert error.__context__ is None
        assert settings.TELEGRAM_BOT_TOKEN not in "".join(traceback.format_exception(error))

    def test_is_not_shown_by_the_gateway(self, settings):
        assert settings.TELEGRAM_BOT_TOKEN not in repr(gateway)


class TestAnOpenTransaction:
    def test_keeps_telegram_from_being_called(self, transactional_db, local_telegram, alice_there):
        with transaction.atomic(), pytest.raises(CallInsideTransaction):
            send(alice_there.id)

        assert local_telegram.truth.calls_of("sendMessage") == []

    def test_is_only_that_of_the_same_thread(self, transactional_db, alice_there):
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(1) as other, transaction.atomic():
            assert other.submit(send, alice_there.id).result()

    def test_that_is_over_does_not(self, transactional_db, alice_there):
        with transaction.atomic():
            pass

        assert send(alice_there.id)


def _send_and_exit(chat_id):
    os._exit(0 if send(chat_id) else 1)


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_process_calls_on_a_line_of_its_own(alice_there):
    send(alice_there.id)

    child = get_context("fork").Process(target=_send_and_exit, args=(alice_there.id,))
    child.start()
    child.join(5)

    assert child.exitcode == 0
    assert send(alice_there.id)
