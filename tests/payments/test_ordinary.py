"""The ordinary payment in one statement writes exactly what the general operation writes, or nothing at all."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from django.db import connection, transaction

from config.database import Beside
from entitlements.models import Customer, Entitlement, Grant
from payments.models import (
    EarlyRefund,
    Invoice,
    InvoiceStatus,
    Notice,
    PaymentEvent,
    PaymentMethod,
    ProviderRecord,
    WhenActive,
)
from payments.money import Money
from payments.ordinary import RECORD, _record, _values, record_ordinary_payment
from payments.recording import record_payment, record_refund
from tests.factories import InvoiceFactory, PlanFactory
from tests.payments.reports import payment_of, refund_of

pytestmark = pytest.mark.django_db

NOTHING_BESIDE = Beside("SELECT FROM effect", {})
# What two recordings of one payment may differ in: when they happened and the ids they drew.
OWN = {
    PaymentEvent: {"id", "received_at"},
    ProviderRecord: {"event_id"},
    Grant: {"id", "created_at"},
    Entitlement: {"id"},
    Notice: {"id", "event_id", "created_at", "next_attempt_at"},
    Invoice: set(),
}


def ordinary(payment):
    return record_ordinary_payment(payment, beside=NOTHING_BESIDE)


def books() -> dict:
    return {
        model.__name__: sorted(
            (
                {
                    field.attname: getattr(row, field.attname)
                    for field in model._meta.concrete_fields
                    if field.attname not in own and field.attname not in {"id", "received_at"}
                }
                for row in model.objects.all()
            ),
            key=str,
        )
        for model, own in OWN.items()
    }


def undone(operation) -> dict:
    """The books after an operation that is then taken back."""
    with transaction.atomic():
        operation()
        after = books()
        transaction.set_rollback(True)
    return after


@pytest.fixture
def extending(alice):
    return InvoiceFactory(customer=alice, plan=PlanFactory(code="gold_more", when_active=WhenActive.EXTEND))


class TestTheSameBooks:
    def test_for_a_first_payment(self, invoice):
        payment = payment_of(invoice)

        assert undone(lambda: ordinary(payment)) == undone(lambda: record_payment(payment)) != books()

    @pytest.mark.parametrize("gap", [timedelta(0), timedelta(days=3), timedelta(days=90)])
    def test_for_a_payment_that_extends(self, extending, gap):
        paid_at = datetime.now(UTC).replace(microsecond=0)
        earlier = InvoiceFactory(customer=extending.customer, plan=extending.plan)
        record_payment(payment_of(earlier, charge_id="stxEarlier", occurred_at=paid_at - gap))
        payment = payment_of(extending, occurred_at=paid_at)

        assert undone(lambda: ordinary(payment)) == undone(lambda: record_payment(payment))

    def test_for_life(self, alice):
        payment = payment_of(InvoiceFactory(customer=alice, plan=PlanFactory(code="gold_forever", duration_days=None)))

        assert undone(lambda: ordinary(payment)) == undone(lambda: record_payment(payment))

    def test_for_a_life_that_follows_a_month(self, extending):
        record_payment(payment_of(extending, charge_id="stxMonth"))
        forever = PlanFactory(code="gold_forever", duration_days=None, when_active=WhenActive.EXTEND)
        payment = payment_of(InvoiceFactory(customer=extending.customer, plan=forever))

        assert undone(lambda: ordinary(payment)) == undone(lambda: record_payment(payment))

    @pytest.mark.parametrize("status", [InvoiceStatus.DRAFT, InvoiceStatus.UNCLEAR, InvoiceStatus.EXPIRED])
    def test_for_an_invoice_that_is_not_simply_sent(self, alice, gold, status):
        payment = payment_of(InvoiceFactory(customer=alice, plan=gold, status=status))

        assert undone(lambda: ordinary(payment)) == undone(lambda: record_payment(payment))

    def test_for_a_card(self, alice, gold):
        invoice = InvoiceFactory(
            customer=alice, plan=gold, payment_method=PaymentMethod.TELEGRAM_PROVIDER, amount=2500, currency="GBP"
        )
        payment = payment_of(invoice, provider_charge_id="ch_1")

        assert undone(lambda: ordinary(payment)) == undone(lambda: record_payment(payment))

    def test_for_a_date_in_the_future(self, invoice):
        ordinary(payment_of(invoice, occurred_at=datetime.now(UTC) + timedelta(days=300)))

        event = PaymentEvent.objects.get()
        assert event.occurred_at == event.received_at == Grant.objects.get().granted_at


class TestNothingIsWritten:
    @pytest.mark.parametrize(
        "changes",
        [
            {"payload": "never ours"},
            {"money": Money(1, "XTR")},
            {"money": Money(500, "USD")},
            {"method": PaymentMethod.TELEGRAM_PROVIDER},
            {"payer": 4_242},
            {"period_ends_at": datetime(2030, 1, 1, tzinfo=UTC)},
            {"renewal": True},
        ],
    )
    def test_when_it_differs_from_its_invoice(self, invoice, changes):
        self.left_alone(payment_of(invoice, **changes))

    def test_when_the_end_might_be_the_last_moment_there_is(self, extending):
        record_payment(payment_of(InvoiceFactory(customer=extending.customer, plan=extending.plan), charge_id="stx0"))
        Entitlement.objects.update(active_until=datetime(9990, 1, 1, tzinfo=UTC))

        self.left_alone(payment_of(extending))

    def test_when_it_is_known(self, extending):
        payment = payment_of(extending)
        record_payment(payment)
        Invoice.objects.filter(pk=extending.pk)  # paid, and another of the same customer is open
        another = InvoiceFactory(customer=extending.customer, plan=extending.plan)

        self.left_alone(payment_of(another))

    def test_when_it_would_buy_twice(self, invoice, gold):
        record_payment(payment_of(invoice, charge_id="stxFirst"))

        self.left_alone(payment_of(InvoiceFactory(customer=invoice.customer, plan=gold)))

    def test_when_its_invoice_is_paid_already(self, extending):
        record_payment(payment_of(extending, charge_id="stxFirst"))

        self.left_alone(payment_of(extending))

    def test_when_it_is_older_than_a_payment_already_recorded(self, extending):
        later = InvoiceFactory(customer=extending.customer, plan=extending.plan)
        record_payment(payment_of(later, charge_id="stxLater"))

        self.left_alone(payment_of(extending, occurred_at=datetime.now(UTC) - timedelta(days=1)))

    def test_when_access_is_for_life_already(self, extending):
        forever = PlanFactory(code="gold_forever", duration_days=None)
        record_payment(payment_of(InvoiceFactory(customer=extending.customer, plan=forever), charge_id="stxLife"))

        self.left_alone(payment_of(extending))

    def test_when_its_customer_is_blocked(self, invoice):
        Customer.objects.update(blocked_at=datetime.now(UTC))

        self.left_alone(payment_of(invoice))

    def test_when_its_refund_is_there_already(self, invoice):
        record_refund(refund_of(invoice))
        EarlyRefund.objects.get()

        self.left_alone(payment_of(invoice))

    def test_when_the_plan_recurs(self, alice):
        plan = PlanFactory(code="gold_monthly", recurring=True, prices=[Money(500, "XTR")])

        self.left_alone(payment_of(InvoiceFactory(customer=alice, plan=plan)))

    def left_alone(self, payment):
        before = books()
        assert ordinary(payment) is None
        assert books() == before


def test_it_is_one_statement(invoice, django_assert_num_queries):
    with django_assert_num_queries(1):
        ordinary(payment_of(invoice))


class TestTogether:
    """Payments that arrive at the same time share a statement, and nothing else."""

    def test_each_is_recorded_as_if_it_were_alone(self, gold):
        payments = [payment_of(InvoiceFactory(plan=gold), charge_id=f"stx{number}") for number in range(5)]

        assert undone(lambda: together(payments)) == undone(lambda: [ordinary(payment) for payment in payments])

    def test_an_odd_one_is_left_alone_and_the_others_are_recorded(self, gold):
        good, odd, also_good = (payment_of(InvoiceFactory(plan=gold), charge_id=f"stx{each}") for each in "abc")

        recorded = together([good, replace(odd, money=Money(1, "XTR")), also_good])

        assert [each is not None for each in recorded] == [True, False, True]
        assert set(PaymentEvent.objects.values_list("event_id", flat=True)) == {"stxa", "stxc"}

    def test_of_two_by_one_payer_one_is_left_to_the_general_operation(self, alice):
        plan = PlanFactory(code="gold_more", when_active=WhenActive.EXTEND)
        payments = [payment_of(InvoiceFactory(customer=alice, plan=plan), charge_id=f"stx{each}") for each in "ab"]

        assert sum(each is not None for each in together(payments)) == 1
        assert Entitlement.objects.get().version == 1

    def test_a_charge_that_two_report_leaves_all_of_them_to_the_general_operation(self, gold):
        payments = [payment_of(InvoiceFactory(plan=gold), charge_id="stxSame") for _ in range(2)]

        with transaction.atomic():
            assert together(payments) == [None, None]
            transaction.set_rollback(True)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("held", ["entitlements_customer", "payments_invoice"])
def test_a_row_that_somebody_else_holds_is_passed_over_without_waiting(invoice, gold, held):
    free = payment_of(InvoiceFactory(plan=gold), charge_id="stxFree")
    pk = invoice.customer_id if held == "entitlements_customer" else invoice.pk
    with psycopg.connect(**connection.get_connection_params() | {"cursor_factory": psycopg.Cursor}) as somebody:
        somebody.execute(f"SELECT FROM {held} WHERE id = %s FOR UPDATE", [pk])
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '50ms'")
            try:
                recorded = together([payment_of(invoice), free])
            finally:
                cursor.execute("RESET lock_timeout")  # others get this connection after us

    assert [each is not None for each in recorded] == [False, True]


def together(payments):
    return _record(RECORD.format(beside=NOTHING_BESIDE.sql), [_values(payment, NOTHING_BESIDE) for payment in payments])


def test_what_is_written_beside_shares_its_fate(invoice):
    beside = Beside(
        "INSERT INTO payments_tally (result, plan_code, currency, count, amount)"
        " SELECT 'duplicate', beside->>'word', '', 1, 0 FROM effect",
        {"word": "beside"},
    )

    record_ordinary_payment(payment_of(invoice, money=Money(1, "XTR")), beside=beside)
    assert self_written() == []
    record_ordinary_payment(payment_of(invoice), beside=beside)
    assert self_written() == ["beside"]


def self_written() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT plan_code FROM payments_tally")
        return [code for (code,) in cursor.fetchall()]
