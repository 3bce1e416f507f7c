"""Giving Stars back: asked for once, sent once, and confirmed whatever dies or fails on the way."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import DatabaseError, transaction
from procrastinate.contrib.django.models import ProcrastinateJob

from config.database import database_now
from entitlements.models import Grant
from payments import refunding
from payments.models import (
    Hold,
    HoldReason,
    Notice,
    NoticeKind,
    PaymentEvent,
    PaymentMethod,
    Refund,
    RefundStatus,
    RefundTally,
    Resolution,
)
from payments.money import Money
from payments.recording import record_payment, record_refund
from payments.refunding import AlreadyRefunded, NotRefundable, RefundPending, UnknownPayment, request_refund
from tests.books import faults_in_the_books
from tests.factories import CustomerFactory, InvoiceFactory, PlanFactory
from tests.payments.reports import payment_of, refund_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def payment(telegram, invoice) -> PaymentEvent:
    """Alice's payment of 500 Stars, known to Telegram and to us."""
    return telegram.sells(invoice)


@pytest.fixture
def impatient(monkeypatch):
    """A call waits for its answer for tenths of a second."""
    from telegram_bot import gateway as module

    monkeypatch.setattr(module, "READ_LIMIT", 0.2)
    monkeypatch.setattr(module, "CALL_LIMIT", 0.4)
    module.gateway.close()


def ask(payment, **changes) -> Refund:
    return request_refund(
        **{"payment_id": payment.pk, "reason": "Bought by mistake.", "requested_by": "api:shop", **changes}
    )


def let_pass(refund, pause: timedelta) -> None:
    """As if that time had passed for this refund."""
    refund.refresh_from_db()
    Refund.objects.filter(pk=refund.pk).update(
        next_attempt_at=refund.next_attempt_at - pause, missed_at=refund.missed_at and refund.missed_at - pause
    )


def pursue(refund) -> Refund:
    """Let the time of its next try come, and try."""
    refund.refresh_from_db()
    let_pass(refund, max(refund.next_attempt_at - database_now(), timedelta()) + timedelta(microseconds=1))
    refunding.pursue(refund_id=refund.pk)
    refund.refresh_from_db()
    return refund


def waits(refund) -> float:
    """Seconds until it is next looked at, which a job stands ready for."""
    refund.refresh_from_db()
    assert ProcrastinateJob.objects.filter(
        task_name="payments.tasks.pursue_refund",
        args={"refund_id": str(refund.pk)},
        scheduled_at=refund.next_attempt_at,
    ).exists()
    return round((refund.next_attempt_at - database_now()).total_seconds())


class TestARequest:
    def test_is_written_down_with_the_job_that_acts_upon_it(self, payment):
        refund = ask(payment)

        assert (refund.payment, refund.status, refund.requested_by) == (payment, "requested", "api:shop")
        job = ProcrastinateJob.objects.get(args={"refund_id": str(refund.pk)})
        assert (job.task_name, job.queue_name, job.scheduled_at) == ("payments.tasks.pursue_refund", "refunds", None)

    def test_for_an_unresolved_held_payment_is_taken(self, telegram, invoice):
        held = telegram.sells(invoice, money=Money(1, "XTR"))

        assert ask(held).status == RefundStatus.REQUESTED

    def test_for_a_held_payment_that_was_granted_is_taken(self, telegram, invoice):
        held = telegram.sells(invoice, money=Money(1, "XTR"))
        resolve(held, Resolution.GRANTED)

        assert ask(held).status == RefundStatus.REQUESTED

    def test_says_who_asked_before_and_when(self, payment):
        first = ask(payment, requested_by="staff:7")

        with pytest.raises(RefundPending) as raised:
            ask(payment)

        assert raised.value.refund_id == first.pk
        assert (raised.value.asked.by, raised.value.asked.at) == ("staff:7", first.created_at)

    def test_after_it_was_given_back_says_who_asked_and_when(self, payment):
        first = pursue(ask(payment, requested_by="staff:7"))

        with pytest.raises(AlreadyRefunded) as raised:
            ask(payment)

        assert (raised.value.asked.by, raised.value.asked.at) == ("staff:7", first.created_at)
        assert raised.value.refunded_at == payment.refunds.get().occurred_at

    def test_after_it_was_refunded_without_us_names_nobody(self, payment, invoice):
        record_refund(refund_of(invoice, charge_id=payment.event_id))

        with pytest.raises(AlreadyRefunded) as raised:
            ask(payment)

        assert raised.value.asked is None

    def test_for_what_a_person_refunded_elsewhere_says_when(self, telegram, invoice):
        held = telegram.sells(invoice, money=Money(1, "XTR"))
        resolve(held, Resolution.REFUNDED)

        with pytest.raises(AlreadyRefunded) as raised:
            ask(held)

        assert raised.value.refunded_at == Hold.objects.get().resolved_at


def resolve(payment, resolution) -> None:
    Hold.objects.filter(event=payment).update(
        resolution=resolution, resolved_at=database_now(), resolved_by="staff:1", resolved_why="so"
    )


class TestT36:
    """What cannot be given back is refused before any call."""

    @pytest.fixture(autouse=True)
    def no_call(self, telegram):
        yield
        assert telegram.calls("refundStarPayment") == 0
        assert not Refund.objects.exists()

    def test_an_unknown_payment(self):
        with pytest.raises(UnknownPayment):
            request_refund(payment_id=uuid4(), reason="so", requested_by="staff:1")

    def test_a_refund(self, payment, invoice):
        refund = record_refund(refund_of(invoice, charge_id=payment.event_id)).event

        with pytest.raises(UnknownPayment):
            ask(refund)

    def test_a_payment_that_was_given_back(self, payment, invoice):
        record_refund(refund_of(invoice, charge_id=payment.event_id))

        with pytest.raises(AlreadyRefunded):
            ask(payment)

    def test_a_held_payment_that_was_dismissed(self, telegram, invoice):
        held = telegram.sells(invoice, money=Money(1, "XTR"))
        resolve(held, Resolution.DISMISSED)

        with pytest.raises(NotRefundable, match="dismissed"):
            ask(held)

    @pytest.mark.parametrize("amount", [-500, 0, 1, 499, 501])
    def test_any_amount_but_the_whole(self, payment, amount):
        with pytest.raises(NotRefundable, match="whole"):
            ask(payment, amount=amount)

    def test_money_that_went_through_a_provider(self, invoice):
        card = InvoiceFactory(
            customer=invoice.customer,
            plan=invoice.plan,
            payment_method=PaymentMethod.TELEGRAM_PROVIDER,
            amount=2500,
            currency="GBP",
        )

        with pytest.raises(NotRefundable, match="Only Stars"):
            ask(record_payment(payment_of(card)).event)

    def test_stars_of_a_customer_without_a_telegram_account(self, gold):
        host = CustomerFactory(telegram_user_id=None, user_id="host-1", user_id_origin="host")
        stars = Money(500, "XTR")
        reported = payment_of_plan(host, gold, stars)

        with pytest.raises(NotRefundable, match="known Telegram account"):
            ask(reported)


def payment_of_plan(customer, plan, money) -> PaymentEvent:
    from payments.models import Origin
    from payments.recording import ReceivedPayment

    report = ReceivedPayment(
        method=PaymentMethod.TELEGRAM_STARS,
        charge_id="stx-reported",
        money=money,
        occurred_at=database_now(),
        origin=Origin.API,
        raw=b"{}",
        payer=customer,
        plan_code=plan.code,
    )
    return record_payment(report).event


class TestARefundThatTelegramAnswers:
    def test_is_recorded_with_all_it_entails(self, telegram, payment):
        refund = pursue(ask(payment))

        assert (refund.status, refund.attempts, refund.detail) == ("confirmed", 1, "Given back.")
        event = PaymentEvent.objects.refunds().get()
        assert (event.refund_of, event.money, event.origin) == (payment, Money(500, "XTR"), "api")
        assert refund.confirmed_at == event.received_at
        grant = Grant.objects.get()
        assert (grant.revoked_at, grant.revoked_reason) == (event.received_at, "Bought by mistake.")
        assert Notice.objects.filter(event=event, kind=NoticeKind.REFUNDED).count() == 1
        assert [charge.id for charge in telegram.truth.refunds] == [payment.event_id]
        assert faults_in_the_books() == []

    def test_goes_to_whoever_paid_also_where_that_was_a_stranger(self, telegram, invoice, bob):
        telegram.local.person("Bob", user_id=bob.telegram_user_id)
        foreign = InvoiceFactory(customer=bob, plan=invoice.plan)
        held = telegram.sells(foreign, payload=invoice.payload)
        assert held.hold.reason == HoldReason.FOREIGN_PAYER

        pursue(ask(held))

        assert [charge.person_id for charge in telegram.truth.refunds] == [bob.telegram_user_id]
        held.hold.refresh_from_db()
        assert held.hold.resolution == Resolution.REFUNDED

    def test_is_not_sent_again_by_a_second_job(self, telegram, payment):
        refund = pursue(ask(payment))

        refunding.pursue(refund_id=refund.pk)

        assert telegram.calls("refundStarPayment") == 1

    def test_is_a_duplicate_when_the_message_comes(self, payment, invoice):
        pursue(ask(payment))

        record_refund(refund_of(invoice, charge_id=payment.event_id))

        assert PaymentEvent.objects.refunds().count() == 1
        assert RefundTally.objects.get().count == 1


class TestARefundWhoseMessageComesFirst:
    @pytest.mark.parametrize("status", ["requested", "sending", "verify"])
    def test_is_confirmed_under_the_same_key(self, telegram, payment, invoice, status):
        refund = ask(payment)
        if status != "requested":
            Refund.objects.update(status="sending", attempts=1)
        if status == "verify":
            Refund.objects.update(status="verify")

        record_refund(refund_of(invoice, charge_id=payment.event_id))

        refund.refresh_from_db()
        assert (refund.status, refund.confirmed_at is None) == ("confirmed", False)
        pursue(refund)
        assert telegram.calls("refundStarPayment") == 0

    def test_is_recorded_once_when_it_comes_during_the_call(self, telegram, payment, invoice, monkeypatch):
        from payments.channels import telegram as channel

        send = channel.refund

        def refund_and_tell(payment):
            send(payment)
            record_refund(refund_of(invoice, charge_id=payment.event_id))

        monkeypatch.setattr(channel, "refund", refund_and_tell)

        refund = pursue(ask(payment))

        assert refund.status == RefundStatus.CONFIRMED
        assert PaymentEvent.objects.refunds().count() == 1


class TestARefundWithoutAClearAnswer:
    @pytest.mark.parametrize("fault", ["500_after_effect", "cut_after_effect", "half_json"])
    def test_is_found_in_the_list_and_not_sent_again(self, telegram, payment, fault):
        telegram.faults.order("refundStarPayment", fault)
        refund = pursue(ask(payment))
        assert (refund.status, waits(refund)) == ("verify", 15)
        assert refund.detail.startswith("Sent, not confirmed yet")

        pursue(refund)

        assert refund.status == RefundStatus.CONFIRMED
        assert telegram.calls("refundStarPayment") == 1
        event = PaymentEvent.objects.refunds().get()
        assert event.origin == "reconciliation"
        assert b'"receiver"' in bytes(event.provider_record.body)

    def test_is_looked_for_in_one_reading_with_all_that_were_due_when_it_began(self, telegram):
        telegram.faults.order("refundStarPayment", "cut_after_effect", times=3)
        refunds = [pursue(ask(telegram.sells(InvoiceFactory(plan=PlanFactory())))) for _ in range(3)]
        first, second, late = refunds
        Refund.objects.filter(pk__in=[first.pk, second.pk]).update(next_attempt_at=database_now())
        read_before = telegram.calls("getStarTransactions")

        for refund in (first, second):
            refunding.pursue(refund_id=refund.pk)
        read_for_two = telegram.calls("getStarTransactions") - read_before
        Refund.objects.filter(pk=late.pk).update(next_attempt_at=database_now())
        refunding.pursue(refund_id=late.pk)

        assert read_for_two == telegram.calls("getStarTransactions") - read_before - read_for_two > 0
        assert Refund.objects.filter(status=RefundStatus.CONFIRMED).count() == 3

    @pytest.mark.parametrize("fault", ["500", "502", "cut_before"])
    def test_is_sent_again_only_when_it_was_missing_twice_a_minute_apart(self, telegram, payment, fault):
        telegram.faults.order("refundStarPayment", fault)
        refund = pursue(ask(payment))

        pursue(refund)
        assert (refund.status, waits(refund)) == ("verify", 60)
        let_pass(refund, timedelta(seconds=1))
        Refund.objects.update(missed_at=database_now() - timedelta(seconds=59), next_attempt_at=database_now())
        refunding.pursue(refund_id=refund.pk)
        assert telegram.calls("refundStarPayment") == 1

        Refund.objects.update(missed_at=database_now() - timedelta(seconds=60), next_attempt_at=database_now())
        refunding.pursue(refund_id=refund.pk)

        refund.refresh_from_db()
        assert (refund.status, refund.attempts) == ("confirmed", 2)
        assert telegram.calls("refundStarPayment") == 2

    def test_because_it_hung_is_looked_for(self, impatient, telegram, payment):
        telegram.faults.order("refundStarPayment", "hang_after_effect", seconds=2)

        refund = pursue(ask(payment))

        assert refund.status == RefundStatus.VERIFY
        assert pursue(refund).status == RefundStatus.CONFIRMED

    def test_is_looked_for_ever_more_rarely(self, telegram, payment, monkeypatch):
        monkeypatch.setattr(refunding, "APART", timedelta(days=400))  # never sent again
        telegram.faults.order("refundStarPayment", "500")
        refund = pursue(ask(payment))
        monkeypatch.setattr(refunding, "APART", timedelta(seconds=60))
        pauses = [waits(refund)]

        for _ in range(6):
            Refund.objects.update(missed_at=None)
            pauses.append(waits(pursue(refund)))

        assert pauses == [15, 60, 300, 900, 3600, 86400, 86400]

    def test_is_looked_for_soon_after_each_call_and_sent_again_ever_more_rarely(self, telegram, payment):
        telegram.faults.order("refundStarPayment", "500", times=4)
        refund = ask(payment)

        pauses = [waits(pursue(refund)) for _ in range(8)]

        assert pauses == [15, 60, 15, 300, 15, 900, 15, 3600]
        assert pursue(refund).status == RefundStatus.CONFIRMED
        assert telegram.calls("refundStarPayment") == 5

    def test_is_left_alone_while_the_list_cannot_be_read(self, telegram, payment):
        telegram.faults.order("refundStarPayment", "500")
        refund = pursue(ask(payment))
        telegram.faults.order("getStarTransactions", "500", times=2)

        for _ in range(2):
            pursue(refund)
            assert (refund.status, waits(refund), refund.missed_at) == ("verify", 15, None)
            assert refund.detail.startswith("Telegram's list cannot be read")
        assert telegram.calls("refundStarPayment") == 1


class TestARefundThatTelegramPutsOff:
    def test_is_sent_again_after_the_pause_with_a_look_before_it(self, telegram, payment):
        telegram.faults.order("refundStarPayment", "429", retry_after=17)
        refund = pursue(ask(payment))
        assert (refund.status, waits(refund)) == ("requested", 17)
        assert telegram.calls("getStarTransactions") == 0

        pursue(refund)

        assert (refund.status, refund.attempts) == ("confirmed", 2)
        assert telegram.calls("getStarTransactions") > 0

    def test_is_not_sent_before_the_pause_is_over(self, telegram, payment):
        telegram.faults.order("refundStarPayment", "429", retry_after=17)
        refund = pursue(ask(payment))

        refunding.pursue(refund_id=refund.pk)

        assert telegram.calls("refundStarPayment") == 1


class TestARefundThatWasMadeAlready:
    def test_earlier_and_without_us_is_found(self, telegram, payment):
        telegram.refunds_by_itself(payment)
        refund = pursue(ask(payment))
        assert (refund.status, refund.refusal) == ("verify", "")

        assert pursue(refund).status == RefundStatus.CONFIRMED

    def test_by_the_call_that_is_answered_so_is_found(self, telegram, payment):
        telegram.faults.order("refundStarPayment", "refuse_after_effect", description="CHARGE_ALREADY_REFUNDED")
        refund = pursue(ask(payment))
        assert refund.status == RefundStatus.VERIFY

        assert pursue(refund).status == RefundStatus.CONFIRMED
        assert telegram.calls("refundStarPayment") == 1


class TestARefundThatTelegramRefuses:
    def test_is_looked_for_once_and_then_refused_in_its_words(self, telegram, payment):
        telegram.faults.order("refundStarPayment", "refuse", description="CHARGE_NOT_FOUND")
        refund = pursue(ask(payment))
        assert refund.status == RefundStatus.VERIFY

        pursue(refund)

        assert (refund.status, refund.refusal.lower()) == ("refused", "charge_not_found")
        assert "charge_not_found" in refund.detail.lower()
        assert telegram.calls("refundStarPayment") == 1
        assert (RefundTally.objects.get().result, RefundTally.objects.get().source) == ("refused", "api")
        assert ask(payment).status == RefundStatus.REQUESTED  # a person may try anew

    def test_but_did_make_is_found(self, telegram, payment):
        telegram.faults.order("refundStarPayment", "refuse_after_effect", description="USER_BOT_INVALID")
        refund = pursue(ask(payment))

        assert pursue(refund).status == RefundStatus.CONFIRMED


class TestARefundWhoseWorkerDied:
    def test_is_not_touched_while_its_lease_runs(self, telegram, payment):
        refund = ask(payment)
        Refund.objects.update(status="sending", attempts=1, next_attempt_at=database_now() + refunding.LEASE)

        refunding.pursue(refund_id=refund.pk)

        assert refunding.sweep() == 0
        refund.refresh_from_db()
        assert refund.status == RefundStatus.SENDING

    def test_is_swept_up_and_looked_for_before_it_is_sent(self, telegram, payment):
        refund = ask(payment)
        Refund.objects.update(status="sending", attempts=1, next_attempt_at=database_now() - timedelta(minutes=1))

        assert refunding.sweep() == 1

        jobs = ProcrastinateJob.objects.filter(args={"refund_id": str(refund.pk)}, scheduled_at=None)
        assert jobs.count() == 2
        assert pursue(refund).status == RefundStatus.VERIFY
        assert telegram.calls("refundStarPayment") == 0
        assert telegram.calls("getStarTransactions") > 0

    def test_is_not_overwritten_by_one_who_was_only_slow(self, telegram, payment, monkeypatch):
        from payments.channels import telegram as channel
        from payments.channels.base import Unclear

        def hang_until_the_lease_is_anothers(payment):
            Refund.objects.update(
                status="verify", next_attempt_at=database_now() + timedelta(minutes=1), detail="another's"
            )
            raise Unclear("late")

        monkeypatch.setattr(channel, "refund", hang_until_the_lease_is_anothers)

        refund = pursue(ask(payment))

        assert refund.detail == "another's"


class TestAPaymentBoughtTwice:
    def test_is_given_back_by_itself(self, telegram, payment, invoice):
        again = telegram.sells(InvoiceFactory(customer=invoice.customer, plan=invoice.plan))

        refund = Refund.objects.get()
        assert (refund.payment, refund.requested_by) == (again, "system")
        pursue(refund)

        assert refund.status == RefundStatus.CONFIRMED
        again.hold.refresh_from_db()
        assert again.hold.resolution == Resolution.REFUNDED
        assert [charge.id for charge in telegram.truth.refunds] == [again.event_id]
        assert not Grant.objects.exclude(revoked_at=None).exists()

    def test_by_card_waits_for_a_person(self, payment, invoice):
        card = InvoiceFactory(
            customer=invoice.customer,
            plan=invoice.plan,
            payment_method=PaymentMethod.TELEGRAM_PROVIDER,
            amount=2500,
            currency="GBP",
        )

        record_payment(payment_of(card, charge_id="card"))

        assert Hold.objects.get().reason == HoldReason.BOUGHT_TWICE
        assert not Refund.objects.exists()

    def test_whose_refund_came_first_needs_no_call(self, telegram, payment, invoice):
        second = InvoiceFactory(customer=invoice.customer, plan=invoice.plan)
        record_refund(refund_of(second, charge_id="stx-second"))

        record_payment(payment_of(second, charge_id="stx-second"))

        assert Refund.objects.get().status == RefundStatus.CONFIRMED


class TestTheIntent:
    def refused(self, **changes):
        with pytest.raises(DatabaseError), transaction.atomic():
            Refund.objects.update(**changes)

    def test_is_open_once_per_payment(self, payment):
        ask(payment)

        with pytest.raises(DatabaseError, match="refund_open_once"), transaction.atomic():
            Refund.objects.create(payment=payment, reason="again", requested_by="staff:2")

    def test_says_who_asked_and_why_for_ever(self, payment, invoice):
        ask(payment)

        for changes in ({"reason": "other"}, {"requested_by": "staff:2"}, {"created_at": database_now()}):
            self.refused(**changes)
        with pytest.raises(DatabaseError), transaction.atomic():
            Refund.objects.all().delete()

    @pytest.mark.parametrize(
        "facts", [{"reason": ""}, {"requested_by": ""}, {"requested_by": "staff:"}, {"status": "x"}]
    )
    def test_has_a_reason_and_somebody_who_asked(self, payment, facts):
        with pytest.raises(DatabaseError), transaction.atomic():
            Refund.objects.create(**{"payment": payment, "reason": "so", "requested_by": "system", **facts})

    def test_takes_no_step_but_those_of_the_plan(self, payment):
        allowed = {
            ("proposed", "requested"),
            ("proposed", "declined"),
            ("proposed", "confirmed"),
            ("requested", "sending"),
            ("requested", "confirmed"),
            ("sending", "requested"),
            ("sending", "verify"),
            ("sending", "confirmed"),
            ("verify", "sending"),
            ("verify", "refused"),
            ("verify", "confirmed"),
        }
        for before in RefundStatus.values:
            for after in RefundStatus.values:
                if before == after:
                    continue
                with transaction.atomic():
                    facts = facts_of(before)
                    Refund.objects.create(
                        payment=payment, reason="so", requested_by="system", status=before, refusal="no", **facts
                    )
                    assert step(before, after) == ((before, after) in allowed), (before, after)
                    transaction.set_rollback(True)


def facts_of(status: str) -> dict:
    """What goes with a status."""
    match status:
        case "confirmed":
            return {"confirmed_at": database_now()}
        case "declined":
            return {"declined_by": "staff:2", "decided_at": database_now()}
    return {}


def step(before: str, after: str) -> bool:
    approved = {"approved_by": "staff:2", "decided_at": database_now()}
    facts = facts_of(after) | (approved if (before, after) == ("proposed", "requested") else {})
    undone = {"confirmed_at": None} if before == "confirmed" else {}
    try:
        with transaction.atomic():
            Refund.objects.update(status=after, **undone, **facts)
    except DatabaseError:
        return False
    return True
