"""The webhook's answers, and what stands in the books behind each."""

import gzip
import json
import random
from datetime import UTC, datetime, timedelta

import pytest
from django.core.wsgi import get_wsgi_application
from django.db import OperationalError, connection

from config import wsgi
from config.patience import RequestsWithin
from config.turns import InTurn
from entitlements.models import Customer, Entitlement, Grant
from payments.models import (
    CheckoutDecision,
    EarlyRefund,
    Hold,
    HoldReason,
    Invoice,
    InvoiceStatus,
    PaymentEvent,
    Plan,
    Tally,
    WhenActive,
)
from payments.recording import record_payment
from telegram_bot.middleware import WebhookFirst
from telegram_bot.models import IncomingUpdate, UpdateStatus
from telegram_bot.webhook import LARGEST_BODY, PATH, SECRET_HEADER
from tests import updates
from tests.factories import InvoiceFactory
from tests.payments.reports import payment_of

pytestmark = pytest.mark.django_db


class TestStrangers:
    @pytest.mark.parametrize(
        "secret",
        ["", "wrong", "the-webhook-secret-of-the-tests-0000 ", "the-webhook-secret-of-the-tests-0000" * 300, "sécret"],
    )
    def test_are_turned_away_and_leave_nothing(self, telegram_posts, invoice, secret):
        answer = telegram_posts(updates.payment(invoice), secret=secret)

        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == SECRET_HEADER
        assert not IncomingUpdate.objects.exists()

    def test_are_turned_away_without_the_header(self, client, settings):
        body = json.dumps({"secret": settings.TELEGRAM_WEBHOOK_SECRETS[0]})

        answer = client.post(f"{PATH}?secret={settings.TELEGRAM_WEBHOOK_SECRETS[0]}", body, "application/json")

        assert answer.status_code == 401

    def test_are_turned_away_when_no_secret_is_set(self, telegram_posts, settings):
        settings.TELEGRAM_WEBHOOK_SECRETS = []

        assert telegram_posts({"update_id": 1}, secret="").status_code == 401

    def test_are_turned_away_from_an_address_that_is_not_allowed(self, telegram_posts, settings):
        settings.TELEGRAM_IP_ALLOWLIST = ["149.154.160.0/20", "91.108.4.0/22"]

        assert telegram_posts({"update_id": 1}).status_code == 401

    @pytest.mark.parametrize(
        ("address", "status"),
        [("149.154.167.220", 200), ("::ffff:149.154.167.220", 200), ("::1", 401), ("", 401), ("nowhere", 401)],
    )
    def test_are_known_by_the_address_of_their_connection(self, client, settings, address, status):
        settings.TELEGRAM_IP_ALLOWLIST = ["149.154.160.0/20"]
        headers = {SECRET_HEADER: settings.TELEGRAM_WEBHOOK_SECRETS[0]}

        answer = client.post(PATH, b'{"update_id": 1}', "application/json", headers=headers, REMOTE_ADDR=address)

        assert answer.status_code == status

    def test_are_known_by_their_own_address_behind_a_proxy(self, client, settings):
        settings.TELEGRAM_IP_ALLOWLIST, settings.TRUSTED_PROXIES = ["149.154.160.0/20"], ["127.0.0.1"]
        headers = {SECRET_HEADER: settings.TELEGRAM_WEBHOOK_SECRETS[0]}

        def answered(forwarded: str) -> int:
            said = {**headers, "X-Forwarded-For": forwarded}
            return client.post(PATH, b'{"update_id": 1}', "application/json", headers=said).status_code

        assert answered("149.154.167.220") == 200
        assert answered("149.154.167.220, 198.51.100.7") == 401

    def test_are_told_apart_while_the_secret_is_rotated(self, telegram_posts, settings):
        old, new = "o" * 32, "n" * 32
        settings.TELEGRAM_WEBHOOK_SECRETS = [new, old]

        assert [telegram_posts({"update_id": 1}, secret=each).status_code for each in (old, new, "x" * 32)] == [
            200,
            200,
            401,
        ]


class TestTheAddress:
    @pytest.mark.parametrize("method", ["get", "put", "delete", "patch"])
    def test_takes_nothing_but_post(self, client, method):
        answer = getattr(client, method)(PATH)

        assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")

    def test_does_not_redirect_a_path_with_a_slash(self, client):
        assert client.post(PATH + "/", b"{}", "application/json").status_code == 404

    def test_refuses_more_than_a_mebibyte_before_reading_it(self, telegram_posts):
        answer = telegram_posts(b" " * (LARGEST_BODY + 1))

        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")

    @pytest.mark.django_db(transaction=True)  # as after every request, the connection is given back
    def test_comes_before_django_and_all_its_middleware(self, settings, rf, invoice):
        settings.MIDDLEWARE = ["tests.telegram_bot.middleware.Maintenance"]
        application = WebhookFirst(get_wsgi_application())
        secret = {"HTTP_X_TELEGRAM_BOT_API_SECRET_TOKEN": settings.TELEGRAM_WEBHOOK_SECRETS[0]}
        update = updates.body(updates.payment(invoice))
        answers = []

        for request in (rf.post(PATH, update, "application/json", **secret), rf.get("/healthz")):
            application(request.environ, lambda status, _headers: answers.append(status))

        assert answers == ["200 OK", "503 Service Unavailable"]
        assert PaymentEvent.objects.exists()

    def test_is_served_so_in_production(self):
        assert isinstance(wsgi.application, RequestsWithin)
        assert isinstance(wsgi.application.application, InTurn)
        assert isinstance(wsgi.application.application.application, WebhookFirst)


class TestAPayment:
    def test_is_recorded_and_gives_access_before_the_answer(self, telegram_posts, invoice):
        """3.1, 5.4"""
        answer = telegram_posts(updates.payment(invoice))

        assert (answer.status_code, answer.content) == (200, b"")
        assert PaymentEvent.objects.get().event_id == "stxAlicePays"
        assert Entitlement.objects.active_at(datetime.now(UTC)).get().customer == invoice.customer

    def test_is_kept_as_the_bytes_that_came(self, telegram_posts, invoice):
        body = updates.body(updates.payment(invoice))

        telegram_posts(body)

        stored = IncomingUpdate.objects.get()
        assert bytes(stored.body) == body
        assert (stored.kind, stored.status) == ("message", UpdateStatus.DONE)

    def test_keeps_the_whole_answer(self, telegram_posts, invoice):
        """3.6"""
        telegram_posts(updates.payment(invoice, something_new={"kept": [1]}))

        record = json.loads(bytes(PaymentEvent.objects.get().provider_record.body))
        assert record["something_new"] == {"kept": [1]}
        assert record["telegram_payment_charge_id"] == "stxAlicePays"

    def test_delivered_again_changes_nothing_and_is_counted(self, telegram_posts, invoice):
        """3.5"""
        update = updates.payment(invoice)

        answers = [telegram_posts(update).status_code for _ in range(3)]

        assert answers == [200, 200, 200]
        assert PaymentEvent.objects.count() == IncomingUpdate.objects.count() == 1
        assert Tally.objects.get(result="duplicate").count == 2

    def test_delivered_again_under_another_update_id_changes_nothing(self, telegram_posts, invoice):
        for update_id in (1, 2):
            telegram_posts(updates.payment(invoice, update_id=update_id))

        assert PaymentEvent.objects.count() == 1
        assert IncomingUpdate.objects.count() == 2

    def test_with_blanks_around_its_charge_id_is_another_payment(self, telegram_posts, alice, gold):
        for charge_id in ("stx", " stx", "stx "):
            telegram_posts(updates.payment(InvoiceFactory(customer=alice, plan=gold), charge_id=charge_id))

        assert set(PaymentEvent.objects.values_list("event_id", flat=True)) == {"stx", " stx", "stx "}

    def test_under_a_known_update_id_is_another_payment(self, telegram_posts, alice, gold):
        Plan.objects.update(when_active=WhenActive.EXTEND)
        for number in range(2):
            invoice = InvoiceFactory(customer=alice, plan=Plan.objects.get())
            telegram_posts(updates.payment(invoice, charge_id=f"stx{number}", update_id=7))

        assert PaymentEvent.objects.count() == 2

    @pytest.mark.parametrize("age", [timedelta(hours=2), timedelta(hours=23), timedelta(days=365)])
    def test_is_not_refused_for_its_age(self, telegram_posts, invoice, age):
        paid_at = int((datetime.now(UTC) - age).timestamp())

        telegram_posts(updates.payment(invoice, date=paid_at))

        assert PaymentEvent.objects.get().occurred_at.timestamp() == paid_at

    def test_is_recorded_while_payments_are_switched_off(self, telegram_posts, invoice, settings):
        settings.TELEGRAM_PAYMENT_ENABLED = False

        telegram_posts(updates.payment(invoice))

        assert PaymentEvent.objects.get().status == "processed"

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"total_amount": 1}, HoldReason.AMOUNT_MISMATCH),
            ({"currency": "USD"}, HoldReason.METHOD_MISMATCH),
            ({"invoice_payload": "never ours"}, HoldReason.UNKNOWN_PAYLOAD),
            ({"invoice_payload": "nul \0 and a lone surrogate \ud800"}, HoldReason.UNKNOWN_PAYLOAD),
            ({"payer": 4_242}, HoldReason.FOREIGN_PAYER),
        ],
    )
    def test_that_differs_is_recorded_and_held(self, telegram_posts, invoice, changes, reason):
        """4.3, 4.5"""
        assert telegram_posts(updates.payment(invoice, **changes)).status_code == 200
        assert Hold.objects.get().reason == reason
        assert not Entitlement.objects.exists()

    @pytest.mark.parametrize(
        "changes",
        [
            *({"total_amount": amount} for amount in ("100", 99.9, True, None, -100, 0, 2**63)),
            {"currency": "xtr"},
            {"currency": None},
            {"charge_id": ""},
            {"charge_id": "x" * 10_000},
            {"charge_id": 7},
        ],
    )
    def test_that_cannot_be_read_is_held_as_bytes(self, telegram_posts, invoice, changes):
        update = updates.payment(invoice, **changes)

        assert telegram_posts(update).status_code == 200
        held = Hold.objects.get()
        assert held.reason == HoldReason.UNREADABLE
        assert bytes(held.evidence) == updates.body(update)

    def test_with_bytes_that_are_no_utf8_is_still_recorded(self, telegram_posts, invoice):
        body = updates.body(updates.payment(invoice)).replace(b'"Alice"', b'"Al\xff\xfeice"')

        telegram_posts(body)

        assert PaymentEvent.objects.get().status == "processed"

    def test_is_seen_behind_a_field_that_telegram_may_add(self, telegram_posts, invoice):
        update = updates.payment(invoice)

        telegram_posts({"update_id": update["update_id"], "brand_new": True, **update})

        assert PaymentEvent.objects.exists()

    def test_marks_its_invoice_paid_though_a_program_reported_it_before(self, telegram_posts, invoice):
        record_payment(payment_of(invoice, payload="its own reference", plan_code="gold_1m", payer=invoice.customer))

        telegram_posts(updates.payment(invoice))

        invoice.refresh_from_db()
        assert (invoice.status, PaymentEvent.objects.count()) == ("paid", 1)

    @pytest.mark.parametrize("place", ["reply_to_message", "pinned_message"])
    def test_quoted_in_another_message_is_history(self, telegram_posts, invoice, place):
        quoted = updates.payment(invoice)["message"]

        telegram_posts(updates.message(invoice.customer.telegram_user_id, **{place: quoted}))

        assert not PaymentEvent.objects.exists()

    def test_never_has_its_own_words_echoed(self, telegram_posts, invoice):
        update = updates.payment(invoice) | {"method": "refundStarPayment", "user_id": 1}

        assert telegram_posts(update).content == b""

    def test_logs_who_paid_what_for_which_plan(self, telegram_posts, invoice, logged):
        """3.9, 6.6"""
        telegram_posts(updates.payment(invoice))

        line = next(line for line in logged if line["event"] == "payment recorded")
        assert (line["user_id"], line["plan_code"]) == (invoice.customer.user_id, "gold_1m")
        assert (line["amount"], line["currency"]) == (500, "XTR")


class TestARefund:
    def test_revokes_the_access_its_payment_gave(self, telegram_posts, invoice):
        telegram_posts(updates.payment(invoice))

        assert telegram_posts(updates.refund(invoice)).content == b""
        assert not Entitlement.objects.active_at(datetime.now(UTC)).exists()

    def test_that_overtakes_its_payment_is_applied_with_it(self, telegram_posts, invoice):
        telegram_posts(updates.refund(invoice))
        assert EarlyRefund.objects.waiting().exists()

        telegram_posts(updates.payment(invoice))

        assert not Entitlement.objects.active_at(datetime.now(UTC)).exists()
        assert not EarlyRefund.objects.waiting().exists()


class TestAPreCheckout:
    def test_is_approved_in_the_answer_itself(self, telegram_posts, invoice):
        """2.1, 2.2, 2.7"""
        answer = telegram_posts(updates.pre_checkout(invoice, query_id="q1"))

        assert answer.json() == {"method": "answerPreCheckoutQuery", "pre_checkout_query_id": "q1", "ok": True}
        assert CheckoutDecision.objects.get().invoice == invoice

    def test_gives_nothing_before_the_money_is_there(self, telegram_posts, invoice):
        telegram_posts(updates.pre_checkout(invoice))

        assert not Entitlement.objects.exists()
        assert not Grant.objects.exists()

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"invoice_payload": "never ours"}, "unknown_payload"),
            ({"invoice_payload": "\0"}, "unknown_payload"),
            ({"payer": 4_242}, "foreign_payer"),
            ({"currency": "xtr"}, "currency_mismatch"),
            ({"currency": "USD"}, "currency_mismatch"),
            ({"total_amount": 1}, "amount_mismatch"),
            ({"total_amount": "500"}, "amount_mismatch"),
            ({"total_amount": True}, "amount_mismatch"),
        ],
    )
    def test_that_differs_is_refused_in_words(self, telegram_posts, invoice, changes, reason):
        """2.3, 2.4, 2.6, 2.8, 4.3, 4.5"""
        answer = telegram_posts(updates.pre_checkout(invoice, **changes)).json()

        assert answer["ok"] is False
        assert len(answer["error_message"]) > 20
        assert CheckoutDecision.objects.get().reason == reason

    def test_with_another_plans_payload_is_refused(self, telegram_posts, invoice, bob, gold):
        """4.4"""
        others = InvoiceFactory(customer=bob, plan=gold)

        telegram_posts(updates.pre_checkout(invoice, invoice_payload=others.payload))

        assert CheckoutDecision.objects.get().reason == "foreign_payer"

    def test_of_an_invoice_older_than_an_hour_is_refused(self, telegram_posts, alice, gold):
        """2.5, 4.1"""
        telegram_posts(updates.pre_checkout(InvoiceFactory(customer=alice, plan=gold, expired=True)))

        assert CheckoutDecision.objects.get().reason == "expired"

    def test_of_a_paid_invoice_is_refused(self, telegram_posts, invoice):
        telegram_posts(updates.payment(invoice))

        telegram_posts(updates.pre_checkout(invoice))

        assert CheckoutDecision.objects.get().reason == "already_paid"

    def test_of_a_second_invoice_for_what_is_active_is_refused(self, telegram_posts, invoice, gold):
        second = InvoiceFactory(customer=invoice.customer, plan=gold)
        telegram_posts(updates.payment(invoice))

        telegram_posts(updates.pre_checkout(second))

        assert CheckoutDecision.objects.get().reason == "already_active"

    def test_by_a_blocked_customer_is_refused(self, telegram_posts, invoice):
        Customer.objects.update(blocked_at=datetime.now(UTC))

        telegram_posts(updates.pre_checkout(invoice))

        assert CheckoutDecision.objects.get().reason == "customer_blocked"

    def test_while_payments_are_switched_off_is_refused(self, telegram_posts, invoice, settings):
        settings.TELEGRAM_PAYMENT_ENABLED = False

        telegram_posts(updates.pre_checkout(invoice))

        assert CheckoutDecision.objects.get().reason == "payments_disabled"

    def test_of_a_withdrawn_plan_is_refused(self, telegram_posts, invoice):
        Plan.objects.update(withdrawn_at=datetime.now(UTC))

        telegram_posts(updates.pre_checkout(invoice))

        assert CheckoutDecision.objects.get().reason == "plan_unavailable"

    @pytest.mark.parametrize("status", [InvoiceStatus.DRAFT, InvoiceStatus.UNCLEAR])
    def test_of_an_invoice_that_was_perhaps_sent_is_approved(self, telegram_posts, alice, gold, status):
        invoice = InvoiceFactory(customer=alice, plan=gold, status=status)

        assert telegram_posts(updates.pre_checkout(invoice)).json()["ok"] is True

    def test_honours_the_quoted_price_after_an_edit(self, telegram_posts, invoice, gold):
        gold.prices.update(amount=999)

        assert telegram_posts(updates.pre_checkout(invoice)).json()["ok"] is True

    def test_asked_twice_is_answered_alike(self, telegram_posts, invoice):
        update = updates.pre_checkout(invoice)
        first = telegram_posts(update).json()
        Invoice.objects.update(status=InvoiceStatus.EXPIRED)

        assert telegram_posts(update).json() == first
        assert CheckoutDecision.objects.count() == 1

    def test_asked_again_in_another_update_is_stored_again(self, telegram_posts, invoice):
        for _ in range(2):
            telegram_posts(updates.pre_checkout(invoice, query_id="the same"))

        assert (CheckoutDecision.objects.count(), IncomingUpdate.objects.count()) == (1, 2)

    def test_with_an_id_no_index_can_hold_is_kept_as_bytes(self, telegram_posts, invoice):
        query_id = "".join(random.Random(1).choices("abcdefghij0123456789", k=9_000))

        assert telegram_posts(updates.pre_checkout(invoice, query_id=query_id)).status_code == 200
        assert IncomingUpdate.objects.get().status == UpdateStatus.QUARANTINED

    def test_is_refused_in_the_buyers_language(self, telegram_posts, invoice):
        update = updates.pre_checkout(invoice, total_amount=1)
        update["pre_checkout_query"]["from"]["language_code"] = "ru"

        assert any("а" <= letter <= "я" for letter in telegram_posts(update).json()["error_message"])

    def test_leaves_a_line_with_the_decision(self, telegram_posts, invoice, logged):
        """2.9"""
        telegram_posts(updates.pre_checkout(invoice, total_amount=1))

        line = next(line for line in logged if line["event"] == "checkout decided")
        assert (line["ok"], line["reason"], line["plan_code"]) == (False, "amount_mismatch", "gold_1m")
        assert (line["user_id"], line["amount"]) == (invoice.customer.user_id, 1)

    def test_that_cannot_be_decided_now_is_asked_for_again_in_a_second(self, telegram_posts, invoice, database_down):
        answer = telegram_posts(updates.pre_checkout(invoice))

        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")


class TestWhatIsNotUnderstood:
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"hello",
            b"{",
            b"{}",
            b"[]",
            b'"text"',
            b'{"message": {}}',
            b'{"update_id": "7"}',
            b'{"update_id": 1, "update_id": 2}',
            b'{"update_id": 1, "message": {"chat": 5, "from": 6}}',
            b'{"update_id": 1, "message": null}',
            b'{"update_id": 1, "pre_checkout_query": {"id": 5}}',
            b'{"update_id": 1, "n": ' + b"9" * 5_000 + b"}",
            b'{"update_id": 1, "n": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
            gzip.compress(b'{"update_id": 1}'),
            b"\xff\xfe\x00",
            b"\x00",
        ],
        ids=range(17),
    )
    def test_is_kept_as_bytes_and_not_sent_again(self, telegram_posts, body):
        answer = telegram_posts(body)

        assert (answer.status_code, answer.content) == (200, b"")
        stored = IncomingUpdate.objects.get()
        assert (bytes(stored.body), stored.status) == (body, UpdateStatus.QUARANTINED)

    def test_is_kept_once(self, telegram_posts):
        for _ in range(2):
            telegram_posts(b"hello")

        assert IncomingUpdate.objects.count() == 1

    def test_does_not_stand_in_the_way_of_a_payment(self, telegram_posts, invoice):
        telegram_posts(b"hello")
        telegram_posts(updates.payment(invoice))

        assert PaymentEvent.objects.exists()

    @pytest.mark.parametrize("update", [{"update_id": 1, "poll": {}}, {"update_id": 1, "brand_new": 5}])
    def test_is_not_what_simply_does_not_concern_us(self, telegram_posts, update):
        telegram_posts(update)

        assert IncomingUpdate.objects.get().status == UpdateStatus.DONE


@pytest.mark.django_db(transaction=True)
class TestWhenTheEffectFails:
    def test_the_update_alone_is_stored_for_another_try(self, telegram_posts, invoice, break_grants):
        answer = telegram_posts(updates.payment(invoice))

        assert answer.status_code == 200
        stored = IncomingUpdate.objects.get()
        assert (stored.status, stored.attempts) == (UpdateStatus.PENDING, 1)
        assert stored.next_attempt_at > datetime.now(UTC) + timedelta(seconds=50)
        assert not PaymentEvent.objects.exists()

    def test_a_redelivery_heals_it(self, telegram_posts, invoice, break_grants):
        update = updates.payment(invoice)
        telegram_posts(update)
        break_grants.mend()

        telegram_posts(update)

        assert PaymentEvent.objects.get().status == "processed"
        assert IncomingUpdate.objects.get().status == UpdateStatus.DONE

    def test_the_error_is_logged_with_its_trace(self, telegram_posts, invoice, break_grants, logged):
        """6.8"""
        telegram_posts(updates.payment(invoice))

        line = next(line for line in logged if line["event"] == "update failed")
        assert line["exc_info"] is True or "Traceback" in str(line)


def test_nothing_is_answered_200_that_was_not_stored(telegram_posts, invoice, database_down):
    answer = telegram_posts(updates.payment(invoice))

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.fixture
def database_down():
    """Every statement fails as it does when the server is gone."""

    def refuse(execute, sql, params, many, context):
        message = "server closed the connection unexpectedly"
        raise OperationalError(message)

    with connection.execute_wrapper(refuse):
        yield


class BrokenGrants:
    """A rule in the database that no grant fits, so that the effect of a payment fails and nothing else."""

    def __init__(self) -> None:
        self.run("ALTER TABLE entitlements_grant ADD CONSTRAINT broken CHECK (false) NOT VALID")

    def mend(self) -> None:
        self.run("ALTER TABLE entitlements_grant DROP CONSTRAINT IF EXISTS broken")

    def run(self, sql: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(sql)


@pytest.fixture
def break_grants(transactional_db):
    broken = BrokenGrants()
    yield broken
    broken.mend()
