"""What buyers are told about their money, and that they are told it once."""

import math
import threading
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext

from config.database import database_now
from entitlements.models import Customer, UserIdOrigin
from payments.models import Notice, WhenActive
from payments.recording import record_payment, record_refund
from telegram_bot import notices
from telegram_bot.gateway import CALL_LIMIT
from telegram_bot.notices import BATCH, MOST_ATTEMPTS, Outbox, Pace, compose, drain
from telegram_bot.updates import read_update
from tests import updates
from tests.factories import CustomerFactory, InvoiceFactory, PlanFactory


@pytest.fixture
def buyer(shop, local_telegram):
    """Makes people of the local Telegram who have an invoice for gold."""
    PlanFactory()

    def make(name="Alice", *, language_code="en", **invoice):
        person = local_telegram.person(name, language_code=language_code)
        person.says("/start")
        shop.takes_updates()
        customer = CustomerFactory(telegram_user_id=person.id, language_code=language_code)
        return person, InvoiceFactory(customer=customer, **invoice)

    return make


def pays(invoice, *, charge_id="stx1", **changes):
    payment = read_update(updates.body(updates.payment(invoice, charge_id=charge_id, **changes))).content
    return record_payment(payment).event


def returns(invoice, *, charge_id="stx1", **changes):
    refund = read_update(updates.body(updates.refund(invoice, charge_id=charge_id, **changes))).content
    return record_refund(refund).event


def told(person):
    """What the bot has written to a person."""
    return [message["text"] for message in person.messages()[1:]]


class OneAfterTheOther(Executor):
    """Sends at once, whoever submits."""

    def submit(self, call, /, *arguments, **named):
        sent = Future()
        try:
            sent.set_result(call(*arguments, **named))
        except Exception as error:
            sent.set_exception(error)
        return sent


class LetsGo(Pace):
    """Keeps nobody, and tells when so many have come through."""

    def __init__(self, count, came_through):
        super().__init__(1000)
        self._left, self._came_through = count, came_through

    def keep(self):
        self._left -= 1
        if not self._left:
            self._came_through.set()


class SlowAfterTwo(ThreadPoolExecutor):
    """A single sender, for whom the third message takes until the last one was withdrawn."""

    def __init__(self, count):
        super().__init__(1)
        self._count, self._handed_over, self._withdrawn = count, 0, threading.Event()

    def send(self, call, **message):
        self._handed_over += 1
        if self._handed_over == 3:
            return super().submit(lambda: self._withdrawn.wait(60) and call(**message))
        sending = super().submit(call, **message)
        if self._handed_over == self._count:
            sending.add_done_callback(lambda _: self._withdrawn.set())
        return sending


def due_now():
    Notice.objects.owed().update(next_attempt_at=database_now())


@pytest.mark.django_db
def test_a_batch_is_read_at_once_and_only_the_access_of_each_when_it_is_told():
    plan = PlanFactory()
    held, kept, returned = InvoiceFactory.create_batch(3, plan=plan)
    pays(held, total_amount=1, charge_id="stx1")
    pays(kept, charge_id="stx2")
    pays(returned, charge_id="stx3")
    returns(returned, charge_id="stx3")
    taken = notices._take()

    asked = {}
    for notice in taken:
        with CaptureQueriesContext(connection) as queries:
            compose(notice)
        asked[notice.kind] = len(queries)

    assert asked == {"payment_held": 0, "payment_confirmed": 1, "refunded": 1}


class TestAConfirmation:
    def test_3_8_reaches_the_chat_with_the_end_of_the_access(self, shop, buyer):
        alice, invoice = buyer()
        pays(invoice)
        shop.sends_notices()

        end = invoice.customer.entitlements.get().active_until
        assert told(alice) == [
            f"✅ Paid: Gold, 1 month, 500 ⭐.\n\nYour access lasts until {end.day} {end:%B %Y, %H:%M} UTC."
        ]
        assert Notice.objects.get().sent_at is not None

    def test_is_in_the_buyers_language(self, shop, buyer):
        boris, invoice = buyer("Борис", language_code="ru")
        pays(invoice)
        shop.sends_notices()

        assert told(boris)[0].startswith("✅ Оплачено: Gold, 1 month, 500 ⭐.\n\nВаш доступ действует до ")

    def test_of_a_plan_for_life_says_so(self, shop, buyer):
        alice, invoice = buyer(duration=None)
        pays(invoice)
        shop.sends_notices()

        assert told(alice)[0].endswith("Your access is for life.")

    def test_is_sent_once_whatever_is_redelivered(self, shop, buyer):
        alice, invoice = buyer()
        for _ in range(3):
            pays(invoice)
            shop.sends_notices()

        assert len(told(alice)) == 1


class TestAHeldPayment:
    def test_is_announced_with_its_number_and_no_access(self, shop, buyer):
        alice, invoice = buyer()
        event = pays(invoice, total_amount=1)
        shop.sends_notices()

        (text,) = told(alice)
        assert text.startswith("Your payment of 1 ⭐ has arrived.")
        assert "Please do not pay again" in text
        assert str(event.pk) in text

    def test_that_is_a_second_one_is_promised_back(self, shop, buyer):
        alice, invoice = buyer()
        pays(invoice)
        pays(invoice, charge_id="stx2")
        shop.sends_notices()

        assert "this second payment is kept for you and will be returned" in told(alice)[1]


class TestARefund:
    def test_tells_that_the_access_has_ended(self, shop, buyer):
        alice, invoice = buyer()
        pays(invoice)
        shop.sends_notices()
        returns(invoice)
        shop.sends_notices()

        assert told(alice)[1] == (
            "↩️ Returned: 500 ⭐ for Gold, 1 month.\n\nThe access it had bought has ended. Send /plans to choose anew."
        )

    def test_tells_what_access_is_left(self, shop, buyer):
        alice, invoice = buyer(when_active=WhenActive.EXTEND)
        pays(invoice)
        pays(invoice, charge_id="stx2")
        returns(invoice, charge_id="stx2")
        shop.sends_notices()

        assert "Your access lasts until " in told(alice)[-1]

    def test_of_a_held_payment_says_nothing_of_access(self, shop, buyer):
        alice, invoice = buyer()
        pays(invoice, total_amount=1)
        shop.sends_notices()
        returns(invoice, total_amount=1)
        shop.sends_notices()

        assert told(alice)[1] == "↩️ Returned: 1 ⭐ for Gold, 1 month."

    def test_before_the_confirmation_was_sent_is_the_only_thing_told(self, shop, buyer):
        alice, invoice = buyer()
        pays(invoice)
        returns(invoice)
        shop.sends_notices()

        (text,) = told(alice)
        assert text.startswith("↩️ Returned: ")

    def test_while_the_confirmation_is_on_its_way_leaves_it_sent_and_not_given_up(self, buyer):
        _, invoice = buyer()
        payment = pays(invoice)
        (on_its_way,) = notices._take()
        returns(invoice)

        notices._settle(on_its_way, None)

        confirmation = Notice.objects.get(event=payment)
        assert confirmation.sent_at is not None
        assert confirmation.given_up_at is None


class TestTrouble:
    def test_with_429_puts_it_off_as_long_as_telegram_asks(self, shop, buyer, local_telegram):
        alice, invoice = buyer()
        pays(invoice)
        local_telegram.faults.order("sendMessage", "429", retry_after=90)
        before = database_now()
        shop.sends_notices()

        notice = Notice.objects.get()
        assert told(alice) == []
        assert notice.next_attempt_at >= before + timedelta(seconds=90)
        due_now()
        shop.sends_notices()
        assert len(told(alice)) == 1

    def test_of_the_whole_bot_rests_as_long_as_telegram_asks(self, shop, buyer, local_telegram):
        for number in range(3):
            pays(buyer()[1], charge_id=f"stx{number}")
        local_telegram.faults.order("sendMessage", "429", times=2, retry_after=33)

        assert shop.sends_notices() == 33
        assert Notice.objects.owed().count() >= 2  # the third is left untried when it was not under way yet

    def test_of_one_chat_keeps_no_other_waiting(self, shop, buyer, local_telegram):
        for number in range(3):
            pays(buyer()[1], charge_id=f"stx{number}")
        local_telegram.faults.order("sendMessage", "429", retry_after=33)

        assert shop.sends_notices() < 1
        assert Notice.objects.owed().count() == 1

    def test_of_the_whole_bot_leaves_untried_what_was_not_under_way(self, shop, buyer, local_telegram):
        for number in range(5):
            pays(buyer()[1], charge_id=f"stx{number}")
        local_telegram.faults.order("sendMessage", "429", times=5, retry_after=33)

        outbox = Outbox(Pace(1000), OneAfterTheOther())
        assert outbox.send_due() == 33

        assert sorted(Notice.objects.values_list("attempts", flat=True)) == [0, 0, 0, 1, 1]

    def test_of_one_chat_holds_back_its_other_messages_however_late_they_came(self, shop, buyer, local_telegram):
        alice, invoice = buyer()
        payment = pays(invoice)
        local_telegram.faults.order("sendMessage", "429", retry_after=33)
        shop.sends_notices()
        another = InvoiceFactory(customer=payment.customer, when_active=WhenActive.EXTEND)
        pays(another, charge_id="stx2")
        shop.sends_notices()
        assert told(alice) == []

        due_now()
        shop.sends_notices()
        assert len(told(alice)) == 2

    def test_of_one_chat_leaves_its_next_message_of_the_batch_untried(self, shop, buyer, local_telegram):
        alice, invoice = buyer()
        payment = pays(invoice)
        pays(InvoiceFactory(customer=payment.customer, when_active=WhenActive.EXTEND), charge_id="stx2")
        local_telegram.faults.order("sendMessage", "429", retry_after=33)

        Outbox(Pace(1000), OneAfterTheOther()).send_due()

        assert told(alice) == []
        assert sorted(Notice.objects.values_list("attempts", flat=True)) == [0, 1]

    def test_of_the_whole_bot_withdraws_what_waits_for_a_sender(self, shop, buyer, local_telegram):
        for number in range(5):
            pays(buyer()[1], charge_id=f"stx{number}")
        local_telegram.faults.order("sendMessage", "429", times=5, retry_after=33)

        with SlowAfterTwo(5) as only_one_sender:
            all_handed_over = threading.Event()
            only_one_sender.submit(all_handed_over.wait)
            only_one_sender.submit = only_one_sender.send
            assert Outbox(LetsGo(5, all_handed_over), only_one_sender).send_due() == 33

        assert Notice.objects.filter(attempts=0).exists()

    def test_without_an_end_waits_longer_each_time_and_is_given_up(self, shop, buyer, local_telegram):
        _, invoice = buyer()
        pays(invoice)
        local_telegram.faults.order("sendMessage", "500", times=MOST_ATTEMPTS)
        pauses = []
        for _ in range(MOST_ATTEMPTS):
            due_now()
            before = database_now()
            shop.sends_notices()
            pauses.append(round((Notice.objects.get().next_attempt_at - before).total_seconds()))

        assert pauses[:5] == [2, 4, 8, 16, 32]
        assert max(pauses[:-1]) == 3600
        assert Notice.objects.get().given_up_at is not None

    def test_with_somebody_who_blocked_the_bot_ends_at_once(self, shop, buyer):
        alice, invoice = buyer()
        pays(invoice)
        alice.blocks()
        shop.sends_notices()

        notice = Notice.objects.get()
        assert notice.given_up_at is not None
        assert "blocked" in notice.error

    def test_with_a_customer_of_another_shop_ends_at_once(self, shop, buyer):
        _, invoice = buyer()
        event = pays(invoice)
        Customer.objects.filter(pk=event.customer_id).update(
            user_id="host-1", user_id_origin=UserIdOrigin.HOST, telegram_user_id=None
        )
        shop.sends_notices()

        assert "no Telegram account" in Notice.objects.get().error

    def test_with_one_notice_does_not_touch_the_others(self, shop, buyer, monkeypatch):
        first, second = buyer("Alice"), buyer("Bob")
        pays(first[1], charge_id="stx1")
        pays(second[1], charge_id="stx2")

        def composed(notice):
            if notice.event.event_id == "stx1":
                raise LookupError("a mistake in a text")
            return compose(notice)

        monkeypatch.setattr(notices, "compose", composed)
        shop.sends_notices()

        assert (told(first[0]), len(told(second[0]))) == ([], 1)
        assert Notice.objects.owed().get().error == "a mistake in a text"


class TestOnceOnly:
    def test_holds_for_many_workers_that_drain_at_once(self, shop, buyer):
        people = []
        for number in range(12):
            person, invoice = buyer(f"Person {number}")
            people.append(person)
            pays(invoice, charge_id=f"stx{number}")

        def work(_):
            try:
                shop.sends_notices()
            finally:
                connection.close()

        with ThreadPoolExecutor(4) as workers:
            list(workers.map(work, range(4)))

        assert [len(told(person)) for person in people] == [1] * 12

    def test_fails_without_the_lease(self, shop, buyer, monkeypatch):
        alice, invoice = buyer()
        pays(invoice)
        monkeypatch.setattr(
            notices,
            "TAKE",
            "SELECT id FROM payments_notice WHERE %(lease)s > 0 AND %(batch)s > 0 AND %(not_now)s <> ''",
        )
        shop.sends_notices()
        shop.sends_notices()

        assert len(told(alice)) == 2

    def test_has_a_lease_that_outlasts_the_slowest_batch(self):
        rounds = math.ceil(BATCH / notices.SENDERS)

        assert BATCH / notices.PER_SECOND + rounds * CALL_LIMIT < notices.LEASE

    def test_holds_though_the_database_was_away_when_they_were_to_be_marked(self, shop, buyer, monkeypatch):
        alice, invoice = buyer()
        pays(invoice)
        settle, failures = notices._settle, iter([DatabaseError("the server is gone")])

        def failing_once(*notice_and_error):
            for failure in failures:
                raise failure
            settle(*notice_and_error)

        monkeypatch.setattr(notices, "_settle", failing_once)
        with ThreadPoolExecutor(2) as senders:
            outbox = Outbox(Pace(1000), senders)
            with pytest.raises(DatabaseError):
                outbox.send_due()
            due_now()
            outbox.send_due()

        assert len(told(alice)) == 1
        assert Notice.objects.get().sent_at is not None

    def test_repeats_no_more_than_what_was_on_its_way_when_a_worker_died(self, shop, buyer, monkeypatch):
        """Each is marked when its answer is there, not when the whole batch has been sent."""
        alice, invoice = buyer(when_active=WhenActive.EXTEND)
        for number in range(BATCH):
            pays(invoice, charge_id=f"stx{number}")
        unmarked = []

        def and_counts(pace):
            time.sleep(0.05)
            unmarked.append(len(told(alice)) - Notice.objects.exclude(sent_at=None).count())

        monkeypatch.setattr(Pace, "keep", and_counts)
        shop.sends_notices()

        assert max(unmarked) <= notices.SENDERS < BATCH - 1

    def test_costs_one_repetition_when_the_mark_was_lost(self, shop, buyer, monkeypatch):
        alice, invoice = buyer()
        pays(invoice)

        def crash(*_):
            raise DatabaseError("the server is gone")

        with monkeypatch.context() as broken:
            broken.setattr(notices, "_settle", crash)
            with pytest.raises(DatabaseError):
                shop.sends_notices()
        shop.sends_notices()
        assert len(told(alice)) == 1  # its lease still runs

        due_now()
        shop.sends_notices()
        shop.sends_notices()
        assert len(told(alice)) == 2


class TestTheDrain:
    @pytest.fixture
    def draining(self, shop):
        stop = threading.Event()
        thread = threading.Thread(target=drain, args=(stop,))
        thread.start()
        yield
        stop.set()
        thread.join(60)
        assert not thread.is_alive()

    def test_tells_soon_after_the_payment(self, buyer, draining):
        alice, invoice = buyer()
        pays(invoice)

        alice.hears("✅ Paid", timeout=60)
        assert notices.LOOK_EVERY <= 0.5

    def test_outlives_a_failure_of_the_database(self, shop, buyer, monkeypatch, logged):
        monkeypatch.setattr(notices, "REST_AFTER_FAILURE", 0.05)
        alice, invoice = buyer()
        pays(invoice)
        failures = iter([DatabaseError("the server is gone")])
        take = notices._take

        def failing_once():
            for failure in failures:
                raise failure
            return take()

        monkeypatch.setattr(notices, "_take", failing_once)
        stop = threading.Event()
        thread = threading.Thread(target=drain, args=(stop,))
        thread.start()
        try:
            alice.hears("✅ Paid", timeout=60)
        finally:
            stop.set()
            thread.join(60)

    def test_goes_on_at_once_while_a_whole_batch_was_due(self, shop, buyer):
        _, invoice = buyer(when_active=WhenActive.EXTEND)
        for number in range(BATCH):
            pays(invoice, charge_id=f"stx{number}")

        assert shop.sends_notices() == 0
        assert shop.sends_notices() == notices.LOOK_EVERY


def test_the_pace_lets_no_more_through_than_it_says():
    pace, started = Pace(50), time.monotonic()
    for _ in range(11):
        pace.keep()

    assert time.monotonic() - started >= 0.19
