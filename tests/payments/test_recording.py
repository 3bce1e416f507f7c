"""Recording money: criteria 3.x, 4.2-4.5 and 5.x of the general operation."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.conf import settings
from django.db import DatabaseError, transaction

from config.database import database_now
from entitlements.models import Customer, Entitlement, Grant
from entitlements.services import grant
from payments import tasks
from payments.models import (
    EarlyRefund,
    EventStatus,
    Hold,
    HoldReason,
    Invoice,
    InvoiceStatus,
    Notice,
    NoticeKind,
    PaymentEvent,
    PaymentMethod,
    Plan,
    Resolution,
    WhenActive,
)
from payments.money import Money
from payments.recording import Outcome, apply_waiting_refunds, hold_unreadable, record_payment, record_refund
from tests.factories import CustomerFactory, InvoiceFactory, PlanFactory
from tests.payments.reports import payment_of, refund_of

pytestmark = pytest.mark.django_db


def active_until(customer, code="gold"):
    return Entitlement.objects.get(customer=customer, code=code).active_until


class TestAPaymentThatMatchesItsInvoice:
    def test_is_recorded_as_an_event_of_the_ledger(self, invoice):
        """3.2"""
        recorded = record_payment(payment_of(invoice))

        event = PaymentEvent.objects.get()
        assert recorded.outcome == Outcome.PROCESSED
        assert recorded.event == event
        assert (event.event_id, event.event_type) == ("stxAlicePays", "telegram_stars.successful_payment")
        assert (event.customer, event.invoice, event.plan_id) == (invoice.customer, invoice, "gold_1m")
        assert (event.money, event.status, event.origin) == (Money(500, "XTR"), "processed", "webhook")

    def test_gives_access_from_its_own_date_for_the_quoted_period(self, invoice):
        """3.3, 3.7, 5.1, 5.2, 5.3"""
        paid_at = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)

        record_payment(payment_of(invoice, occurred_at=paid_at))

        given = Grant.objects.get()
        assert (given.granted_at, given.duration, given.plan_code) == (paid_at, timedelta(days=30), "gold_1m")
        assert given.source == "telegram_stars:stxAlicePays"
        assert active_until(invoice.customer) == paid_at + timedelta(days=30)

    def test_never_gives_access_from_a_date_in_the_future(self, invoice):
        record_payment(payment_of(invoice, occurred_at=datetime.now(UTC) + timedelta(days=300)))

        assert active_until(invoice.customer) < datetime.now(UTC) + timedelta(days=30, minutes=1)

    def test_gives_access_by_the_clock_of_the_database_wherever_that_of_the_host_stands(self, invoice):
        paid_at = database_now().replace(microsecond=0)

        with time_machine.travel(paid_at - timedelta(days=1)):
            record_payment(payment_of(invoice, occurred_at=paid_at))

        assert active_until(invoice.customer) == paid_at + timedelta(days=30)

    def test_keeps_the_whole_answer_of_the_provider(self, invoice):
        """3.6"""
        recorded = record_payment(payment_of(invoice, raw=b'{"everything": "\\u0000"}'))

        assert bytes(recorded.event.provider_record.body) == b'{"everything": "\\u0000"}'

    def test_marks_the_invoice_paid_and_owes_a_confirmation(self, invoice):
        record_payment(payment_of(invoice))

        invoice.refresh_from_db()
        assert invoice.status == InvoiceStatus.PAID
        assert Notice.objects.owed().get().kind == NoticeKind.PAYMENT_CONFIRMED

    @pytest.mark.parametrize("age", [timedelta(minutes=1), timedelta(hours=25), timedelta(days=365)])
    def test_changes_nothing_when_it_comes_again_however_late(self, invoice, age):
        """3.4, 3.5, 4.2"""
        payment = payment_of(invoice, occurred_at=datetime.now(UTC) - age)
        assert record_payment(payment).outcome == Outcome.PROCESSED
        before = active_until(invoice.customer)

        again = record_payment(payment)

        assert again.outcome == Outcome.DUPLICATE
        assert PaymentEvent.objects.count() == Grant.objects.count() == Notice.objects.count() == 1
        assert active_until(invoice.customer) == before

    @pytest.mark.parametrize("status", [InvoiceStatus.DRAFT, InvoiceStatus.UNCLEAR, InvoiceStatus.EXPIRED])
    def test_is_honoured_whatever_we_thought_of_the_invoice(self, alice, gold, status):
        invoice = InvoiceFactory(customer=alice, plan=gold, status=status, expired=True)

        assert record_payment(payment_of(invoice)).outcome == Outcome.PROCESSED

    def test_is_honoured_at_the_quoted_terms_after_the_plan_was_edited_and_withdrawn(self, invoice, gold):
        gold.duration_days, gold.features, gold.withdrawn_at = 7, {}, datetime.now(UTC)
        gold.save()

        record_payment(payment_of(invoice))

        given = Grant.objects.get()
        assert given.duration == timedelta(days=30)
        assert given.features == {"signals_enabled": True, "max_devices": 3}

    def test_buys_access_for_life_when_the_plan_has_no_end(self, alice):
        plan = PlanFactory(code="gold_forever", duration_days=None)

        record_payment(payment_of(InvoiceFactory(customer=alice, plan=plan)))

        assert active_until(alice) is None

    def test_of_a_subscription_gives_access_to_the_end_it_names_and_a_grace(self, alice):
        plan = PlanFactory(code="gold_monthly", recurring=True, prices=[Money(500, "XTR")])
        ends_at = datetime.now(UTC).replace(microsecond=0) + timedelta(days=31)

        record_payment(payment_of(InvoiceFactory(customer=alice, plan=plan), period_ends_at=ends_at))

        assert active_until(alice) == ends_at + settings.SUBSCRIPTION_GRACE

    def test_renews_a_subscription_under_its_first_payload(self, alice):
        invoice = InvoiceFactory(
            customer=alice, plan=PlanFactory(code="gold_monthly", recurring=True, prices=[Money(500, "XTR")])
        )
        first_end = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
        record_payment(payment_of(invoice, period_ends_at=first_end))

        second_end = first_end + timedelta(days=30)
        renewal = payment_of(invoice, charge_id="stxRenewal", period_ends_at=second_end, renewal=True)

        assert record_payment(renewal).outcome == Outcome.PROCESSED
        assert active_until(alice) == second_end + settings.SUBSCRIPTION_GRACE


class TestASecondPayment:
    def test_under_reject_is_held_as_bought_twice(self, invoice, gold):
        """5.5"""
        record_payment(payment_of(invoice))
        before = active_until(invoice.customer)

        second = InvoiceFactory(customer=invoice.customer, plan=gold)
        recorded = record_payment(payment_of(second, charge_id="stxSecond"))

        assert recorded.outcome == Outcome.HELD
        assert Hold.objects.get().reason == HoldReason.BOUGHT_TWICE
        assert active_until(invoice.customer) == before
        assert Notice.objects.filter(event=recorded.event).get().kind == NoticeKind.PAYMENT_HELD

    def test_of_the_same_invoice_under_reject_is_held_too(self, invoice):
        record_payment(payment_of(invoice))

        assert record_payment(payment_of(invoice, charge_id="stxSecond")).outcome == Outcome.HELD

    def test_under_extend_adds_its_period_to_the_remainder(self, alice):
        """5.5"""
        plan = PlanFactory(code="gold_more", when_active=WhenActive.EXTEND)
        paid_at = datetime.now(UTC).replace(microsecond=0)

        for number in range(3):
            invoice = InvoiceFactory(customer=alice, plan=plan)
            record_payment(payment_of(invoice, charge_id=f"stx{number}", occurred_at=paid_at))

        assert active_until(alice) == paid_at + timedelta(days=90)
        assert Entitlement.objects.count() == 1

    def test_with_an_earlier_date_is_folded_in_at_its_place(self, alice):
        plan = PlanFactory(code="gold_more", when_active=WhenActive.EXTEND)
        now = datetime.now(UTC).replace(microsecond=0)
        late, early = now, now - timedelta(days=100)

        for number, paid_at in enumerate([late, early]):
            invoice = InvoiceFactory(customer=alice, plan=plan)
            record_payment(payment_of(invoice, charge_id=f"stx{number}", occurred_at=paid_at))

        assert active_until(alice) == late + timedelta(days=30)

    def test_differing_only_by_a_trailing_space_in_its_charge_is_another_payment(self, alice):
        plan = PlanFactory(code="gold_more", when_active=WhenActive.EXTEND)
        for charge_id in ("stxA", "stxA ", "stxa"):
            record_payment(payment_of(InvoiceFactory(customer=alice, plan=plan), charge_id=charge_id))

        assert PaymentEvent.objects.count() == 3


class TestAPaymentThatDiffers:
    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"payload": "never ours"}, HoldReason.UNKNOWN_PAYLOAD),
            ({"payload": ""}, HoldReason.UNKNOWN_PAYLOAD),
            ({"money": Money(1, "XTR")}, HoldReason.AMOUNT_MISMATCH),
            ({"money": Money(500, "USD")}, HoldReason.CURRENCY_MISMATCH),
            ({"method": PaymentMethod.TELEGRAM_PROVIDER}, HoldReason.METHOD_MISMATCH),
            ({"plan_code": "silver_3m"}, HoldReason.PLAN_MISMATCH),
        ],
    )
    def test_is_recorded_and_held_without_access(self, invoice, changes, reason):
        """4.3, 4.4"""
        recorded = record_payment(payment_of(invoice, **changes))

        assert recorded.outcome == Outcome.HELD
        assert recorded.event.status == EventStatus.HELD
        assert Hold.objects.get().reason == reason
        assert not Grant.objects.exists()
        assert Notice.objects.get().kind == NoticeKind.PAYMENT_HELD

    def test_in_its_amount_leaves_the_invoice_unpaid_however_often_it_comes(self, invoice):
        for _ in range(2):
            record_payment(payment_of(invoice, money=Money(501, "XTR")))

        invoice.refresh_from_db()
        assert invoice.status == InvoiceStatus.SENT

    def test_by_its_payer_is_recorded_for_the_payer_and_held(self, invoice, bob):
        """4.5"""
        recorded = record_payment(payment_of(invoice, payer=bob.telegram_user_id))

        assert recorded.event.customer == bob
        assert Hold.objects.get().reason == HoldReason.FOREIGN_PAYER
        invoice.refresh_from_db()
        assert invoice.status == InvoiceStatus.SENT

    def test_because_its_customer_is_blocked_is_held(self, invoice):
        Customer.objects.update(blocked_at=datetime.now(UTC))

        record_payment(payment_of(invoice))

        assert Hold.objects.get().reason == HoldReason.CUSTOMER_BLOCKED
        invoice.refresh_from_db()
        assert invoice.status == InvoiceStatus.PAID

    def test_by_somebody_never_seen_makes_him_a_customer(self, db):
        invoice = InvoiceFactory.build(customer=CustomerFactory.build(telegram_user_id=4_242), plan=PlanFactory())

        record_payment(payment_of(invoice))

        assert Customer.objects.get().telegram_user_id == 4_242

    def test_for_an_invoice_that_is_lost_gives_what_we_signed(self, db):
        lost = InvoiceFactory.build(customer=CustomerFactory(), plan=PlanFactory())

        for charge_id in ("stx1", "stx1"):
            record_payment(payment_of(lost, charge_id=charge_id))

        event = PaymentEvent.objects.get()
        made_anew = Invoice.objects.get()
        assert (event.status, event.plan_id, event.invoice) == (EventStatus.PROCESSED, lost.plan.code, made_anew)
        assert (made_anew.pk, made_anew.payload, made_anew.status) == (lost.pk, lost.payload, InvoiceStatus.PAID)
        assert Entitlement.objects.get().code == "gold"

    def test_of_another_secret_key_is_held_for_an_invoice_that_is_lost_and_for_no_other(self, db, settings):
        kept = InvoiceFactory(plan=PlanFactory())
        lost = InvoiceFactory.build(customer=CustomerFactory(), plan=kept.plan)
        settings.PAYLOAD_KEYS = [b"another key"]

        for invoice, charge_id in ((kept, "stx1"), (lost, "stx2")):
            record_payment(payment_of(invoice, charge_id=charge_id))

        assert {event.reference: event.status for event in PaymentEvent.objects.all()} == {
            kept.payload: EventStatus.PROCESSED,
            lost.payload: EventStatus.HELD,
        }

    def test_for_an_invoice_that_is_lost_is_given_once(self, db):
        lost = InvoiceFactory.build(customer=CustomerFactory(), plan=PlanFactory())

        for charge_id in ("stx1", "stx2"):
            record_payment(payment_of(lost, charge_id=charge_id))

        assert Hold.objects.get().reason == HoldReason.BOUGHT_TWICE

    def test_tells_staff_that_we_signed_a_payload_whose_plan_is_lost_too(self, db):
        lost = InvoiceFactory.build(customer=CustomerFactory(), plan=Plan(code="platinum"))

        record_payment(payment_of(lost))

        assert Hold.objects.get().detail == "We signed it, for platinum, which is no plan any more."

    def test_does_not_say_so_of_a_payload_signed_for_another_price(self, db):
        invoice = InvoiceFactory.build(customer=CustomerFactory(), plan=PlanFactory())

        record_payment(payment_of(invoice, money=Money(1, "XTR")))

        assert "Not signed by us" in Hold.objects.get().detail

    def test_from_what_was_known_of_the_same_charge_changes_nothing_and_raises_an_alarm(self, invoice, bob, logged):
        record_payment(payment_of(invoice))

        again = record_payment(payment_of(invoice, payer=bob.telegram_user_id))

        assert again.outcome == Outcome.DUPLICATE
        assert any(line["event"] == "known charge reported differently" for line in logged)


class TestAPaymentReportedWithAPlan:
    def test_is_processed_at_a_current_price_of_the_plan(self, alice, gold):
        payment = payment_of(
            InvoiceFactory.build(customer=alice, plan=gold), payload="", plan_code="gold_1m", payer=alice
        )

        assert record_payment(payment).outcome == Outcome.PROCESSED
        assert Grant.objects.get().plan_code == "gold_1m"

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"plan_code": "never_heard_of"}, HoldReason.UNKNOWN_PLAN),
            ({"money": Money(499, "XTR")}, HoldReason.AMOUNT_MISMATCH),
        ],
    )
    def test_is_held_otherwise(self, alice, gold, changes, reason):
        payment = payment_of(
            InvoiceFactory.build(customer=alice, plan=gold),
            **{"payload": "", "plan_code": "gold_1m", "payer": alice, **changes},
        )

        assert record_payment(payment).outcome == Outcome.HELD
        assert Hold.objects.get().reason == reason


class TestARefund:
    def test_takes_back_exactly_what_its_payment_gave(self, alice):
        plan = PlanFactory(code="gold_more", when_active=WhenActive.EXTEND)
        paid_at = datetime.now(UTC).replace(microsecond=0)
        invoices = [InvoiceFactory(customer=alice, plan=plan) for _ in range(3)]
        for number, invoice in enumerate(invoices):
            record_payment(payment_of(invoice, charge_id=f"stx{number}", occurred_at=paid_at))

        recorded = record_refund(refund_of(invoices[1], charge_id="stx1"))

        assert recorded.outcome == Outcome.PROCESSED
        assert recorded.event.refund_of.event_id == "stx1"
        assert active_until(alice) == paid_at + timedelta(days=60)
        assert Grant.objects.exclude(revoked_at=None).get().source == "telegram_stars:stx1"

    def test_is_told_to_the_buyer_once(self, invoice):
        record_payment(payment_of(invoice))
        record_refund(refund_of(invoice))

        assert record_refund(refund_of(invoice)).outcome == Outcome.DUPLICATE
        assert Notice.objects.filter(kind=NoticeKind.REFUNDED).count() == 1

    def test_withdraws_a_confirmation_that_was_not_sent_yet(self, invoice):
        record_payment(payment_of(invoice))
        record_refund(refund_of(invoice))

        assert Notice.objects.owed().get().kind == NoticeKind.REFUNDED

    def test_of_a_held_payment_resolves_its_hold(self, invoice):
        record_payment(payment_of(invoice, money=Money(1, "XTR")))

        record_refund(refund_of(invoice, money=Money(1, "XTR"), raw=b"other"))

        assert Hold.objects.get().resolution == Resolution.REFUNDED

    def test_that_overtakes_its_payment_is_applied_when_the_payment_comes(self, invoice):
        assert record_refund(refund_of(invoice)).outcome == Outcome.HELD

        record_payment(payment_of(invoice))

        assert [event.event_type for event in PaymentEvent.objects.order_by("received_at", "pk")] == [
            "telegram_stars.successful_payment",
            "telegram_stars.refunded_payment",
        ]
        assert Grant.objects.get().revoked_at is not None
        assert not Entitlement.objects.active_at(datetime.now(UTC)).exists()
        assert Notice.objects.owed().get().kind == NoticeKind.REFUNDED
        assert not EarlyRefund.objects.waiting().exists()

    def test_that_overtakes_its_payment_twice_is_kept_once(self, invoice):
        record_refund(refund_of(invoice))

        assert record_refund(refund_of(invoice)).outcome == Outcome.DUPLICATE
        assert EarlyRefund.objects.count() == 1

    def test_without_an_amount_means_the_whole_payment(self, invoice):
        record_payment(payment_of(invoice))

        assert record_refund(refund_of(invoice, money=None)).event.money == Money(500, "XTR")

    @pytest.mark.parametrize("first", ["payment", "refund"])
    def test_of_another_amount_is_held(self, invoice, first):
        steps = [
            lambda: record_payment(payment_of(invoice)),
            lambda: record_refund(refund_of(invoice, money=Money(1, "XTR"))),
        ]
        for step in steps if first == "payment" else reversed(steps):
            step()

        assert Hold.objects.get().reason == HoldReason.REFUND_MISMATCH
        assert Grant.objects.get().revoked_at is None

    @pytest.mark.parametrize("first", ["payment", "refund"])
    def test_that_names_another_customer_is_held_and_does_not_bar_the_true_one(self, invoice, bob, first):
        steps = [
            lambda: record_payment(payment_of(invoice)),
            lambda: record_refund(refund_of(invoice, payer=bob.telegram_user_id)),
        ]
        for step in steps if first == "payment" else reversed(steps):
            step()

        assert Hold.objects.get().reason == HoldReason.FOREIGN_REFUND
        assert record_refund(refund_of(invoice)).outcome == Outcome.PROCESSED


class TestARefundThatOvertakesItsPayment:
    def test_is_not_barred_by_a_wrong_one_that_came_before(self, invoice, bob):
        record_refund(refund_of(invoice, payer=bob.telegram_user_id))
        record_refund(refund_of(invoice, money=Money(1, "XTR"), raw=b"other"))
        record_refund(refund_of(invoice))

        record_payment(payment_of(invoice))

        assert PaymentEvent.objects.refunds().count() == 1
        assert {hold.reason for hold in Hold.objects.all()} == {HoldReason.FOREIGN_REFUND, HoldReason.REFUND_MISMATCH}
        assert Grant.objects.get().revoked_at is not None

    def test_and_names_no_method_is_applied_to_a_card_payment_too(self, alice, gold):
        card = InvoiceFactory(
            customer=alice, plan=gold, payment_method=PaymentMethod.TELEGRAM_PROVIDER, amount=2500, currency="GBP"
        )
        record_refund(refund_of(card, method=PaymentMethod.TELEGRAM_STARS, money=None, payload=""))

        record_payment(payment_of(card))

        assert Grant.objects.get().revoked_at is not None

    def test_and_was_missed_by_it_is_found_by_the_sweep(self, invoice):
        payment = record_payment(payment_of(invoice)).event
        EarlyRefund.objects.create(
            event_id=payment.event_id,
            event_type="telegram_stars.refunded_payment",
            customer=invoice.customer,
            occurred_at=payment.occurred_at,
            origin="api",
            body=b"",
        )

        tasks.apply_waiting_refunds(timestamp=0)

        assert Grant.objects.get().revoked_at is not None
        assert apply_waiting_refunds() == 0

    def test_and_was_reported_again_does_not_stop_the_sweep(self, invoice):
        self.test_and_was_missed_by_it_is_found_by_the_sweep(invoice)
        EarlyRefund.objects.update(applied_at=None)

        assert apply_waiting_refunds() == 1
        assert PaymentEvent.objects.refunds().count() == 1


class TestTheLedger:
    @pytest.mark.parametrize("change", ["update", "delete"])
    def test_refuses_every_change(self, invoice, change):
        record_payment(payment_of(invoice))
        attempt = {
            "update": lambda: PaymentEvent.objects.update(amount=1),
            "delete": lambda: PaymentEvent.objects.all().delete(),
        }[change]

        with pytest.raises(DatabaseError), transaction.atomic():
            attempt()

    def test_refuses_a_second_row_for_one_charge(self, invoice):
        event = record_payment(payment_of(invoice)).event
        event.pk = None

        with pytest.raises(DatabaseError), transaction.atomic():
            event.save(force_insert=True)

    @pytest.mark.parametrize("amount", [0, -1])
    def test_refuses_an_amount_that_is_not_above_zero(self, invoice, amount):
        event = record_payment(payment_of(invoice)).event
        event.pk, event.event_id, event.amount = None, "stxOther", amount

        with pytest.raises(DatabaseError), transaction.atomic():
            event.save(force_insert=True)

    def test_keeps_a_grant_as_it_was_given(self, invoice):
        record_payment(payment_of(invoice))

        with pytest.raises(DatabaseError), transaction.atomic():
            Grant.objects.update(duration=timedelta(days=9_999))

    def test_does_not_forget_a_revocation(self, invoice):
        record_payment(payment_of(invoice))
        record_refund(refund_of(invoice))

        with pytest.raises(DatabaseError), transaction.atomic():
            Grant.objects.update(revoked_at=None, revoked_reason="")

    def test_keeps_a_paid_invoice_paid(self, invoice):
        record_payment(payment_of(invoice))

        with pytest.raises(DatabaseError), transaction.atomic():
            type(invoice).objects.update(status=InvoiceStatus.SENT)


def test_money_that_cannot_be_read_is_held_once(db):
    for _ in range(2):
        hold_unreadable(evidence=b"bytes", detail="total_amount is no integer")

    held = Hold.objects.get()
    assert (bytes(held.evidence), held.reason) == (b"bytes", HoldReason.UNREADABLE)


def test_a_staff_grant_and_a_payment_stack(invoice):
    now = datetime.now(UTC).replace(microsecond=0)
    grant(customer=invoice.customer, entitlement="silver", source="staff:1", granted_at=now, duration=timedelta(days=5))
    record_payment(payment_of(invoice))

    assert active_until(invoice.customer, "silver") == now + timedelta(days=5)
    assert active_until(invoice.customer, "gold") > now + timedelta(days=29)
