"""Reconciling as disaster recovery: beside the webhook, beside itself, after an outage, after a backup was restored."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta

import pytest
from django.db import connection

from config.database import database_now
from entitlements.models import Entitlement, Grant
from payments import runs
from payments.comparing import Known
from payments.models import Notice, Origin, PaymentEvent, ReconciliationRun, Tally, TallyResult
from payments.reconciling import reconcile
from payments.recording import record_payment
from payments.runs import AlreadyRunning, TakenOver
from telegram_bot import notices
from tests.books import faults_in_the_books
from tests.factories import InvoiceFactory, PlanFactory
from tests.payments.reports import payment_of

pytestmark = pytest.mark.django_db(transaction=True)

PATIENCE = 60  # seconds


def duplicates() -> int:
    """How often somebody recorded what was recorded already."""
    counted = Tally.objects.filter(result=TallyResult.DUPLICATE).values_list("count", flat=True)
    return sum(counted)


def in_threads(*work) -> None:
    """Do all of it at once; whoever fails fails the test."""
    everybody = threading.Barrier(len(work))

    def do(one) -> None:
        everybody.wait(PATIENCE)
        try:
            one()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(work)) as threads:
        list(threads.map(do, work))


def try_to_reconcile() -> None:
    with suppress(AlreadyRunning):
        reconcile(asked_by="command")


class TestBesideTheWebhook:
    def test_t13_each_charge_is_recorded_once_whoever_is_quicker(self, telegram):
        plan = PlanFactory()
        invoices = {telegram.charges(invoice): invoice for invoice in InvoiceFactory.create_batch(200, plan=plan)}
        reports = [payment_of(invoice, charge_id=charge) for charge, invoice in invoices.items()]

        def deliver(part: int) -> None:
            for report in reports[part::3]:
                record_payment(report)

        in_threads(try_to_reconcile, *(lambda part=part: deliver(part) for part in range(3)))
        reconcile(asked_by="command")

        assert set(PaymentEvent.objects.values_list("event_id", flat=True)) == set(invoices)
        assert PaymentEvent.objects.count() == Grant.objects.count() == Notice.objects.count() == 200
        assert faults_in_the_books() == []


class TestBesideItself:
    def test_each_payment_is_recorded_by_one_run_and_tried_by_no_other(self, telegram):
        for _ in range(10):
            telegram.charges(InvoiceFactory(plan=PlanFactory()))

        in_threads(*[try_to_reconcile] * 6)

        assert sum(ReconciliationRun.objects.values_list("recorded", flat=True)) == 10
        assert duplicates() == 0

    def test_two_would_record_the_same_if_both_were_let_in(self, telegram, monkeypatch):
        """The twin: whoever comes begins, and the database would take a second run."""
        telegram.charges(InvoiceFactory(plan=PlanFactory()))
        both = threading.Barrier(2)
        load = Known.of

        def load_together(rows):
            known = load(rows)
            both.wait(PATIENCE)
            return known

        def begin(**asked) -> ReconciliationRun:
            now = database_now()
            return ReconciliationRun.objects.create(**asked, started_at=now, lease_until=now + runs.LEASE)

        monkeypatch.setattr(runs, "begin", begin)
        monkeypatch.setattr(Known, "of", load_together)
        with connection.cursor() as cursor:
            cursor.execute("SELECT indexdef FROM pg_indexes WHERE indexname = 'reconciliation_one_at_a_time'")
            (index,) = cursor.fetchone()
            cursor.execute("DROP INDEX reconciliation_one_at_a_time")
        try:
            in_threads(try_to_reconcile, try_to_reconcile)

            assert duplicates() == 1
        finally:
            with connection.cursor() as cursor:
                cursor.execute("TRUNCATE payments_reconciliationrun CASCADE")
                cursor.execute(index)

    def test_one_that_was_taken_for_dead_writes_nothing_more_down(self, telegram, monkeypatch):
        telegram.charges(InvoiceFactory(plan=PlanFactory()))
        load = Known.of

        def lose_the_lease(rows):
            monkeypatch.setattr(Known, "of", load)
            ReconciliationRun.objects.update(lease_until=database_now())
            reconcile(asked_by="schedule")
            return load(rows)

        monkeypatch.setattr(Known, "of", lose_the_lease)

        with pytest.raises(TakenOver):
            reconcile(asked_by="command")

        assert list(ReconciliationRun.objects.order_by("pk").values_list("outcome", "recorded")) == [
            ("died", 0),
            ("clean", 1),
        ]


class TestAfterAnOutage:
    def test_t12_of_30_hours_all_is_brought_with_its_dates_and_each_buyer_is_told_once(self, telegram):
        """Telegram has given up delivering after 24 hours; nobody heard of anything."""
        reconcile(asked_by="command")
        plan = PlanFactory()
        invoices = {telegram.charges(invoice): invoice for invoice in InvoiceFactory.create_batch(10, plan=plan)}
        paid_at = {}
        for hours, charge in enumerate(invoices, start=20):
            telegram.happened(charge, ago=timedelta(hours=hours))
            paid_at[charge] = database_now() - timedelta(hours=hours)

        reconcile(asked_by="schedule")
        with ThreadPoolExecutor(4) as senders:
            outbox = notices.Outbox(notices.Pace(1000), senders)
            for _ in range(3):
                outbox.send_due()
        late = next(iter(invoices))
        record_payment(payment_of(invoices[late], charge_id=late))
        reconcile(asked_by="schedule", full=True)

        for charge, invoice in invoices.items():
            event = PaymentEvent.objects.get(event_id=charge)
            assert event.origin == Origin.RECONCILIATION
            assert abs(event.occurred_at - paid_at[charge]) < timedelta(minutes=2)
            access = Entitlement.objects.get(customer=invoice.customer)
            assert access.active_until == event.occurred_at + timedelta(days=30)
            heard = telegram.truth.messages[invoice.customer.telegram_user_id]
            assert sum("Gold" in message.get("text", "") for message in heard) == 1
        assert Notice.objects.count() == 10
        assert faults_in_the_books() == []


class Backup:
    """All our tables as they were at one moment."""

    def __init__(self) -> None:
        with connection.cursor() as cursor:
            every = connection.introspection.table_names(cursor)
            self.tables = [name for name in every if name.startswith(("payments_", "entitlements_", "telegram_bot_"))]
            for table in self.tables:
                cursor.execute(f"CREATE TABLE backup_{table} AS TABLE {table}")

    def restore(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {', '.join(self.tables)} CASCADE")
            cursor.execute("SET session_replication_role = replica")  # no triggers, as pg_restore has them
            for table in self.tables:
                cursor.execute(f"INSERT INTO {table} SELECT * FROM backup_{table}")
            cursor.execute("SET session_replication_role = DEFAULT")

    def drop(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE {', '.join(f'backup_{table}' for table in self.tables)}")


@pytest.fixture
def backup():
    made = []
    yield lambda: made.append(Backup()) or made[-1]
    for each in made:
        each.drop()


class TestAfterABackupWasRestored:
    def test_what_was_paid_and_given_back_since_is_there_again(self, telegram, backup, monkeypatch):
        """Invoices of since then are lost: what is left of them is their payload, which we signed."""
        monkeypatch.setattr("payments.mirror.OVERLAP", 1)
        plan = PlanFactory()
        early, known = InvoiceFactory.create_batch(2, plan=plan)
        before = telegram.sells(early)
        reconcile(asked_by="command")
        old = backup()
        lost = InvoiceFactory(plan=plan)
        charges = [telegram.sells(known).event_id, telegram.sells(lost).event_id]
        telegram.refunds_by_itself(before)
        reconcile(asked_by="command")
        old.restore()
        assert set(PaymentEvent.objects.values_list("event_id", flat=True)) == {before.event_id}

        healed = reconcile(asked_by="schedule")

        assert (healed.recorded, healed.held, healed.refunded, healed.found) == (2, 0, 1, 0)
        events = dict(PaymentEvent.objects.payments().values_list("event_id", "status"))
        assert events == dict.fromkeys([before.event_id, *charges], "processed")
        assert PaymentEvent.objects.refunds().get().refund_of == before
        assert faults_in_the_books() == []
