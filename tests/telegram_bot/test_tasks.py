"""Updates in the hands of workers: done in order, tried again, never forgotten."""

from collections import Counter
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import F
from procrastinate.contrib.django import app
from procrastinate.contrib.django.models import ProcrastinateJob
from procrastinate.jobs import Job

from config.database import database_now
from payments.channels.base import Refused, Unavailable, Unclear
from payments.models import PaymentEvent, Tally
from payments.models.letters import PAUSES
from payments.money import Money
from telegram_bot import processing, tasks
from telegram_bot.models import IncomingUpdate, UpdateStatus
from telegram_bot.receiving import receive
from telegram_bot.tasks import QUICK_TRIES, WhenTelegramIsBack, sweep_updates
from tests import updates
from tests.factories import InvoiceFactory, PlanFactory

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def alice(local_telegram):
    return local_telegram.person("Alice")


@pytest.fixture
def gold(transactional_db):
    return PlanFactory(prices=[Money(500, "XTR")])


def work():
    """Do the jobs that are due, as a worker does."""
    with app.replace_connector(app.connector.get_worker_connector()) as worker:
        worker.run_worker(wait=False, listen_notify=False, install_signal_handlers=False)


def wait_a(**time):
    """Let time pass, for the inbox."""
    IncomingUpdate.objects.update(next_attempt_at=F("next_attempt_at") - timedelta(**time))


def change_jobs(statement):
    with connection.cursor() as cursor:
        cursor.execute(statement)


def heard_by(person):
    """The first line of each thing the bot said to him."""
    return [message["text"].split("\n")[0] for message in person.messages() if message["from"]["is_bot"]]


def jobs(**wanted):
    return list(ProcrastinateJob.objects.filter(task_name="telegram_bot.tasks.process_update", **wanted).order_by("id"))


class TestAWorker:
    def test_answers_a_command(self, shop, gold, alice):
        alice.says("/plans")
        shop.takes_updates()
        work()

        assert alice.hears("Choose a plan:", timeout=0)
        assert IncomingUpdate.objects.get().status == UpdateStatus.DONE

    def test_answers_each_chat_in_the_order_of_its_questions(self, shop, gold, alice, local_telegram):
        bob = local_telegram.person("Bob")
        for person in (alice, bob):
            for text in ("/start", "/plans", "/terms"):
                person.says(text)
        shop.takes_updates()

        assert {job.lock for job in jobs()} == {f"chat:{alice.id}", f"chat:{bob.id}"}
        work()
        for person in (alice, bob):
            answers = [message["text"].split("!")[0].split("\n")[0] for message in person.messages()[3:]]
            assert answers == [f"Hello, {person.record.first_name}", "Choose a plan:", "Terms of sale"]

    def test_does_a_job_a_second_time_without_a_second_answer(self, shop, gold, alice):
        alice.says("/plans")
        shop.takes_updates()
        tasks.process_update.defer(update_pk=IncomingUpdate.objects.get().pk)
        work()

        assert len(jobs(status="succeeded")) == 2
        assert len(alice.messages()) == 2

    def test_comes_back_when_telegram_asks_it_to_wait(self, shop, gold, alice, local_telegram):
        alice.says("/plans")
        shop.takes_updates()
        local_telegram.faults.order("sendMessage", "429", retry_after=9)
        before = database_now()
        work()

        (job,) = jobs()
        assert job.status == "todo"
        assert timedelta(seconds=8) < job.scheduled_at - before < timedelta(seconds=15)
        assert IncomingUpdate.objects.get().attempts == 1

        change_jobs("UPDATE procrastinate_jobs SET scheduled_at = now()")
        work()
        assert alice.hears("Choose a plan:", timeout=0)
        assert IncomingUpdate.objects.get().status == UpdateStatus.DONE

    def test_keeps_the_later_ones_of_a_chat_behind_one_that_waits_for_seconds(self, shop, gold, alice, local_telegram):
        alice.says("/plans")
        alice.says("/terms")
        shop.takes_updates()
        local_telegram.faults.order("sendMessage", "429", retry_after=9)
        work()
        assert len(jobs(status="todo")) == 2

        change_jobs("UPDATE procrastinate_jobs SET scheduled_at = now()")
        work()
        assert heard_by(alice) == ["Choose a plan:", "Terms of sale"]

    def test_answers_the_later_ones_of_a_chat_while_one_waits_for_longer(self, shop, gold, alice, local_telegram):
        alice.says("/plans")
        alice.says("/terms")
        shop.takes_updates()
        local_telegram.faults.order("sendMessage", "500")
        work()
        assert heard_by(alice) == ["Terms of sale"]

        wait_a(minutes=1)
        sweep_updates(timestamp=0)
        work()
        assert heard_by(alice) == ["Terms of sale", "Choose a plan:"]

    def test_counts_a_try_before_it_is_made(self, shop, gold, alice, monkeypatch):
        seen = []
        monkeypatch.setattr(processing, "act", lambda *_, **__: seen.append(IncomingUpdate.objects.get().attempts))
        alice.says("/plans")
        shop.takes_updates()
        work()

        assert seen == [1]

    def test_makes_no_try_a_second_time_whatever_jobs_there_are(self, shop, gold, alice, local_telegram):
        alice.says("/plans")
        shop.takes_updates()
        tasks.process_update.defer(update_pk=IncomingUpdate.objects.get().pk)
        local_telegram.faults.order("sendMessage", "500", times=9)
        work()

        assert {job.status for job in jobs()} == {"failed", "succeeded"}
        assert IncomingUpdate.objects.get().attempts == 1


class TestAJobWhoseWorkersDie:
    """Each time it is taken up again its row counts it as retried."""

    def taken_up_again(self, shop, alice, *, times):
        alice.says("/plans")
        shop.takes_updates()
        update = IncomingUpdate.objects.get()
        assert IncomingUpdate.objects.take_up(update.pk, tried=0, now=database_now())  # and then it died
        change_jobs(f"UPDATE procrastinate_jobs SET attempts = {times}")
        work()

    def test_is_done_when_the_next_worker_lives(self, shop, gold, alice):
        self.taken_up_again(shop, alice, times=1)

        assert IncomingUpdate.objects.get().status == UpdateStatus.DONE

    def test_is_left_to_the_sweep_when_it_killed_several(self, shop, gold, alice):
        self.taken_up_again(shop, alice, times=QUICK_TRIES + 1)

        assert IncomingUpdate.objects.get().status == UpdateStatus.PENDING
        assert heard_by(alice) == []

    def test_is_given_up_when_the_tries_are_used_up(self, shop, gold, alice):
        self.taken_up_again(shop, alice, times=QUICK_TRIES + 1)
        IncomingUpdate.objects.update(attempts=len(PAUSES) + 1)
        wait_a(hours=4)
        sweep_updates(timestamp=0)

        update = IncomingUpdate.objects.get()
        assert (update.status, Tally.objects.get(result="failed").count) == (UpdateStatus.DEAD, 1)
        assert update.error.startswith("WorkerDied: ")


class TestTheQuickTries:
    def decide(self, error, attempts=0):
        job = Job(id=1, queue="updates", task_name="t", lock=None, queueing_lock=None, attempts=attempts)
        return WhenTelegramIsBack().get_retry_decision(exception=error, job=job)

    def seconds(self, error, attempts=0):
        decision = self.decide(error, attempts)
        return round((decision.retry_at - database_now()).total_seconds())

    @pytest.mark.usefixtures("db")
    def test_wait_as_long_as_telegram_asks_and_longer_each_time(self):
        assert self.seconds(Unavailable(17)) == 17
        assert [self.seconds(Unavailable(0), attempts) for attempts in range(QUICK_TRIES)] == [1, 2, 4]

    def test_come_to_an_end(self):
        assert self.decide(Unavailable(1), attempts=QUICK_TRIES) is None

    @pytest.mark.parametrize("error", [Unavailable(61), Unclear("no answer in time"), Refused("no"), KeyError("x")])
    def test_are_not_for_what_needs_longer_or_may_have_happened(self, error):
        assert self.decide(error) is None


class TestTheSweep:
    def test_takes_up_what_failed_when_its_pause_is_over(self, shop, gold, alice, local_telegram):
        alice.says("/plans")
        shop.takes_updates()
        local_telegram.faults.order("sendMessage", "500")
        work()
        assert len(jobs(status="failed")) == 1

        sweep_updates(timestamp=0)
        assert jobs(status="todo") == []

        wait_a(minutes=1)
        sweep_updates(timestamp=0)
        work()
        assert alice.hears("Choose a plan:", timeout=0)
        assert IncomingUpdate.objects.get().status == UpdateStatus.DONE

    def test_takes_up_what_lost_its_job(self, shop, gold, alice):
        alice.says("/plans")
        shop.takes_updates()
        change_jobs("DELETE FROM procrastinate_jobs")
        sweep_updates(timestamp=0)
        assert jobs() == []  # its job may still come

        wait_a(seconds=61)
        sweep_updates(timestamp=0)
        work()
        assert alice.hears("Choose a plan:", timeout=0)

    def test_does_not_lengthen_a_long_queue(self, shop, gold, alice):
        alice.says("/plans")
        shop.takes_updates()
        wait_a(minutes=2)
        for _ in range(3):
            sweep_updates(timestamp=0)

        assert len(jobs()) == 2

    def test_takes_up_money_whose_recording_failed(self, shop, gold, monkeypatch):
        invoice = InvoiceFactory(plan=gold)

        def fail(*_, **__):
            raise LookupError("a mistake of ours")

        with monkeypatch.context() as broken:
            broken.setattr(processing, "record_payment", fail)
            broken.setattr("telegram_bot.receiving.record_ordinary_payment", lambda *_, **__: None)
            receive(updates.body(updates.payment(invoice)))
        assert not PaymentEvent.objects.exists()

        wait_a(minutes=1)
        sweep_updates(timestamp=0)
        work()
        assert PaymentEvent.objects.get().invoice == invoice

    def test_leaves_the_done_and_the_dead_alone(self, shop, gold, alice):
        alice.says("/plans")
        alice.says("/terms")
        shop.takes_updates()
        first, second = IncomingUpdate.objects.order_by("pk")
        IncomingUpdate.objects.filter(pk=first.pk).update(status=UpdateStatus.DONE)
        IncomingUpdate.objects.filter(pk=second.pk).update(status=UpdateStatus.DEAD)
        wait_a(hours=9)
        sweep_updates(timestamp=0)

        assert len(jobs()) == 2

    def test_takes_more_than_a_batch(self, shop, gold, alice, monkeypatch):
        monkeypatch.setattr(tasks, "BATCH", 2)
        for text in ("/plans", "/terms", "/help"):
            alice.says(text)
        shop.takes_updates()
        wait_a(minutes=2)
        sweep_updates(timestamp=0)

        assert len(jobs()) == 6


def test_an_update_no_longer_readable_is_put_aside_and_stops_nothing(shop, gold, alice):
    alice.says("/plans")
    shop.takes_updates()
    IncomingUpdate.objects.update(body=b"{")
    wait_a(hours=5)

    sweep_updates(timestamp=0)

    assert IncomingUpdate.objects.get().status == UpdateStatus.QUARANTINED


def test_an_update_that_fails_for_ever_is_given_up_for_people_to_see(shop, gold, alice, local_telegram):
    alice.says("/plans")
    shop.takes_updates()
    local_telegram.faults.order("sendMessage", "500", times=20)
    for _ in range(12):
        work()
        wait_a(hours=5)
        sweep_updates(timestamp=0)

    update = IncomingUpdate.objects.get()
    assert update.status == UpdateStatus.DEAD
    assert Tally.objects.get(result="failed").count == 1
    assert update.attempts == 9
    assert "Unclear" in update.error


class TestPoison:
    """20 chats whose updates fail for ever, among 200 good ones."""

    POISON, GOOD = 20, 200

    def brought(self):
        for number in range(self.POISON + self.GOOD):
            receive(updates.body(updates.message(1000 + number, text="/poison" if number < self.POISON else "/good")))

    def let_pass(self, time):
        wait_a(seconds=time.total_seconds())
        sweep_updates(timestamp=0)
        work()

    def tried_most(self, tries):
        return max(tries.values())

    @pytest.fixture
    def tries(self, monkeypatch):
        """How often each was tried."""
        made = Counter()

        def act(update, *, body, received_at):
            made[update.content.chat_id] += 1
            if update.content.name == "poison":
                raise LookupError("a mistake of ours")

        monkeypatch.setattr(processing, "act", act)
        return made

    def test_keeps_nobody_else_waiting_and_is_tried_no_more_often_than_its_pauses_say(
        self, transactional_db, settings, tries
    ):
        self.brought()
        work()
        assert IncomingUpdate.objects.filter(status=UpdateStatus.DONE).count() == self.GOOD
        assert set(tries.values()) == {1}

        for number, pause in enumerate(PAUSES, 2):
            self.let_pass(pause - timedelta(seconds=30))
            assert self.tried_most(tries) == number - 1

            self.let_pass(timedelta(seconds=40))
            assert self.tried_most(tries) == number

        poison = IncomingUpdate.objects.exclude(status=UpdateStatus.DONE)
        assert set(poison.values_list("status", "attempts")) == {(UpdateStatus.DEAD, 1 + len(PAUSES))}
        assert poison.count() == self.POISON
        assert sum(tries.values()) == self.GOOD + self.POISON * (1 + len(PAUSES))
