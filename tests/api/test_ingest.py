"""Events of money that another service received and parsed: 3.4, 3.5, 4.2-4.5 by the normalised endpoints."""

from datetime import UTC, datetime

import pytest

from entitlements.models import Customer, Grant, Scope, UserIdOrigin
from entitlements.selectors import has_access
from payments.models import EarlyRefund, Hold, Origin, PaymentEvent, ProviderRecord
from payments.recording import record_payment
from tests.api.conftest import problem_of, program
from tests.factories import CustomerFactory, InvoiceFactory
from tests.payments.reports import payment_of

pytestmark = pytest.mark.django_db

PAYMENT = "/webhook/telegram/successful_payment"
REFUND = "/webhook/telegram/refund"


@pytest.fixture
def sender():
    return program(Scope.PAYMENTS_INGEST)


def payment(**changes) -> dict:
    report = {
        "user_id": "carol",
        "entitlement_type": "gold_1m",
        "invoice_id": "order-17",
        "telegram_payment_charge_id": "stxCarol",
        "provider_payment_charge_id": "",
        "total_amount": 500,
        "currency": "XTR",
    } | changes
    return {name: value for name, value in report.items() if value is not ...}


def refund(**changes) -> dict:
    return {
        "user_id": "carol",
        "entitlement_type": "gold_1m",
        "telegram_payment_charge_id": "stxCarol",
        "refund_reason": "asked for it",
    } | changes


class TestAReportedPayment:
    def test_at_a_current_price_is_processed_and_gives_access(self, sender, gold):
        answer = sender.post(PAYMENT, payment())

        event = PaymentEvent.objects.get()
        assert answer.status_code == 200
        assert answer.json() == {"status": "processed", "payment_id": str(event.pk)}
        assert has_access("carol", "gold")
        assert (event.reference, event.origin, event.payment_method) == ("order-17", Origin.API, "telegram_stars")

    def test_is_kept_whole_as_it_came(self, sender, gold):
        body = b'{ "user_id":"carol", "entitlement_type":"gold_1m", "telegram_payment_charge_id":"stx ", '
        body += b'"total_amount":500, "currency":"XTR", "note":"\xd0\xb4\xd0\xb0"}'

        assert sender.post(PAYMENT, body).json()["status"] == "processed"

        assert bytes(ProviderRecord.objects.get().body) == body
        assert PaymentEvent.objects.get().event_id == "stx "

    def test_may_have_a_charge_id_of_blanks_alone(self, sender, gold):
        sender.post(PAYMENT, payment(telegram_payment_charge_id="  "))

        assert PaymentEvent.objects.get().event_id == "  "

    def test_makes_the_customer_it_names(self, sender, gold):
        sender.post(PAYMENT, payment())

        assert Customer.objects.get().user_id_origin == UserIdOrigin.HOST

    def test_finds_the_customer_it_names(self, sender, gold, alice):
        sender.post(PAYMENT, payment(user_id=alice.user_id))

        assert has_access(alice.user_id, "gold")
        assert Customer.objects.get() == alice

    def test_again_changes_nothing(self, sender, gold):
        """3.4, 3.5, 4.2"""
        first = sender.post(PAYMENT, payment()).json()

        again = sender.post(PAYMENT, payment())

        assert again.json() == {"status": "duplicate", "payment_id": first["payment_id"]}
        assert (PaymentEvent.objects.count(), Grant.objects.count()) == (1, 1)

    def test_is_the_one_the_webhook_brought(self, sender, invoice):
        brought = record_payment(payment_of(invoice, charge_id="stxSame")).event

        report = payment(user_id=invoice.customer.user_id, telegram_payment_charge_id="stxSame")

        assert sender.post(PAYMENT, report).json() == {"status": "duplicate", "payment_id": str(brought.pk)}

    def test_in_fiat_is_by_the_provider(self, sender, gold):
        report = payment(total_amount=2500, currency="GBP", provider_payment_charge_id="ch_1")

        assert sender.post(PAYMENT, report).json()["status"] == "processed"

        event = PaymentEvent.objects.get()
        assert (event.payment_method, event.provider_charge_id) == ("telegram_provider", "ch_1")

    def test_for_an_invoice_of_ours_is_compared_with_it(self, sender, invoice):
        report = payment(user_id=invoice.customer.user_id, invoice_id=str(invoice.pk))

        assert sender.post(PAYMENT, report).json()["status"] == "processed"
        assert PaymentEvent.objects.get().invoice == invoice

    @pytest.mark.parametrize("invoice_id", [..., "", "66d05d46-a854-42f0-ad69-dafc635f285f", "{x}", "order-17"])
    def test_needs_no_invoice_of_ours(self, sender, gold, invoice_id):
        assert sender.post(PAYMENT, payment(invoice_id=invoice_id)).json()["status"] == "processed"


class TestAReportedPaymentIsHeld:
    def reason(self, answer) -> str:
        assert answer.json()["status"] == "held"
        hold = Hold.objects.get()
        assert str(hold.event_id) == answer.json()["payment_id"]
        assert not Grant.objects.exists()
        return hold.reason

    def test_when_its_amount_is_no_current_price(self, sender, gold):
        """4.3"""
        assert self.reason(sender.post(PAYMENT, payment(total_amount=499))) == "amount_mismatch"

    def test_when_its_plan_is_unknown(self, sender, gold):
        """4.4"""
        assert self.reason(sender.post(PAYMENT, payment(entitlement_type="platinum"))) == "unknown_plan"

    def test_when_its_invoice_is_somebody_elses(self, sender, invoice):
        """4.5"""
        report = payment(user_id=CustomerFactory().user_id, invoice_id=str(invoice.pk))
        assert self.reason(sender.post(PAYMENT, report)) == "foreign_payer"

    def test_when_its_invoice_quotes_another_amount(self, sender, invoice):
        report = payment(user_id=invoice.customer.user_id, invoice_id=str(invoice.pk), total_amount=1)
        assert self.reason(sender.post(PAYMENT, report)) == "amount_mismatch"

    def test_when_its_invoice_quotes_another_plan(self, sender, invoice):
        report = payment(user_id=invoice.customer.user_id, invoice_id=str(invoice.pk), entitlement_type="silver_3m")
        assert self.reason(sender.post(PAYMENT, report)) == "plan_mismatch"

    def test_when_its_customer_is_blocked(self, sender, gold):
        blocked = CustomerFactory(blocked_at=datetime.now(UTC))
        assert self.reason(sender.post(PAYMENT, payment(user_id=blocked.user_id))) == "customer_blocked"


class TestAReportedRefund:
    def test_takes_back_what_the_payment_gave(self, sender, gold):
        sender.post(PAYMENT, payment())

        assert sender.post(REFUND, refund()).json() == {"status": "processed"}

        assert not has_access("carol", "gold")
        assert Grant.objects.get().revoked_reason == "asked for it"

    def test_again_changes_nothing(self, sender, gold):
        sender.post(PAYMENT, payment())
        sender.post(REFUND, refund())

        assert sender.post(REFUND, refund()).json() == {"status": "duplicate"}
        assert PaymentEvent.objects.refunds().count() == 1

    def test_in_fiat_is_found_by_its_charge_alone(self, sender, gold):
        sender.post(PAYMENT, payment(total_amount=2500, currency="GBP"))

        assert sender.post(REFUND, refund()).json() == {"status": "processed"}

    def test_of_an_unknown_charge_is_held_until_its_payment_comes(self, sender, gold):
        assert sender.post(REFUND, refund()).json() == {"status": "held"}
        assert EarlyRefund.objects.get().event_id == "stxCarol"

        sender.post(PAYMENT, payment())

        assert not has_access("carol", "gold")

    def test_that_names_another_customer_is_held(self, sender, gold, alice):
        sender.post(PAYMENT, payment())

        assert sender.post(REFUND, refund(user_id=alice.user_id)).json() == {"status": "held"}
        assert has_access("carol", "gold")


class TestAReport:
    @pytest.mark.parametrize("path", [PAYMENT, REFUND])
    def test_needs_the_scope(self, nobody, as_alice, path):
        assert problem_of(nobody.post(path, payment())) == (401, "not_authenticated")
        assert problem_of(as_alice.post(path, payment())) == (401, "not_authenticated")
        assert problem_of(program(Scope.PAYMENTS_READ).post(path, payment())) == (403, "forbidden")

    @pytest.mark.parametrize("path", [PAYMENT, REFUND])
    def test_that_is_no_object_is_malformed(self, sender, path):
        """4.6"""
        assert problem_of(sender.post(path, b"[]")) == (400, "malformed")

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("user_id", ...),
            ("user_id", 7),
            ("user_id", ""),
            ("user_id", "x" * 256),
            ("user_id", "a\x00"),
            ("entitlement_type", ...),
            ("entitlement_type", None),
            ("invoice_id", 7),
            ("telegram_payment_charge_id", ...),
            ("telegram_payment_charge_id", ""),
            ("telegram_payment_charge_id", "x" * 513),
            ("telegram_payment_charge_id", "\ud800"),
            ("total_amount", ...),
            ("total_amount", "500"),
            ("total_amount", 500.0),
            ("total_amount", True),
            ("total_amount", None),
            ("total_amount", 0),
            ("total_amount", -500),
            ("total_amount", 2**63),
            ("currency", ...),
            ("currency", "xtr"),
            ("currency", "XTR\n"),
            ("currency", "XTRX"),
        ],
    )
    def test_with_a_field_that_is_not_valid_is_refused_and_names_it(self, sender, gold, field, value):
        refused = sender.post(PAYMENT, payment(**{field: value}))

        assert problem_of(refused) == (422, "invalid")
        assert list(refused.json()["errors"]) == [field]
        assert not PaymentEvent.objects.exists()
        assert not Customer.objects.exists()

    def test_of_a_charge_id_as_long_as_we_take_is_kept(self, sender, gold):
        longest = "é" * 512

        assert sender.post(PAYMENT, payment(telegram_payment_charge_id=longest)).json()["status"] == "processed"
        assert PaymentEvent.objects.get().event_id == longest


def test_an_invoice_is_found_by_its_id_however_that_is_written(sender, gold):
    invoice = InvoiceFactory(customer=CustomerFactory())
    report = payment(user_id=invoice.customer.user_id, invoice_id=str(invoice.pk).upper())

    sender.post(PAYMENT, report)

    assert PaymentEvent.objects.get().invoice == invoice
