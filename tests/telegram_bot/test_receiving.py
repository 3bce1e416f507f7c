"""One update, brought twice at one time by different ways: neither way waits for what the other holds."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest
from django.db import close_old_connections, connection, transaction

from config.together import NotDone
from payments.models import PaymentEvent
from telegram_bot import receiving
from telegram_bot.models import IncomingUpdate, UpdateStatus
from telegram_bot.receiving import receive
from telegram_bot.updates import read_update
from tests import updates

pytestmark = pytest.mark.django_db(transaction=True)

SOON = 10  # seconds


def in_a_thread(operation, *arguments):
    try:
        return operation(*arguments)
    finally:
        close_old_connections()


@pytest.fixture
def threads():
    with ThreadPoolExecutor(2) as pool:
        yield pool


@contextmanager
def general_way(body, threads, monkeypatch, store_and_act):
    """The general way has stored the update and goes on to its effect only when this context ends. Yields its outcome
    to come."""
    arrived, go_on = threading.Event(), threading.Event()

    def pause(stored, update, act=receiving._act):
        arrived.set()
        assert go_on.wait(SOON)
        return act(stored, update)

    monkeypatch.setattr(receiving, "_act", pause)
    outcome = threads.submit(in_a_thread, store_and_act, read_update(body), body)
    try:
        assert arrived.wait(SOON)
        yield outcome
    finally:
        go_on.set()


def test_the_ordinary_way_does_not_wait_for_the_general_one(invoice, threads, monkeypatch):
    body = updates.body(updates.payment(invoice))

    with general_way(body, threads, monkeypatch, receiving._store_and_act) as outcome:
        assert threads.submit(in_a_thread, receive, body).result(SOON) is None
        assert IncomingUpdate.objects.get().status == UpdateStatus.DONE

    assert outcome.result(SOON) == "done"
    assert PaymentEvent.objects.count() == 1


def test_it_would_if_the_update_were_not_committed_before_its_effect(invoice, threads, monkeypatch):
    """The twin: row and effect in one transaction, which meets the other way in the opposite order."""
    body = updates.body(updates.payment(invoice))

    with general_way(body, threads, monkeypatch, transaction.atomic(receiving._store_and_act)) as outcome:
        ordinary = threads.submit(in_a_thread, receive, body)
        assert somebody_waits()

    with suppress(receiving.NotStored):  # either may lose: to the deadlock, or to the lock's time limit
        ordinary.result(SOON)
    assert outcome.result(SOON) in {"done", "failed"}
    assert PaymentEvent.objects.count() <= 1


def somebody_waits() -> bool:
    """Whether a statement comes to wait for the transaction of another."""
    with connection.cursor() as cursor:
        for _ in range(1_000):
            cursor.execute("SELECT count(*), pg_sleep(0.005) FROM pg_stat_activity WHERE pg_blocking_pids(pid) <> '{}'")
            if cursor.fetchone()[0]:
                return True
    return False


def test_a_payment_whose_shared_statement_failed_goes_the_general_way(invoice, monkeypatch):
    def fail(_values):
        raise NotDone

    monkeypatch.setattr("payments.ordinary._together", lambda _sql: fail)

    receive(updates.body(updates.payment(invoice)))

    assert PaymentEvent.objects.get().invoice == invoice
    assert IncomingUpdate.objects.get().status == UpdateStatus.DONE
