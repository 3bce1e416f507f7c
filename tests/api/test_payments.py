"""Payments as buyers and programs see them: one row each, newest first, in pages."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from django.test import override_settings

from config.api.pagination import Cursor
from entitlements.models import Scope
from payments.models import Hold, PaymentEvent, Resolution
from payments.money import Money
from payments.recording import record_payment, record_refund
from tests.api.conftest import problem_of, program
from tests.payments.reports import payment_of, refund_of

pytestmark = pytest.mark.django_db

MINE = "/api/v1/me/payments"


@pytest.fixture
def product():
    return program(Scope.PAYMENTS_READ)


def z(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def paid(customer, *moments: datetime) -> list[PaymentEvent]:
    """A payment at each of these moments, as the ledger keeps them."""
    return PaymentEvent.objects.bulk_create(
        PaymentEvent(
            event_id=f"stx{uuid4()}",
            event_type="telegram_stars.successful_payment",
            payment_method="telegram_stars",
            customer=customer,
            amount=500,
            currency="XTR",
            status="processed",
            origin="webhook",
            occurred_at=at,
            received_at=datetime.now(UTC),
        )
        for at in moments
    )


class TestMyPayments:
    def test_show_what_i_paid(self, as_alice, invoice):
        paid_at = datetime.now(UTC).replace(microsecond=0)
        payment = record_payment(payment_of(invoice, occurred_at=paid_at)).event

        assert as_alice.get(MINE).json() == {
            "next": None,
            "previous": None,
            "results": [
                {
                    "payment_id": str(payment.pk),
                    "event_type": "telegram_stars.successful_payment",
                    "plan_code": "gold_1m",
                    "amount": 500,
                    "currency": "XTR",
                    "payment_method": "telegram_stars",
                    "status": "processed",
                    "occurred_at": z(paid_at),
                    "refunded_at": None,
                }
            ],
        }

    def test_show_a_refunded_payment_in_one_row(self, as_alice, invoice):
        refunded_at = datetime.now(UTC).replace(microsecond=0)
        record_payment(payment_of(invoice, occurred_at=refunded_at - timedelta(hours=1)))
        record_refund(refund_of(invoice, occurred_at=refunded_at))

        (row,) = as_alice.get(MINE).json()["results"]

        assert (row["status"], row["refunded_at"]) == ("refunded", z(refunded_at))
        assert row["event_type"] == "telegram_stars.successful_payment"

    @pytest.mark.parametrize(
        ("resolution", "status"),
        [
            ("", "held"),
            (Resolution.GRANTED, "processed"),
            (Resolution.DISMISSED, "dismissed"),
            (Resolution.REFUNDED, "refunded"),
        ],
    )
    def test_show_what_became_of_a_held_one(self, as_alice, invoice, resolution, status):
        record_payment(payment_of(invoice, money=Money(1, "XTR")))
        if resolution:
            Hold.objects.update(
                resolution=resolution, resolved_at=datetime.now(UTC), resolved_by="staff:1", resolved_why="so"
            )

        (row,) = as_alice.get(MINE).json()["results"]

        assert (row["status"], row["amount"]) == (status, 1)

    def test_show_no_plan_where_none_is_known(self, as_alice, alice, invoice):
        record_payment(payment_of(invoice, payload="not one of ours"))

        (row,) = as_alice.get(MINE).json()["results"]

        assert (row["plan_code"], row["status"]) == (None, "held")

    def test_are_mine_alone(self, as_bob, invoice):
        record_payment(payment_of(invoice))

        assert as_bob.get(MINE).json()["results"] == []

    def test_cost_few_queries_however_many_they_are(self, as_alice, alice, django_assert_num_queries):
        paid(alice, *[datetime.now(UTC)] * 5)

        with django_assert_num_queries(2):
            as_alice.get(MINE)


class TestPages:
    @pytest.fixture
    def many(self, alice):
        """120 payments, of which 60 in one and the same second."""
        first = datetime(2026, 1, 1, tzinfo=UTC)
        return paid(alice, *[first + timedelta(minutes=min(number, 60)) for number in range(120)])

    def walk(self, caller, path, direction="next"):
        pages = []
        while path and len(pages) < 9:
            page = caller.get(path).json()
            pages.append(page)
            path = page[direction]
        return pages

    def test_hold_fifty_each_newest_first_and_every_payment_once(self, as_alice, many):
        pages = self.walk(as_alice, MINE)

        assert [len(page["results"]) for page in pages] == [50, 50, 20]
        shown = [UUID(row["payment_id"]) for page in pages for row in page["results"]]
        assert shown == list(PaymentEvent.objects.newest_first().values_list("pk", flat=True))
        assert pages[0]["previous"] is None
        assert pages[0]["next"].startswith(f"http://testserver{MINE}?cursor=")

    def test_lead_back_the_way_they_came(self, as_alice, many):
        there = self.walk(as_alice, MINE)

        back = self.walk(as_alice, there[-1]["previous"], "previous")

        assert [page["results"] for page in back] == [there[1]["results"], there[0]["results"]]
        assert back[-1]["previous"] is None

    def test_stay_true_while_payments_arrive(self, as_alice, alice, many):
        first = as_alice.get(MINE).json()
        (newest,) = paid(alice, datetime.now(UTC))

        second = as_alice.get(first["next"]).json()
        before = as_alice.get(second["previous"]).json()

        assert first["results"][-1] not in second["results"]
        assert before["results"] == first["results"]
        assert as_alice.get(before["previous"]).json()["results"][0]["payment_id"] == str(newest.pk)

    @override_settings(SECURE=True)
    def test_are_linked_by_https_behind_a_proxy(self, as_alice, many):
        assert as_alice.get(MINE).json()["next"].startswith("https://")

    @pytest.mark.parametrize(
        "cursor",
        [
            "x",
            "é",
            "AAAA",
            "cD0yMDI2",
            "%00",
            "YmVmb3JlIDIwMjYtMDEtMDEgeA==",
            Cursor(True, datetime(2026, 1, 1), UUID(int=7)).encode(),  # noqa: DTZ001 - as nobody else would make it
        ],
    )
    def test_are_not_found_by_what_is_no_cursor(self, as_alice, cursor):
        refused = as_alice.get(f"{MINE}?cursor={cursor}")

        assert problem_of(refused) == (422, "invalid")
        assert list(refused.json()["errors"]) == ["cursor"]

    def test_begin_with_the_newest_under_an_empty_cursor(self, as_alice, many):
        assert as_alice.get(f"{MINE}?cursor=").json()["results"] == as_alice.get(MINE).json()["results"]

    def test_are_empty_beyond_the_end(self, as_alice):
        cursor = Cursor(False, datetime(1, 1, 1, tzinfo=UTC), uuid4()).encode()

        assert as_alice.get(f"{MINE}?cursor={cursor}").json() == {"next": None, "previous": None, "results": []}

    def test_know_their_cursors_again(self):
        for before in (True, False):
            cursor = Cursor(before, datetime.now(UTC), uuid4())
            assert Cursor.decode(cursor.encode()) == cursor


class TestACustomersPayments:
    def test_are_what_he_sees_himself(self, product, as_alice, invoice):
        record_payment(payment_of(invoice))

        seen = product.get(f"/api/v1/customers/{invoice.customer.user_id}/payments")

        assert seen.json() == as_alice.get(MINE).json()

    @pytest.mark.parametrize("user_id", ["nobody", "no%00body", "github/7"])
    def test_of_one_nobody_has_seen_are_none(self, product, user_id):
        assert product.get(f"/api/v1/customers/{user_id}/payments").json()["results"] == []

    def test_need_the_scope(self):
        other = program(Scope.ENTITLEMENTS_READ)
        assert problem_of(other.get("/api/v1/customers/alice/payments")) == (403, "forbidden")


class TestOnePayment:
    def test_is_shown_with_its_refunds(self, product, invoice):
        payment = record_payment(payment_of(invoice)).event
        address = f"/api/v1/payments/{payment.pk}"
        assert product.get(address).json()["refunds"] == []
        refunded_at = datetime.now(UTC)

        record_refund(refund_of(invoice, occurred_at=refunded_at))

        shown = product.get(address).json()
        assert (shown["payment_id"], shown["status"]) == (str(payment.pk), "refunded")
        assert shown["refunds"] == [
            {
                "event_type": "telegram_stars.refunded_payment",
                "amount": 500,
                "currency": "XTR",
                "occurred_at": z(refunded_at),
            }
        ]

    def test_is_not_a_refund_nor_anything_unknown(self, product, invoice):
        record_payment(payment_of(invoice))
        refund = record_refund(refund_of(invoice)).event

        for unknown in (refund.pk, uuid4(), "7", "not-a-uuid"):
            assert problem_of(product.get(f"/api/v1/payments/{unknown}")) == (404, "not_found")
