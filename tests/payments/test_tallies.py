from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from config.database import database_now
from payments import expiry, tallies
from payments.expiry import EXPIRE, expire_invoices
from payments.identifiers import uuid7
from payments.models import (
    EventStatus,
    EventType,
    Hold,
    HoldReason,
    Invoice,
    InvoiceStatus,
    Origin,
    PaymentEvent,
    Tally,
    TallyResult,
    TallyUpTo,
)
from payments.models.invoices import OPEN
from payments.models.ledger import PAYMENTS
from tests.factories import InvoiceFactory

pytestmark = pytest.mark.django_db

NO_TIME = timedelta()
SUCCESS, HELD, SENT = TallyResult.SUCCESS, TallyResult.HELD, TallyResult.SENT


def paid(customer, plan, *, ago: timedelta, amount=500, currency="XTR", kind=EventType.STARS_PAYMENT, **facts):
    at = database_now() - ago
    return PaymentEvent.objects.create(
        event_type=kind,
        payment_method=kind.partition(".")[0],
        customer=customer,
        plan=plan,
        amount=amount,
        currency=currency,
        received_at=at,
        **{
            "event_id": str(uuid7()),
            "status": EventStatus.PROCESSED,
            "origin": Origin.WEBHOOK,
            "occurred_at": at,
            **facts,
        },
    )


def totals() -> dict[tuple[str, str, str], tuple[int, int]]:
    return {(t.result.value, t.plan_code, t.currency): (t.count, t.amount) for t in tallies.totals()}


def by_hand() -> dict[tuple[str, str, str], tuple[int, int]]:
    """The same from the whole books, in plain Python."""
    sums: dict[tuple[str, str, str], list[int]] = {}

    def add(result: TallyResult, plan_code: str | None, currency: str, amount: int) -> None:
        row = sums.setdefault((result.value, plan_code or "", currency), [0, 0])
        row[0] += 1
        row[1] += amount

    for event in PaymentEvent.objects.filter(event_type__in=PAYMENTS):
        if event.status == EventStatus.PROCESSED:
            add(SUCCESS, event.plan_id, event.currency, event.amount)
        else:
            add(HELD, event.plan_id, "", 0)
    for _ in Hold.objects.filter(event=None, reason=HoldReason.UNREADABLE):
        add(HELD, "", "", 0)
    for invoice in Invoice.objects.exclude(sent_at=None):
        add(SENT, invoice.plan_id, "", 0)
    return {key: (count, amount) for key, (count, amount) in sums.items()}


@pytest.fixture
def books(alice, bob, gold):
    """Payments long ago and a moment ago, held ones, a refund, and reports that never became an event."""
    for ago in (timedelta(days=400), timedelta(minutes=5), timedelta(seconds=59), timedelta()):
        payment = paid(alice, gold, ago=ago)
        paid(bob, gold, ago=ago, amount=2500, currency="GBP", kind=EventType.PROVIDER_PAYMENT)
        paid(bob, None, ago=ago, amount=2**63 - 1, status=EventStatus.HELD)
        paid(alice, gold, ago=ago, kind=EventType.STARS_REFUND, refund_of=payment)
        InvoiceFactory(customer=alice, plan=gold, sent_at=database_now() - ago)
        InvoiceFactory(customer=alice, plan=gold, sent_at=None)
        for reason in (HoldReason.UNREADABLE, HoldReason.FOREIGN_REFUND):
            Hold.objects.create(
                reason=reason, evidence_digest=uuid7().bytes * 2, evidence=b"?", held_at=database_now() - ago
            )


class TestTotals:
    def test_are_what_the_books_say_before_during_and_after_summing(self, books):
        expected = by_hand()
        assert expected["success", "gold_1m", "XTR"] == (4, 2000)
        assert totals() == expected

        tallies.move_forward()
        assert Tally.objects.exists()
        assert totals() == expected

        tallies.recompute()
        assert totals() == expected

    def test_are_found_again_from_scratch_after_the_sums_were_spoilt(self, books):
        tallies.move_forward()
        Tally.objects.update(count=99)

        tallies.recompute()

        assert totals() == by_hand()

    def test_count_what_is_recorded_after_the_sums_were_moved(self, books, alice, gold):
        tallies.move_forward()

        paid(alice, gold, ago=timedelta())

        assert totals() == by_hand()

    def test_stay_the_same_while_the_moment_moves_on(self, books):
        TallyUpTo.objects.create(moment=database_now() - timedelta(days=100))
        tallies.recompute()
        expected = by_hand()
        assert totals() == expected

        tallies.move_forward()

        assert totals() == expected

    def test_stay_behind_the_clock_longer_than_a_transaction_lives(self):
        moment = tallies.move_forward()

        assert timedelta(seconds=60) <= database_now() - moment < timedelta(seconds=70)

    def test_never_move_back(self):
        ahead = database_now() + timedelta(minutes=10)
        TallyUpTo.objects.create(moment=ahead)

        assert tallies.move_forward() == ahead

    def test_read_recent_payments_through_the_index_and_not_history(self, alice, gold):
        tallies.move_forward()
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute(f"EXPLAIN {tallies.TOTALS}")
            plan = "\n".join(line for (line,) in cursor.fetchall())

        assert "payment_event_by_receipt" in plan
        assert "invoice_by_sending" in plan
        assert "Seq Scan on payments_paymentevent" not in plan


class TestCount:
    def test_adds_one_for_the_plan(self):
        tallies.count(TallyResult.DUPLICATE, plan_code="gold_1m")
        tallies.count(TallyResult.DUPLICATE, plan_code="gold_1m")
        tallies.count(TallyResult.FAILED, plan_code="")

        assert totals() == {("duplicate", "gold_1m", ""): (2, 0), ("failed", "", ""): (1, 0)}

    def test_outlives_a_recomputation(self, books):
        tallies.count(TallyResult.DUPLICATE, plan_code="gold_1m")

        tallies.recompute()

        assert totals() == {**by_hand(), ("duplicate", "gold_1m", ""): (1, 0)}

    @pytest.mark.parametrize("result", tallies.RECOMPUTABLE)
    def test_refuses_what_the_books_tell(self, result):
        with pytest.raises(ValueError, match="read from the books"):
            tallies.count(result, plan_code="gold_1m")


class TestExpireInvoices:
    def test_marks_those_that_lapsed_unpaid_and_counts_them_once(self, invoice, gold):
        lapsed = [InvoiceFactory(plan=gold, expired=True, status=status) for status in OPEN]
        paid_one = InvoiceFactory(plan=gold, expired=True, status=InvoiceStatus.PAID)

        assert expire_invoices(now=database_now()) == 3
        assert expire_invoices(now=database_now()) == 0

        statuses = dict(Invoice.objects.values_list("pk", "status"))
        assert [statuses[each.pk] for each in lapsed] == ["expired"] * 3
        assert (statuses[invoice.pk], statuses[paid_one.pk]) == ("sent", "paid")
        assert totals()["cancelled", "gold_1m", ""] == (3, 0)

    def test_marks_what_lapses_later_the_next_time(self, invoice):
        expire_invoices(now=database_now())

        assert expire_invoices(now=invoice.expires_at) == 1

    def test_marks_many_a_batch_at_a_time_so_that_a_payment_waits_for_few(self, gold, monkeypatch):
        monkeypatch.setattr(expiry, "BATCH", 2)
        now = database_now()
        for minutes in (5, 4, 3, 3, 3, 2, 1):
            InvoiceFactory(plan=gold, expires_at=now - timedelta(minutes=minutes))

        with CaptureQueriesContext(connection) as queries:
            assert expire_invoices(now=now) == 7

        batches = [query["sql"] for query in queries if "UPDATE payments_invoice" in query["sql"]]
        assert len(batches) == 4  # two, the three of one moment, two, and what is left up to now
        assert totals()["cancelled", "gold_1m", ""] == (7, 0)
        assert expire_invoices(now=now) == 0

    def test_names_every_open_status(self):
        for status in OPEN:
            assert f"'{status}'" in EXPIRE
