"""Refunds asked for by programs."""

from uuid import uuid4

import pytest

from entitlements.models import ApiClient, Scope
from payments import refunding
from payments.models import PaymentEvent, Refund, Resolution
from payments.money import Money
from payments.recording import record_payment, record_refund
from tests.api.conftest import problem_of, program
from tests.payments.reports import payment_of, refund_of
from tests.payments.test_refunding import resolve

pytestmark = pytest.mark.django_db

WHY = {"reason": "Bought by mistake."}


@pytest.fixture
def shop():
    return program(Scope.REFUNDS_WRITE)


@pytest.fixture
def payment(invoice) -> PaymentEvent:
    return record_payment(payment_of(invoice)).event


def address(payment_id) -> str:
    return f"/api/v1/payments/{payment_id}/refund"


class TestAskingForARefund:
    def test_is_answered_before_it_is_made(self, shop, payment):
        answer = shop.post(address(payment.pk), WHY)

        refund = Refund.objects.get()
        assert answer.status_code == 202
        assert answer.json() == {"refund_id": str(refund.pk), "status": "requested"}
        assert (refund.payment, refund.reason) == (payment, "Bought by mistake.")
        assert refund.requested_by == f"api:{ApiClient.objects.get().prefix}"

    def test_under_one_key_is_answered_alike(self, shop, payment):
        first = shop.post(address(payment.pk), WHY, Idempotency_Key="one")
        again = shop.post(address(payment.pk), WHY, Idempotency_Key="one")

        assert (again.status_code, again.json()) == (202, first.json())
        assert (first.get("Idempotency-Replayed"), again.get("Idempotency-Replayed")) == (None, "true")
        assert problem_of(shop.post(address(payment.pk), {"reason": "other"}, Idempotency_Key="one")) == (
            409,
            "idempotency_conflict",
        )

    def test_for_a_payment_whose_refund_is_under_way_names_it(self, shop, payment):
        first = shop.post(address(payment.pk), WHY).json()

        answer = shop.post(address(payment.pk), WHY)

        assert problem_of(answer) == (409, "refund_pending")
        assert answer.json()["refund_id"] == first["refund_id"]
        refund = Refund.objects.get()
        assert refund.requested_by in answer.json()["detail"]

    def test_for_a_refunded_payment_says_when(self, shop, payment, invoice):
        record_refund(refund_of(invoice))

        answer = shop.post(address(payment.pk), WHY)

        assert problem_of(answer) == (409, "already_refunded")
        assert "Given back at 2" in answer.json()["detail"]

    def test_for_a_refunded_payment_says_who_asked(self, shop, payment, invoice):
        shop.post(address(payment.pk), WHY)
        record_refund(refund_of(invoice))

        answer = shop.post(address(payment.pk), WHY)

        assert problem_of(answer) == (409, "already_refunded")
        assert f"Asked for by {Refund.objects.get().requested_by} at 2" in answer.json()["detail"]

    def test_for_what_cannot_be_given_back_is_refused(self, shop, invoice):
        held = record_payment(payment_of(invoice, money=Money(1, "XTR"))).event
        resolve(held, Resolution.DISMISSED)

        assert problem_of(shop.post(address(held.pk), WHY)) == (422, "not_refundable")

    def test_for_a_part_of_it_is_refused(self, shop, payment):
        assert problem_of(shop.post(address(payment.pk), WHY | {"amount": 499})) == (422, "not_refundable")
        assert problem_of(shop.post(address(payment.pk), WHY | {"amount": 0})) == (422, "invalid")
        assert not Refund.objects.exists()
        assert shop.post(address(payment.pk), WHY | {"amount": 500}).status_code == 202

    def test_for_nothing_we_know_as_a_payment_finds_nothing(self, shop, payment, invoice):
        refund = record_refund(refund_of(invoice)).event

        for unknown in (uuid4(), refund.pk):
            assert problem_of(shop.post(address(unknown), WHY)) == (404, "not_found")

    @pytest.mark.parametrize("body", [{}, {"reason": ""}, {"reason": 7}, {"reason": "x" * 1001}, {"reason": "a\x00"}])
    def test_needs_a_reason(self, shop, payment, body):
        assert problem_of(shop.post(address(payment.pk), body)) == (422, "invalid")
        assert not Refund.objects.exists()

    def test_is_for_programs_that_may(self, nobody, as_alice, payment):
        reader = program(*set(Scope) - {Scope.REFUNDS_WRITE})

        assert problem_of(nobody.post(address(payment.pk), WHY)) == (401, "not_authenticated")
        assert problem_of(as_alice.post(address(payment.pk), WHY))[0] == 401
        assert problem_of(reader.post(address(payment.pk), WHY)) == (403, "forbidden")
        assert not Refund.objects.exists()


class TestARefund:
    @pytest.mark.django_db(transaction=True)
    def test_is_seen_on_its_way(self, shop, payment, telegram):
        refund_id = shop.post(address(payment.pk), WHY).json()["refund_id"]
        telegram.faults.order("refundStarPayment", "500")

        before = shop.get(f"/api/v1/refunds/{refund_id}").json()
        refunding.pursue(refund_id=refund_id)
        after = shop.get(f"/api/v1/refunds/{refund_id}").json()

        assert before == {
            "refund_id": refund_id,
            "payment_id": str(payment.pk),
            "status": "requested",
            "reason": "Bought by mistake.",
            "detail": "",
            "confirmed_at": None,
        }
        assert after["status"] == "verify"
        assert after["detail"].startswith("Sent, not confirmed yet")

    def test_is_seen_confirmed_here_and_with_its_payment(self, shop, payment, invoice):
        refund_id = shop.post(address(payment.pk), WHY).json()["refund_id"]
        record_refund(refund_of(invoice))

        seen = shop.get(f"/api/v1/refunds/{refund_id}").json()

        assert (seen["status"], seen["confirmed_at"] is None) == ("confirmed", False)
        row = program(Scope.PAYMENTS_READ).get(f"/api/v1/payments/{payment.pk}").json()
        assert (row["status"], len(row["refunds"])) == ("refunded", 1)

    def test_that_nobody_asked_for_is_not_there(self, shop):
        assert problem_of(shop.get(f"/api/v1/refunds/{uuid4()}")) == (404, "not_found")

    def test_is_for_programs_that_may(self, payment):
        reader = program(Scope.PAYMENTS_READ)

        assert problem_of(reader.get(f"/api/v1/refunds/{uuid4()}")) == (403, "forbidden")
