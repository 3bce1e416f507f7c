"""Above a limit a refund waits for a second person: whoever asked for it cannot approve it."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, connection, transaction
from procrastinate.contrib.django.models import ProcrastinateJob

from config.database import database_now
from entitlements.audit import ReasonMissing
from entitlements.models import AuditEntry
from payments import holds, refunding
from payments.api.answers import intent_row
from payments.models import Hold, PaymentEvent, Refund, RefundStatus
from payments.models.refunds import RefundQuerySet
from payments.recording import record_payment, record_refund
from payments.refunding import RefundPending, request_refund
from payments.staff_refunds import AlreadyDecided, OwnRefund, approve_refund, decline_refund, refund_by_staff, why_not
from tests.books import faults_in_the_books
from tests.payments.reports import payment_of, refund_of
from tests.payments.test_staff_refunds import member

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def limit(settings):
    settings.REFUND_APPROVAL_ABOVE = {"XTR": 499}


@pytest.fixture
def dana(db) -> User:
    return member("dana")


@pytest.fixture
def finn(db) -> User:
    return member("finn")


@pytest.fixture
def payment(invoice) -> PaymentEvent:
    return record_payment(payment_of(invoice)).event


@pytest.fixture
def proposed(dana, payment) -> Refund:
    return refund_by_staff(payment=payment, staff=dana, reason="Bought by mistake.")


def jobs() -> int:
    ids = [str(pk) for pk in Refund.objects.values_list("pk", flat=True)]
    return ProcrastinateJob.objects.filter(args__refund_id__in=ids).count()


class TestARefundAboveTheLimit:
    def test_waits_and_nothing_is_sent(self, proposed):
        assert (proposed.status, jobs()) == (RefundStatus.PROPOSED, 0)

        refunding.pursue(refund_id=proposed.pk)
        assert refunding.sweep() == 0

        proposed.refresh_from_db()
        assert proposed.status == RefundStatus.PROPOSED

    def test_is_open_so_that_nobody_else_can_ask(self, finn, payment, proposed):
        with pytest.raises(RefundPending):
            refund_by_staff(payment=payment, staff=finn, reason="so")
        with pytest.raises(RefundPending):
            request_refund(payment_id=payment.pk, reason="so", requested_by="api:shop1234")

        assert why_not(payment).startswith("dana asked for a refund on")

    def test_is_confirmed_by_the_news_that_it_was_given_back(self, invoice, proposed):
        record_refund(refund_of(invoice))

        proposed.refresh_from_db()
        assert proposed.status == RefundStatus.CONFIRMED
        assert faults_in_the_books() == []

    def test_keeps_a_held_payment_from_being_decided_otherwise(self, dana, invoice, bob):
        dana.is_superuser = True
        held = record_payment(payment_of(invoice, payer=bob.telegram_user_id)).event
        refund_by_staff(payment=held, staff=dana, reason="so")

        with pytest.raises(holds.BeingRefunded):
            holds.dismiss_hold(hold=Hold.objects.get(), staff=dana, why="so")

    def test_is_as_any_other_to_programs(self, finn, proposed):
        assert intent_row(proposed)["status"] == "requested"
        assert "second person" in intent_row(proposed)["detail"]

        declined = decline_refund(refund=proposed, staff=finn, reason="Talked to him.")

        assert intent_row(declined)["status"] == "refused"
        assert intent_row(declined)["detail"] == "Declined by staff: Talked to him."


class TestNoSecondPersonIsNeeded:
    @pytest.mark.parametrize("limits", [{}, {"XTR": 500}, {"GBP": 1}])
    def test_up_to_the_limit_and_in_other_currencies(self, settings, dana, payment, limits):
        settings.REFUND_APPROVAL_ABOVE = limits

        assert refund_by_staff(payment=payment, staff=dana, reason="so").status == RefundStatus.REQUESTED
        assert jobs() == 1

    def test_by_a_program(self, payment):
        refund = request_refund(payment_id=payment.pk, reason="so", requested_by="api:shop1234")

        assert refund.status == RefundStatus.REQUESTED


class TestApproving:
    def test_by_a_second_person_has_it_sent(self, finn, proposed):
        refund = approve_refund(refund=proposed, staff=finn, reason=" He is right. ")

        assert (refund.status, refund.approved_by, jobs()) == ("requested", f"staff:{finn.pk}", 1)
        assert refund.next_attempt_at == refund.decided_at
        entry = AuditEntry.objects.latest("pk")
        assert (entry.name, entry.what, entry.reason) == ("finn", "approved a refund", "He is right.")
        assert (entry.before, entry.after) == ({"status": "proposed"}, {"status": "requested"})

    def test_by_whoever_asked_is_refused_in_words_and_by_the_database(self, dana, proposed):
        with pytest.raises(OwnRefund, match="a second person has to approve it"):
            approve_refund(refund=proposed, staff=dana, reason="so")

        with pytest.raises(DatabaseError, match="refund_approved_by_another"), transaction.atomic():
            Refund.objects.update(status="requested", approved_by=proposed.requested_by, decided_at=proposed.created_at)
        assert jobs() == 0

    @pytest.mark.parametrize("decide", [approve_refund, decline_refund])
    def test_needs_the_permission_and_a_reason(self, finn, proposed, decide):
        with pytest.raises(PermissionDenied):
            decide(refund=proposed, staff=User.objects.create_user("eve", is_staff=True), reason="so")
        with pytest.raises(ReasonMissing):
            decide(refund=proposed, staff=finn, reason="")

        proposed.refresh_from_db()
        assert proposed.status == RefundStatus.PROPOSED

    def test_what_was_decided_says_who_was_first(self, finn, proposed):
        decline_refund(refund=proposed, staff=finn, reason="so")

        for decide in (approve_refund, decline_refund):
            with pytest.raises(AlreadyDecided, match=r"finn declined it on .* It is declined by staff\."):
                decide(refund=proposed, staff=member(decide.__name__), reason="so")
        assert jobs() == 0

    def test_what_was_given_back_meanwhile_is_told_so(self, finn, invoice, proposed):
        record_refund(refund_of(invoice))

        with pytest.raises(AlreadyDecided, match=r"It is given back\."):
            approve_refund(refund=proposed, staff=finn, reason="so")


class TestDeclining:
    def test_leaves_the_payment_to_be_asked_for_again(self, dana, finn, payment, proposed):
        declined = decline_refund(refund=proposed, staff=finn, reason="Not yet.")

        assert (declined.status, declined.declined_by, jobs()) == ("declined", f"staff:{finn.pk}", 0)
        assert why_not(payment) == ""
        assert refund_by_staff(payment=payment, staff=dana, reason="so").pk != declined.pk

    def test_is_open_to_whoever_asked(self, dana, proposed):
        assert decline_refund(refund=proposed, staff=dana, reason="A slip.").status == RefundStatus.DECLINED

    def test_leaves_books_that_are_sound_when_it_was_given_back_after_all(self, finn, invoice, proposed):
        decline_refund(refund=proposed, staff=finn, reason="so")
        record_refund(refund_of(invoice))

        assert faults_in_the_books() == []


class TestTheDatabase:
    """Holds it, whatever the code does."""

    @pytest.mark.parametrize(
        ("wrong", "rule"),
        [
            ({"status": "requested"}, "Cannot update"),
            ({"status": "sending"}, "Cannot update"),
            ({"status": "declined"}, "refund_de"),
            ({"approved_by": "staff:0"}, "refund_decided_by_somebody"),
            ({"approved_by": "system", "decided_at": "now"}, "refund_decided_by_somebody"),
            ({"approved_by": "staff:0", "declined_by": "staff:0", "decided_at": "now"}, "refund_de"),
            ({"decided_at": "now"}, "refund_decided_by_somebody"),
        ],
    )
    def test_lets_nothing_be_sent_or_declined_without_a_decision(self, proposed, wrong, rule):
        if "decided_at" in wrong:
            wrong = wrong | {"decided_at": database_now()}

        with pytest.raises(DatabaseError, match=rule), transaction.atomic():
            Refund.objects.update(**wrong)

    def test_keeps_a_decision_as_it_was_taken(self, finn, proposed):
        approve_refund(refund=proposed, staff=finn, reason="so")

        with pytest.raises(DatabaseError, match="Cannot update"), transaction.atomic():
            Refund.objects.update(approved_by="staff:0")


def decided_at_once(refund: Refund, staff: list[User]) -> list[object]:
    """All approve in one moment; what became of each."""
    everybody = threading.Barrier(len(staff))

    def decide(person):
        own = Refund.objects.select_related("payment").get(pk=refund.pk)
        everybody.wait()
        try:
            return approve_refund(refund=own, staff=person, reason="so").approved_by
        except AlreadyDecided as loss:
            return loss
        finally:
            connection.close()

    with ThreadPoolExecutor(len(staff)) as threads:
        return list(threads.map(decide, staff))


@pytest.mark.django_db(transaction=True)
class TestSeveralAtOnce:
    @pytest.fixture
    def people(self):
        return [member(f"person {number}") for number in range(6)]

    def test_one_of_them_decides(self, people, proposed):
        answers = decided_at_once(proposed, people)

        assert sum(isinstance(answer, AlreadyDecided) for answer in answers) == 5
        assert jobs() == AuditEntry.objects.filter(what="approved a refund").count() == 1

    def test_all_would_without_the_condition_and_the_trigger(self, people, proposed, monkeypatch):
        """The twin."""
        monkeypatch.setattr(RefundQuerySet, "proposed", lambda refunds: refunds)
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE payments_refund DISABLE TRIGGER USER")
        try:
            decided_at_once(proposed, people)
        finally:
            with connection.cursor() as cursor:
                cursor.execute("ALTER TABLE payments_refund ENABLE TRIGGER USER")

        assert jobs() == 6
