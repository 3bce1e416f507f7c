"""The pre-checkout's rules, for a program that asks: 2.4-2.6, 2.8, 4.1, 4.3, 4.5."""

from datetime import UTC, datetime

import pytest

from entitlements.models import Scope
from entitlements.services import grant
from payments.models import CheckoutDecision, Invoice
from tests.api.conftest import problem_of, program
from tests.factories import CustomerFactory, InvoiceFactory

pytestmark = pytest.mark.django_db

VALIDATE = "/api/v1/telegram/payment/validate"


@pytest.fixture
def sender():
    return program(Scope.PAYMENTS_VALIDATE)


def question(invoice, **changes) -> dict:
    return {
        "invoice_payload": invoice.payload,
        "telegram_user_id": invoice.customer.telegram_user_id,
        "total_amount": invoice.amount,
        "currency": invoice.currency,
    } | changes


class TestACheckout:
    def test_of_an_open_invoice_by_its_buyer_is_let_through(self, sender, invoice):
        answer = sender.post(VALIDATE, question(invoice))

        assert (answer.status_code, answer.json()) == (200, {"ok": True})
        assert not CheckoutDecision.objects.exists()

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"invoice_payload": "x"}, "unknown_payload"),
            ({"invoice_payload": ""}, "unknown_payload"),
            ({"telegram_user_id": 8}, "foreign_payer"),
            ({"currency": "USD"}, "currency_mismatch"),
            ({"currency": "xtr"}, "currency_mismatch"),
            ({"total_amount": 499}, "amount_mismatch"),
            ({"total_amount": 0}, "amount_mismatch"),
            ({"total_amount": -500}, "amount_mismatch"),
        ],
    )
    def test_that_was_tampered_with_is_refused(self, sender, invoice, changes, reason):
        answer = sender.post(VALIDATE, question(invoice, **changes)).json()

        assert (answer["ok"], answer["reason"]) == (False, reason)
        assert answer["error_message"].endswith(".")

    def test_of_an_expired_invoice_is_refused(self, sender, alice, gold):
        expired = InvoiceFactory(customer=alice, plan=gold, expired=True)

        assert sender.post(VALIDATE, question(expired)).json()["reason"] == "expired"

    def test_of_a_paid_invoice_is_refused(self, sender, invoice):
        Invoice.objects.update(status="paid")

        assert sender.post(VALIDATE, question(invoice)).json()["reason"] == "already_paid"

    def test_of_what_the_buyer_has_is_refused(self, sender, invoice):
        grant(customer=invoice.customer, entitlement="gold", source="staff:1", granted_at=datetime.now(UTC))

        assert sender.post(VALIDATE, question(invoice)).json()["reason"] == "already_active"

    def test_of_a_blocked_customer_is_refused(self, sender, gold):
        blocked = InvoiceFactory(customer=CustomerFactory(blocked_at=datetime.now(UTC)), plan=gold)

        assert sender.post(VALIDATE, question(blocked)).json()["reason"] == "customer_blocked"

    def test_while_payments_are_disabled_is_refused(self, sender, invoice, settings):
        settings.TELEGRAM_PAYMENT_ENABLED = False

        assert sender.post(VALIDATE, question(invoice)).json()["reason"] == "payments_disabled"


class TestAQuestion:
    def test_needs_the_scope(self, invoice):
        assert problem_of(program(Scope.PAYMENTS_INGEST).post(VALIDATE, question(invoice))) == (403, "forbidden")

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("invoice_payload", 7),
            ("invoice_payload", None),
            ("telegram_user_id", "7"),
            ("telegram_user_id", 0),
            ("telegram_user_id", 2**52),
            ("total_amount", "500"),
            ("total_amount", 500.0),
            ("total_amount", True),
            ("total_amount", 2**63),
            ("currency", None),
        ],
    )
    def test_with_a_field_that_is_not_valid_is_refused(self, sender, invoice, field, value):
        refused = sender.post(VALIDATE, question(invoice, **{field: value}))

        assert problem_of(refused) == (422, "invalid")
        assert list(refused.json()["errors"]) == [field]
