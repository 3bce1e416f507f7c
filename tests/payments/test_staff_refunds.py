"""Refunds that staff ask for, and what they are told before."""

from datetime import datetime, timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.core.exceptions import PermissionDenied
from django.db import OperationalError

from config.database import database_now
from entitlements.audit import ReasonMissing
from entitlements.models import AuditEntry, Grant
from entitlements.services import grant
from payments import refunding, staff_refunds
from payments.models import (
    Hold,
    HoldReason,
    Notice,
    NoticeKind,
    Origin,
    PaymentEvent,
    PaymentMethod,
    Refund,
    Resolution,
)
from payments.money import Money
from payments.recording import record_payment, record_refund
from payments.refunding import AlreadyRefunded, NotRefundable, RefundPending
from payments.staff_refunds import (
    PERMISSION,
    ImpossibleDay,
    record_refund_made_elsewhere,
    refund_by_staff,
    refund_each_by_staff,
    taken_back,
    why_not,
)
from tests.books import faults_in_the_books
from tests.factories import InvoiceFactory, PlanFactory
from tests.payments.reports import payment_of, refund_of

pytestmark = pytest.mark.django_db


def member(name: str) -> User:
    """One of the staff who may give payments back."""
    user = User.objects.create_user(name, is_staff=True)
    app_label, codename = PERMISSION.split(".")
    user.user_permissions.add(Permission.objects.get(content_type__app_label=app_label, codename=codename))
    return user


@pytest.fixture
def dana(db) -> User:
    return member("dana")


@pytest.fixture
def payment(invoice) -> PaymentEvent:
    return record_payment(payment_of(invoice)).event


class TestARefundByStaff:
    def test_is_asked_for_and_kept_with_who_asked_and_why(self, dana, payment):
        refund = refund_by_staff(payment=payment, staff=dana, reason=" Bought by mistake. ")

        assert (refund.payment, refund.requested_by) == (payment, f"staff:{dana.pk}")
        assert refund.reason == "Bought by mistake."
        entry = AuditEntry.objects.get()
        assert (entry.name, entry.what, entry.reason) == ("dana", "asked for a refund", "Bought by mistake.")
        assert (entry.subject_id, entry.customer) == (str(refund.pk), payment.customer)
        assert entry.after == {
            "status": "requested",
            "payment": str(payment.pk),
            "money": "500 ⭐",
            "cancel_subscription": False,
        }

    def test_needs_the_permission(self, payment):
        with pytest.raises(PermissionDenied):
            refund_by_staff(payment=payment, staff=User.objects.create_user("eve", is_staff=True), reason="so")

        assert not Refund.objects.exists()

    def test_needs_a_reason(self, dana, payment):
        with pytest.raises(ReasonMissing):
            refund_by_staff(payment=payment, staff=dana, reason=" ")

        assert not Refund.objects.exists()

    def test_leaves_no_entry_where_it_is_refused(self, dana, payment):
        refund_by_staff(payment=payment, staff=dana, reason="so")

        with pytest.raises(RefundPending):
            refund_by_staff(payment=payment, staff=dana, reason="so")

        assert AuditEntry.objects.count() == 1


class TestWhyNot:
    def test_says_nothing_as_long_as_it_can_be_given_back(self, payment):
        assert why_not(payment) == ""

    def test_names_who_asked_before(self, dana, payment):
        refund = refund_by_staff(payment=payment, staff=dana, reason="so")

        assert why_not(payment).startswith(f"dana asked for a refund on {refund.created_at:%Y-%m-%d %H:%M} UTC")

    def test_names_who_asked_for_what_was_done(self, dana, payment, invoice):
        refund_by_staff(payment=payment, staff=dana, reason="so")
        record_refund(refund_of(invoice))

        assert why_not(payment).startswith("It was given back on ")
        assert "dana asked for a refund on" in why_not(payment)

    def test_names_nobody_where_nobody_asked(self, payment, invoice):
        refund = record_refund(refund_of(invoice)).event

        assert "without being asked for here" in why_not(payment)
        assert why_not(refund) == "This is a refund, not a payment."

    def test_names_a_program_as_it_is_called(self, payment):
        refunding.request_refund(payment_id=payment.pk, reason="so", requested_by="api:shop1234")

        assert why_not(payment).startswith("api:shop1234 asked")

    def test_says_what_becomes_of_a_dismissed_one(self, invoice):
        held = record_payment(payment_of(invoice, payer=42)).event
        assert held.hold.reason == HoldReason.FOREIGN_PAYER
        decided = {"resolved_at": database_now(), "resolved_by": "staff:1", "resolved_why": "so"}
        type(held.hold).objects.update(resolution=Resolution.DISMISSED, **decided)

        assert "dismissed" in why_not(held)


class TestWhatIsTakenBack:
    """Told before, and true afterwards."""

    def test_is_all_access_where_it_came_from_this_payment_alone(self, payment, invoice):
        assert taken_back(payment) == ["Access to gold ends now."]

        record_refund(refund_of(invoice))
        assert not entitlement(payment).active_until > database_now()

    def test_is_some_of_the_time_where_there_is_more(self, payment, invoice, alice):
        grant(
            customer=alice, entitlement="gold", source="staff:1", granted_at=database_now(), duration=timedelta(days=9)
        )
        before = entitlement(payment).active_until
        (sentence,) = taken_back(payment)

        record_refund(refund_of(invoice))

        after = entitlement(payment).active_until
        assert after > database_now()
        assert sentence == f"Access to gold ends {day(after)} instead of {day(before)}."

    def test_names_the_time_where_the_day_stays(self, alice):
        noon = (database_now() + timedelta(days=9)).replace(hour=12, minute=0)
        earlier = database_now() - timedelta(minutes=1)
        grant(customer=alice, entitlement="gold", source="staff:1", granted_at=earlier, ends_at=noon)
        more = InvoiceFactory(customer=alice, when_active="extend", duration=timedelta(hours=1))
        payment = record_payment(payment_of(more)).event

        assert taken_back(payment) == [f"Access to gold ends {day(noon)}, 12:00 UTC instead of {day(noon)}, 13:00 UTC."]

    def test_is_a_life_where_that_was_bought(self, alice):
        end = database_now() + timedelta(days=5)
        grant(customer=alice, entitlement="gold", source="staff:1", granted_at=database_now(), ends_at=end)
        lifelong = InvoiceFactory(
            customer=alice, plan=PlanFactory(code="gold_life", duration_days=None), when_active="extend"
        )
        payment = record_payment(payment_of(lifelong)).event

        assert taken_back(payment) == [f"Access to gold ends {day(end)} instead of lasting for life."]

    def test_is_nothing_where_another_reaches_as_far(self, payment, alice):
        grant(customer=alice, entitlement="gold", source="staff:1", granted_at=database_now())

        assert taken_back(payment) == ["No access changes."]

    def test_is_nothing_where_it_is_over(self, invoice):
        payment = record_payment(payment_of(invoice, occurred_at=database_now() - timedelta(days=90))).event

        assert taken_back(payment) == ["No access changes."]

    def test_counts_what_will_have_been_taken_back_before(self, payment, alice):
        given = grant(
            customer=alice, entitlement="gold", source="staff:1", granted_at=database_now(), duration=timedelta(days=9)
        )

        assert taken_back(payment, gone=[given.source]) == ["Access to gold ends now."]

    def test_is_nothing_where_the_payment_is_held(self, invoice):
        held = record_payment(payment_of(invoice, payer=42)).event

        assert taken_back(held) == ["No access changes."]


def entitlement(payment):
    return payment.customer.entitlements.get(code="gold")


def day(moment: datetime) -> str:
    return f"{moment.day} {moment:%b %Y}"


class TestARefundMadeAtTheProvider:
    @pytest.fixture
    def card(self, invoice) -> PaymentEvent:
        """Alice paid by card, three days ago."""
        by_card = InvoiceFactory(
            customer=invoice.customer, payment_method=PaymentMethod.TELEGRAM_PROVIDER, amount=2500, currency="GBP"
        )
        return record_payment(payment_of(by_card, occurred_at=database_now() - timedelta(days=3))).event

    @staticmethod
    def record(payment, staff, **changed) -> PaymentEvent:
        told = {"reason": "She asked.", "reference": "re_1", "refunded_on": database_now().date()}
        return record_refund_made_elsewhere(payment=payment, staff=staff, **told | changed)

    def test_is_recorded_with_all_it_entails(self, dana, card):
        yesterday = database_now().date() - timedelta(days=1)

        refund = self.record(card, dana, refunded_on=yesterday)

        assert (refund.refund_of, refund.money, refund.origin) == (card, card.money, Origin.STAFF)
        assert refund.occurred_at.date() == yesterday
        assert b'"reference": "re_1"' in bytes(refund.provider_record.body)
        assert not entitlement(card).active_until > database_now()
        assert Notice.objects.filter(event=refund, kind=NoticeKind.REFUNDED).exists()
        entry = AuditEntry.objects.get()
        assert (entry.what, entry.reason) == ("recorded a refund made at the provider", "She asked.")
        assert (entry.subject_id, entry.after["reference"]) == (str(refund.pk), "re_1")
        assert faults_in_the_books() == []

    def test_is_recorded_once(self, dana, card):
        self.record(card, dana)

        with pytest.raises(AlreadyRefunded):
            self.record(card, dana)

        assert PaymentEvent.objects.refunds().count() == AuditEntry.objects.count() == 1

    def test_may_be_of_a_part_which_leaves_the_access_until_nothing_is_left(self, dana, card):
        part = self.record(card, dana, amount=1000)

        assert (part.event_id, part.amount, card.left) == ("re_1", 1000, 1500)
        assert Grant.objects.get().revoked_at is None
        rest = self.record(card, dana, reference="re_2")
        assert (rest.event_id, rest.amount, card.left) == ("re_2", 1500, 0)
        assert Grant.objects.get().revoked_at is not None
        assert [entry.after["money"] for entry in AuditEntry.objects.order_by("pk")] == ["£10.00", "£15.00"]
        assert faults_in_the_books() == []
        with pytest.raises(AlreadyRefunded):
            self.record(card, dana, reference="re_3")

    @pytest.mark.parametrize("money", [None, Money(2500, "GBP")])
    def test_of_a_part_has_a_report_of_the_whole_wait_for_a_person(self, dana, card, money):
        self.record(card, dana, amount=1000)

        told = record_refund(refund_of(card.invoice, charge_id=card.event_id, money=money))

        assert (told.outcome, Hold.objects.get().reason) == ("held", HoldReason.REFUND_MISMATCH)
        assert card.left == 1500

    def test_is_of_no_more_than_is_left(self, dana, card):
        self.record(card, dana, amount=1000)

        with pytest.raises(NotRefundable, match=r"Of £25\.00 no more than £15\.00 is left\."):
            self.record(card, dana, reference="re_2", amount=1501)

    def test_goes_by_a_name_that_no_other_has(self, dana, card):
        self.record(card, dana, amount=1000)

        with pytest.raises(NotRefundable, match="that the provider calls re_1 is recorded already"):
            self.record(card, dana, amount=1000)

        assert card.left == 1500

    @pytest.mark.parametrize("days", [-4, 1])
    def test_was_neither_before_the_payment_nor_will_be(self, dana, card, days):
        with pytest.raises(ImpossibleDay, match="It was paid on"):
            self.record(card, dana, refunded_on=database_now().date() + timedelta(days=days))

    def test_on_the_day_of_the_payment_is_not_before_it(self, dana, card):
        assert self.record(card, dana, refunded_on=card.occurred_at.date()).occurred_at == card.occurred_at

    def test_is_not_of_stars(self, dana, payment):
        with pytest.raises(NotRefundable, match="the provider alone"):
            self.record(payment, dana)

    def test_needs_the_permission_and_a_reason(self, dana, card):
        with pytest.raises(PermissionDenied):
            self.record(card, User.objects.create_user("eve", is_staff=True))
        with pytest.raises(ReasonMissing):
            self.record(card, dana, reason="")

        assert not PaymentEvent.objects.refunds().exists()


class TestSeveral:
    def test_are_asked_for_one_by_one_though_the_database_is_busy_with_one(self, dana, payment, gold, monkeypatch):
        others = [record_payment(payment_of(InvoiceFactory(plan=gold), charge_id=f"stx{n}")).event for n in range(2)]

        def busy_with_the_second(*, payment, **asked):
            if payment == others[0]:
                raise OperationalError("canceling statement due to lock timeout")
            return refund_by_staff(payment=payment, **asked)

        monkeypatch.setattr(staff_refunds, "refund_by_staff", busy_with_the_second)
        answers = refund_each_by_staff(payments=[payment, *others], staff=dana, reason="So.")

        assert [bool(answer.refund) for answer in answers] == [True, False, True]
        assert "ask again" in answers[1].why_not
