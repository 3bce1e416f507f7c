"""One line of the log tells of each request, update and job: who, what, how much, what became of it and how long."""

import json

import pytest
from django.test import RequestFactory
from structlog.contextvars import get_contextvars

from config.wsgi import application
from entitlements.models import Scope
from telegram_bot import polling
from telegram_bot.models import IncomingUpdate
from telegram_bot.receiving import NotStored
from telegram_bot.tasks import defer_processing
from telegram_bot.updates import read_update
from telegram_bot.webhook import PATH, SECRET_HEADER
from tests import updates
from tests.api.conftest import buyer, program
from tests.config.test_jobs import run_worker_once, test_queue  # noqa: F401 - a fixture

PROCESS_UPDATE = "telegram_bot.tasks.process_update"
HOSTILE = 'x\n{"event": "payment recorded"}\r\x1b[2J\u202etxt.exe\u2028\x9b'


def posted(settings, update: dict) -> int:
    """The status that the server as it runs, with all that is around Django, answers to an update."""
    statuses = []
    headers = {SECRET_HEADER: settings.TELEGRAM_WEBHOOK_SECRETS[0]}
    request = RequestFactory().post(PATH, updates.body(update), content_type="application/json", headers=headers)
    b"".join(application(request.environ, lambda status, headers: statuses.append(int(status.split()[0]))))
    return statuses[0]


def told(lines, event: str, **facts: str) -> dict:
    """The one line about it, without what differs each time."""
    [line] = [line for line in lines() if all(line.get(key) == word for key, word in {"event": event, **facts}.items())]
    assert line.pop("duration_ms") >= 0
    assert line.pop("timestamp")
    return line


def waiting(update: dict) -> IncomingUpdate:
    """An update in the inbox, with a job to process it."""
    body = updates.body(update)
    row = IncomingUpdate.objects.create(
        bot_id=1, update_id=update["update_id"], digest=b"1" * 32, kind="message", body=body, status="pending"
    )
    defer_processing(row, read_update(body))
    return row


@pytest.fixture
def from_alice(invoice):
    return {"telegram_user_id": invoice.customer.telegram_user_id}


@pytest.mark.django_db
class TestAnUpdateByWebhook:
    def request(self, lines) -> dict:
        line = told(lines, "request")
        assert len(line.pop("request_id")) == 32
        assert line.pop("address") == "127.0.0.1"
        assert (line.pop("level"), line.pop("logger")) == ("info", "request")
        assert (line.pop("method"), line.pop("path")) == ("POST", PATH)
        return line

    @pytest.mark.django_db(transaction=True)
    def test_that_pays(self, settings, lines, invoice, from_alice):
        update = updates.payment(invoice)

        posted(settings, update)

        line = self.request(lines)
        assert len(line.pop("payment_id")) == 36
        assert line == from_alice | {
            "event": "request",
            "status": 200,
            "update_id": update["update_id"],
            "update": "message",
            "outcome": "done",
            "user_id": invoice.customer.user_id,
            "plan_code": "gold_1m",
            "amount": 500,
            "currency": "XTR",
            "recorded": "processed",
        }
        assert get_contextvars() == {}

    def test_that_asks_whether_one_may_pay(self, telegram_posts, lines, invoice, from_alice):
        update = updates.pre_checkout(invoice, total_amount=1)

        telegram_posts(update)

        assert self.request(lines) == from_alice | {
            "event": "request",
            "status": 200,
            "update_id": update["update_id"],
            "update": "pre_checkout_query",
            "outcome": "done",
            "ok": False,
            "reason": "amount_mismatch",
            "user_id": invoice.customer.user_id,
            "plan_code": "gold_1m",
            "amount": 1,
            "currency": "XTR",
        }

    @pytest.mark.parametrize(
        ("again", "became"),
        [
            ({}, {"recorded": "duplicate", "plan_code": "gold_1m", "amount": 500}),
            ({"charge_id": "another"}, {"recorded": "held", "plan_code": "gold_1m", "amount": 500}),
        ],
    )
    def test_that_pays_once_more(self, telegram_posts, lines, invoice, from_alice, again, became):
        telegram_posts(updates.payment(invoice))
        lines()

        telegram_posts(updates.payment(invoice, **again))

        assert (
            from_alice.items() | became.items() | {("status", 200), ("outcome", "done")} <= self.request(lines).items()
        )

    def test_that_gives_back(self, telegram_posts, lines, invoice):
        telegram_posts(updates.payment(invoice))
        lines()

        telegram_posts(updates.refund(invoice))

        line = self.request(lines)
        assert (line["outcome"], line["recorded"], line["plan_code"], line["amount"]) == (
            "done", "processed", "gold_1m", 500,
        )  # fmt: skip

    def test_that_a_worker_has_to_answer(self, telegram_posts, lines, invoice, from_alice):
        update = updates.message(**from_alice, text="/start")

        telegram_posts(update)

        line = self.request(lines)
        assert (line["update"], line["outcome"], line["update_id"]) == ("message", "queued", update["update_id"])
        assert line["telegram_user_id"] == from_alice["telegram_user_id"]

    def test_that_is_not_understood(self, telegram_posts, lines, db):
        telegram_posts(b"{")

        line = self.request(lines)
        assert line == {"event": "request", "status": 200, "update": "unreadable", "outcome": "quarantined"}

    def test_of_a_stranger(self, telegram_posts, lines, db):
        telegram_posts(b"{}", secret="x" * 40)

        assert self.request(lines) == {"event": "request", "status": 401}

    def test_that_forges_lines(self, telegram_posts, capsys, invoice):
        update = updates.payment(invoice, payer=7, invoice_payload=HOSTILE, currency="XTR")
        update["message"]["from"] |= {"first_name": HOSTILE, "username": HOSTILE}
        update[HOSTILE] = HOSTILE
        capsys.readouterr()

        assert telegram_posts(update).status_code == 200

        written = capsys.readouterr().err
        assert written.isascii()
        assert [json.loads(line)["event"] for line in written.split("\n")[:-1]] == ["payment held", "request"]


@pytest.mark.django_db
class TestAnUpdateByPolling:
    def test_is_told_in_one_line_as_well(self, lines, invoice, from_alice):
        update = updates.payment(invoice)

        polling.take(updates.body(update))

        line = told(lines, "update")
        assert (line["update_id"], line["outcome"], line["recorded"]) == (update["update_id"], "done", "processed")
        assert (line["user_id"], line["amount"]) == (invoice.customer.user_id, 500)
        assert get_contextvars() == {}

    def test_is_told_when_nothing_could_be_stored(self, lines, invoice, monkeypatch):
        def gone(**_):
            raise ConnectionError("the server is gone")

        monkeypatch.setattr("telegram_bot.receiving.decide_checkout", gone)
        with pytest.raises(NotStored):
            polling.take(updates.body(updates.pre_checkout(invoice)))

        error, line = lines()
        assert (line["event"], line["outcome"]) == ("update", "not stored")
        assert error["update_id"] == line["update_id"]
        assert error["exception"].endswith("ConnectionError: the server is gone")


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("test_queue")
class TestAJob:
    def test_is_told_with_the_update_it_was_for(self, lines, invoice, from_alice):
        row = waiting(updates.payment(invoice))

        run_worker_once()

        line = told(lines, "job", task=PROCESS_UPDATE)
        assert line.pop("job_id")
        assert line == from_alice | {
            "level": "info",
            "event": "job",
            "logger": "config.worker",
            "task": PROCESS_UPDATE,
            "arguments": {"update_pk": row.pk, "tried": 0},
            "attempts": 0,
            "outcome": "done",
            "update": "message",
            "update_id": row.update_id,
            "recorded": "processed",
            "plan_code": "gold_1m",
            "amount": 500,
            "currency": "XTR",
            "error": None,
        }

    def test_that_fails_is_told_with_its_stack_trace_beside_it(self, lines, invoice, monkeypatch):
        def broken(_):
            raise RuntimeError("it broke")

        monkeypatch.setattr("telegram_bot.processing.record_payment", broken)
        waiting(updates.payment(invoice))

        run_worker_once()

        line, trace = (line for line in lines() if line.get("task") == PROCESS_UPDATE)
        assert (line["event"], line["outcome"], line["error"]) == ("job", "failed", "RuntimeError('it broke')")
        assert trace["job_id"] == line["job_id"]
        assert trace["update_id"] == line["update_id"]
        assert trace["exception"].endswith("RuntimeError: it broke")


@pytest.mark.django_db
class TestARequestOfTheApi:
    def test_is_told_with_its_customer(self, alice, lines):
        buyer(alice).get("/api/v1/me/entitlements")

        assert told(lines, "request")["user_id"] == alice.user_id

    def test_is_told_with_its_program(self, db, lines):
        program(Scope.ENTITLEMENTS_READ).get("/api/v1/customers/7/entitlements")

        assert told(lines, "request")["api_client"]
