"""Criteria 1.1-1.9 and 4.6-4.8: a signed-in buyer asks for an invoice. 1.10 is shown by the flows."""

from datetime import UTC, datetime, timedelta

import pytest

from config.api.problems import Code
from entitlements.services import grant
from payments.api.problems import problem_of as problem_for
from payments.invoicing import InvoicingError
from payments.models import Invoice, InvoiceStatus, WhenActive
from payments.money import Money
from tests.api.conftest import Caller, buyer, claims_of, problem_of, signed
from tests.factories import CustomerFactory, PlanFactory

# Telegram is never called within a transaction, so a test in which it is called cannot run in one.
calls_telegram = pytest.mark.django_db(transaction=True)

SEND_INVOICE = "/api/v1/telegram/payment/send-invoice"
GOLD = {"plan_code": "gold_1m"}


@pytest.fixture
def in_chat(telegram, alice):
    """Alice's Telegram, where she has started the bot."""
    person = telegram.person("Alice", user_id=alice.telegram_user_id)
    person.says("/start")
    return person


@calls_telegram
class TestAnInvoice:
    def test_is_sent_into_the_chat_for_a_valid_plan_code(self, as_alice, alice, gold, in_chat):
        """1.1, 1.2, 1.3"""
        answer = as_alice.post(SEND_INVOICE, GOLD)

        invoice = Invoice.objects.get()
        assert answer.status_code == 200
        assert answer.json() == {
            "invoice_id": str(invoice.pk),
            "plan_code": "gold_1m",
            "amount": gold.prices.get(currency="XTR").amount,
            "currency": "XTR",
            "payment_method": "telegram_stars",
            "delivery": "chat",
            "invoice_link": None,
            "message_id": in_chat.last_invoice().message_id,
            "expires_at": answer.json()["expires_at"],
        }
        expires_at = datetime.fromisoformat(answer.json()["expires_at"])
        assert timedelta(minutes=59) < expires_at - datetime.now(UTC) <= timedelta(hours=1)
        assert (invoice.customer, invoice.status) == (alice, InvoiceStatus.SENT)

    def test_comes_as_a_link_when_asked_so(self, as_alice, gold, telegram):
        answer = as_alice.post(SEND_INVOICE, GOLD | {"delivery": "link"}).json()

        assert answer["invoice_link"] == telegram.truth.links[0]
        assert (answer["message_id"], answer["delivery"]) == (None, "link")

    def test_is_for_the_currency_asked_for(self, as_alice, gold, telegram, settings):
        settings.TELEGRAM_PAYMENT_PROVIDER_TOKEN = "284685063:TEST:local"

        answer = as_alice.post(SEND_INVOICE, GOLD | {"currency": "GBP", "delivery": "link"}).json()

        assert (answer["amount"], answer["currency"], answer["payment_method"]) == (2500, "GBP", "telegram_provider")

    def test_of_a_recurring_plan_in_the_chat_is_a_message_with_a_link(self, as_alice, in_chat):
        PlanFactory(code="club", entitlement="club", recurring=True, prices=[Money(500, "XTR")])

        answer = as_alice.post(SEND_INVOICE, {"plan_code": "club"}).json()

        assert answer["invoice_link"].startswith("https://t.me/$")
        assert isinstance(answer["message_id"], int)

    def test_is_logged_with_user_plan_and_amount(self, as_alice, alice, gold, telegram, logged):
        """1.8, 6.6"""
        as_alice.post(SEND_INVOICE, GOLD | {"delivery": "link"})

        (line,) = [line for line in logged if line["event"] == "invoice sent"]
        assert (line["user_id"], line["plan_code"]) == (alice.user_id, "gold_1m")
        assert (line["amount"], line["currency"]) == (500, "XTR")

    def test_is_counted(self, as_alice, gold, telegram, settings):
        """1.9"""
        settings.METRICS_TOKEN = "the-metrics-token"

        as_alice.post(SEND_INVOICE, GOLD | {"delivery": "link"})

        metrics = Caller("Bearer the-metrics-token").get("/metrics").text
        assert 'telegram_payments_total{plan_code="gold_1m",result="sent"} 1.0' in metrics


@pytest.mark.django_db
class TestNoInvoice:
    def test_for_an_unknown_plan(self, as_alice, gold):
        """1.4"""
        assert problem_of(as_alice.post(SEND_INVOICE, {"plan_code": "platinum"})) == (422, "unknown_plan")

    def test_for_a_withdrawn_plan(self, as_alice):
        PlanFactory(withdrawn_at=datetime.now(UTC))

        assert problem_of(as_alice.post(SEND_INVOICE, GOLD)) == (422, "unknown_plan")

    def test_in_a_currency_the_plan_has_no_price_in(self, as_alice, gold):
        refused = as_alice.post(SEND_INVOICE, GOLD | {"currency": "USD"})

        assert problem_of(refused) == (422, "currency_not_offered")

    def test_for_what_the_customer_has_already(self, as_alice, alice, gold):
        """1.5"""
        until = datetime.now(UTC) + timedelta(days=3)
        grant(customer=alice, entitlement="gold", source="staff:1", granted_at=datetime.now(UTC), ends_at=until)

        refused = as_alice.post(SEND_INVOICE, GOLD)

        assert problem_of(refused) == (409, "already_active")
        assert datetime.fromisoformat(refused.json()["expires_at"]) == until

    @calls_telegram
    def test_but_one_for_what_he_has_and_may_extend(self, as_alice, alice, telegram):
        PlanFactory(when_active=WhenActive.EXTEND)
        grant(customer=alice, entitlement="gold", source="staff:1", granted_at=datetime.now(UTC))

        assert as_alice.post(SEND_INVOICE, GOLD | {"delivery": "link"}).status_code == 200

    def test_without_a_token(self, nobody, gold):
        """1.6, 4.7"""
        refused = nobody.post(SEND_INVOICE, GOLD)

        assert problem_of(refused) == (401, "not_authenticated")
        assert refused["WWW-Authenticate"].startswith("Bearer")

    def test_with_an_invalid_token(self, alice, gold):
        """4.8"""
        forged = Caller(f"Bearer {signed(claims_of(alice), key='another key of more than thirty-two bytes')}")

        assert problem_of(forged.post(SEND_INVOICE, GOLD)) == (401, "invalid_token")

    @pytest.mark.parametrize("body", [b"", b"{", b"gold_1m", b"[]", b'"gold_1m"', b"null", b"\xff", b'{"a":1,"a":2}'])
    def test_for_a_body_that_is_no_json_object(self, as_alice, gold, body):
        """4.6"""
        assert problem_of(as_alice.post(SEND_INVOICE, body)) == (400, "malformed")

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("plan_code", None),
            ("plan_code", 7),
            ("plan_code", ""),
            ("plan_code", "gold\x00"),
            ("currency", "xtr"),
            ("currency", 5),
            ("payment_method", "cash"),
            ("delivery", ["chat"]),
            ("delivery", "pigeon"),
        ],
    )
    def test_for_a_field_that_is_not_valid(self, as_alice, gold, field, value):
        refused = as_alice.post(SEND_INVOICE, GOLD | {field: value})

        assert problem_of(refused) == (422, "invalid")
        assert list(refused.json()["errors"]) == [field]
        assert all(refused.json()["errors"][field])

    def test_while_payments_are_disabled(self, as_alice, gold, settings):
        settings.TELEGRAM_PAYMENT_ENABLED = False

        assert problem_of(as_alice.post(SEND_INVOICE, GOLD)) == (503, "payments_disabled")

    def test_for_a_blocked_customer(self, gold):
        blocked = buyer(CustomerFactory(blocked_at=datetime.now(UTC)))

        assert problem_of(blocked.post(SEND_INVOICE, GOLD)) == (403, "customer_blocked")

    @calls_telegram
    def test_into_a_chat_that_was_never_started(self, as_alice, gold, telegram):
        refused = as_alice.post(SEND_INVOICE, GOLD)

        assert problem_of(refused) == (409, "chat_unavailable")
        assert Invoice.objects.get().status == InvoiceStatus.VOID

    def test_into_the_chat_of_somebody_without_telegram(self, gold):
        assert problem_of(buyer(sub="carol").post(SEND_INVOICE, GOLD)) == (409, "chat_unavailable")


@calls_telegram
class TestWhenTelegram:
    def test_limits_us_its_pause_is_passed_on(self, as_alice, gold, telegram):
        telegram.faults.order("createInvoiceLink", "429", retry_after=17)

        busy = as_alice.post(SEND_INVOICE, GOLD | {"delivery": "link"})

        assert problem_of(busy) == (503, "unavailable")
        assert busy["Retry-After"] == "17"
        assert Invoice.objects.get().status == InvoiceStatus.VOID

    def test_refuses_the_invoice_nothing_is_left_half_done(self, as_alice, gold, telegram):
        telegram.faults.order("createInvoiceLink", "refuse")

        refused = as_alice.post(SEND_INVOICE, GOLD | {"delivery": "link"})

        assert problem_of(refused) == (503, "unavailable")
        assert Invoice.objects.get().status == InvoiceStatus.VOID

    def test_drops_the_answer_the_invoice_may_still_be_paid(self, as_alice, gold, telegram):
        telegram.faults.order("createInvoiceLink", "cut_after_effect")

        unclear = as_alice.post(SEND_INVOICE, GOLD | {"delivery": "link"})

        assert problem_of(unclear) == (503, "unavailable")
        assert Invoice.objects.get().status == InvoiceStatus.UNCLEAR


@calls_telegram
class TestTheSixthAttemptWithinAMinute:
    """1.7"""

    def test_is_refused(self, as_alice, gold, telegram):
        sent = [as_alice.post(SEND_INVOICE, GOLD | {"delivery": "link"}).status_code for _ in range(5)]

        refused = as_alice.post(SEND_INVOICE, GOLD | {"delivery": "link"})

        assert sent == [200] * 5
        assert problem_of(refused) == (429, "rate_limited")
        assert 55 <= int(refused["Retry-After"]) <= 60

    def test_is_refused_after_refused_ones_too(self, as_alice, gold, telegram):
        for body in [b"{", {}, {"plan_code": "platinum"}, GOLD | {"currency": "USD"}, {"plan_code": 7}]:
            as_alice.post(SEND_INVOICE, body)

        assert problem_of(as_alice.post(SEND_INVOICE, GOLD)) == (429, "rate_limited")

    def test_leaves_others_alone(self, as_alice, as_bob, gold, telegram):
        for _ in range(6):
            as_alice.post(SEND_INVOICE, {})

        assert as_bob.post(SEND_INVOICE, GOLD | {"delivery": "link"}).status_code == 200

    def test_is_not_reached_by_replays(self, as_alice, gold, telegram):
        answers = [
            as_alice.post(SEND_INVOICE, GOLD | {"delivery": "link"}, Idempotency_Key="order-1") for _ in range(7)
        ]

        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.json()["invoice_id"] for answer in answers}) == 1
        assert [answer.get("Idempotency-Replayed") for answer in answers] == [None] + ["true"] * 6
        assert Invoice.objects.count() == 1


def test_every_reason_for_no_invoice_is_a_problem():
    arguments = {"AlreadyActive": [None], "ChannelUnavailable": [7]}
    reasons = [kind(*arguments.get(kind.__name__, [])) for kind in InvoicingError.__subclasses__()]

    assert len(reasons) == 8
    assert Code.INTERNAL not in {problem_for(reason).code for reason in reasons}
