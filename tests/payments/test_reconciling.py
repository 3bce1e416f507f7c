"""The ledger beside Telegram's own list: every class of difference, found, mended or kept for a person."""

import math
import time
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext

from config.database import database_now
from entitlements.models import Entitlement, Grant
from entitlements.selectors import has_access
from payments import invariants, mirror, reconciling, runs
from payments.channels.base import ChannelError, Unclear
from payments.discrepancies import AlreadySettled, settle
from payments.models import (
    Discrepancy,
    DiscrepancyKind,
    EventStatus,
    EventType,
    Hold,
    HoldReason,
    Invoice,
    Notice,
    Origin,
    PaymentEvent,
    ReconciliationRun,
    Refund,
    RefundStatus,
    RunOutcome,
    StarTransaction,
    Subscription,
    Tally,
    TallyResult,
)
from payments.money import Money
from payments.reconciling import NoBot, cursor_age, reconcile
from payments.recording import record_payment
from payments.refunding import request_refund
from payments.runs import AlreadyRunning, TakenOver
from payments.subscriptions import PERIOD
from telegram_bot.gateway import gateway
from tests.books import faults_in_the_books
from tests.factories import InvoiceFactory, PlanFactory
from tests.payments.reports import payment_of
from tests.payments.test_invariants import superuser
from tests.payments.test_tallies import paid

pytestmark = pytest.mark.django_db(transaction=True)

LONG_AGO = timedelta(hours=30)
WITHDRAWAL = {"id": "wd-1", "amount": 7, "nanostar_amount": 5, "date": 1_760_000_000, "receiver": {"type": "fragment"}}


def run(**options) -> ReconciliationRun:
    return reconcile(asked_by="command", **options)


def counts(of: ReconciliationRun) -> dict[str, int]:
    """What is more than nothing."""
    return {name: value for name in runs.COUNTS if (value := getattr(of, name))}


def listed(charge_id: str, user_id: int, *, amount=500, payload="somebody's", **more) -> dict:
    """A sale as Telegram lists it."""
    user = {"id": user_id, "is_bot": False, "first_name": "A"}
    partner = {"type": "user", "transaction_type": "invoice_payment", "user": user, "invoice_payload": payload, **more}
    return {"id": charge_id, "amount": amount, "date": int(time.time()), "source": partner}


def given_back(sale: dict) -> dict:
    """The second row, which says that the sale was refunded."""
    return {name: value for name, value in sale.items() if name != "source"} | {"receiver": sale["source"]}


def lose(invoice: Invoice) -> None:
    """Its payment with all it entailed, as if it had never been recorded."""
    event = PaymentEvent.objects.get(invoice=invoice)
    with superuser() as hand:
        for table in ("payments_notice", "payments_providerrecord"):
            hand.execute(f"DELETE FROM {table} WHERE event_id = %s", [event.pk])
        for table in ("entitlements_grant", "entitlements_entitlement"):
            hand.execute(f"DELETE FROM {table} WHERE customer_id = %s", [event.customer_id])
        hand.execute("DELETE FROM payments_paymentevent WHERE id = %s", [event.pk])
        hand.execute("UPDATE payments_invoice SET status = 'sent' WHERE id = %s", [invoice.pk])


def lose_refund(payment: PaymentEvent) -> None:
    """That it was given back; its buyer has his access again."""
    refund = payment.refunds.get()
    end = payment.occurred_at + timedelta(days=30)
    with superuser() as hand:
        for table in ("payments_notice", "payments_providerrecord"):
            hand.execute(f"DELETE FROM {table} WHERE event_id = %s", [refund.pk])
        hand.execute("DELETE FROM payments_paymentevent WHERE id = %s", [refund.pk])
        hand.execute(
            "UPDATE entitlements_grant SET revoked_at = NULL, revoked_reason = '' WHERE source = %s", [payment.source]
        )
        hand.execute(
            "UPDATE entitlements_entitlement SET active_until = %s WHERE customer_id = %s", [end, payment.customer_id]
        )


def open_kinds() -> list[str]:
    return list(Discrepancy.objects.unresolved().order_by("pk").values_list("kind", flat=True))


def notices() -> list[str]:
    return list(Notice.objects.order_by("pk").values_list("kind", flat=True))


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Pauses that nobody asked for cost little; nothing else is replaced."""
    monkeypatch.setattr(reconciling, "FIRST_PAUSE", 0.01)


@pytest.fixture
def subscribed(alice):
    """An invoice of Alice's for a month that renews."""
    monthly = PlanFactory(code="gold_monthly", recurring=True, duration_days=30, prices=[Money(500, "XTR")])
    return InvoiceFactory(customer=alice, plan=monthly)


class TestAPayment:
    def test_that_both_sides_know_is_left_alone(self, telegram, invoice):
        telegram.sells(invoice)

        done = run()

        assert (done.outcome, counts(done)) == (RunOutcome.CLEAN, {"matched": 1})
        assert PaymentEvent.objects.count() == 1
        assert not Tally.objects.filter(result=TallyResult.DUPLICATE).exists()

    def test_missing_here_is_recorded_with_access_from_its_date_and_the_buyer_told_once(self, telegram, invoice):
        charge = telegram.charges(invoice)
        telegram.happened(charge, ago=LONG_AGO)

        first, second = run(), run()

        event = PaymentEvent.objects.get()
        assert (event.event_id, event.origin, event.status) == (charge, Origin.RECONCILIATION, EventStatus.PROCESSED)
        assert timedelta() <= database_now() - LONG_AGO - event.occurred_at < timedelta(minutes=2)
        assert Entitlement.objects.get().active_until == event.occurred_at + timedelta(days=30)
        assert notices() == ["payment_confirmed"]
        assert [counts(first), counts(second)] == [{"recorded": 1}, {}]
        assert faults_in_the_books() == []

    def test_of_another_amount_than_its_invoice_is_held(self, telegram, invoice):
        telegram.local.adds_transaction(
            listed("stxLess", invoice.customer.telegram_user_id, amount=499, payload=invoice.payload)
        )

        done = run()

        assert (done.outcome, counts(done)) == (RunOutcome.ATTENTION, {"held": 1})
        assert Hold.objects.get().reason == HoldReason.AMOUNT_MISMATCH

    def test_for_an_invoice_that_was_lost_gives_what_we_signed(self, telegram, invoice):
        charge = telegram.charges(invoice)
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE payments_invoice CASCADE")
        telegram.happened(charge, ago=LONG_AGO)

        run()

        assert PaymentEvent.objects.get().invoice.payload == invoice.payload
        assert has_access(invoice.customer.user_id, "gold")

    def test_that_another_program_took_before_us_is_none_of_ours(self, telegram, alice):
        telegram.local.adds_transaction(listed("stxOld", alice.telegram_user_id))
        telegram.happened("stxOld", ago=LONG_AGO)

        done = run()

        assert (done.outcome, counts(done)) == (RunOutcome.CLEAN, {"other": 1})
        assert not PaymentEvent.objects.exists()

    def test_with_somebodys_payload_is_held_when_it_is_taken_after_we_came(self, telegram, alice):
        run()
        telegram.local.adds_transaction(listed("stxNew", alice.telegram_user_id))
        telegram.happened("stxNew", ago=timedelta(seconds=-1))

        run()

        assert Hold.objects.get().reason == HoldReason.UNKNOWN_PAYLOAD

    def test_of_which_an_affiliate_got_a_share_is_of_its_invoice_whichever_amount_is_listed(self, telegram, invoice):
        affiliate = {"commission_per_mille": 33, "amount": 16, "nanostar_amount": 500_000_000}
        net = listed("stxNet", 9, amount=483, payload=invoice.payload, affiliate=affiliate)
        gross = listed("stxGross", 9, amount=500, payload=invoice.payload, affiliate=affiliate)
        for row in (net | {"nanostar_amount": 500_000_000}, gross):
            telegram.local.adds_transaction(row)
            record_payment(payment_of(invoice, charge_id=row["id"], payer=9))

        assert counts(run()) == {"matched": 2}

    def test_that_cannot_be_recorded_waits_for_a_person_and_keeps_no_other_from_it(self, telegram, invoice):
        telegram.local.adds_transaction(listed("stxNone", 8, amount=0, payload=invoice.payload))
        telegram.charges(invoice)

        first, second = run(), run()

        assert (counts(first), counts(second)) == ({"found": 1, "recorded": 1}, {})
        assert open_kinds() == [DiscrepancyKind.NOT_RECORDED]

    def test_held_is_left_alone_by_the_next_run(self, telegram, invoice):
        telegram.sells(invoice, raw=b"{}")
        telegram.charges(InvoiceFactory(customer=invoice.customer, plan=invoice.plan))

        first, second = run(), run()

        assert [each.outcome for each in (first, second)] == [RunOutcome.ATTENTION, RunOutcome.CLEAN]
        assert Refund.objects.get().requested_by == "system"  # bought twice
        assert notices() == ["payment_confirmed", "payment_held"]


class TestARefund:
    def test_made_outside_is_recorded_and_its_access_taken_back(self, telegram, invoice):
        payment = telegram.sells(invoice)
        telegram.refunds_by_itself(payment)

        first, second = run(), run()

        refund = PaymentEvent.objects.get(refund_of=payment)
        assert (refund.origin, refund.event_type) == (Origin.RECONCILIATION, EventType.STARS_REFUND)
        assert Grant.objects.get().revoked_reason == "Given back in Telegram, and not by us."
        assert notices() == ["payment_confirmed", "refunded"]
        assert [counts(first), counts(second)] == [{"matched": 1, "refunded": 1}, {}]
        assert faults_in_the_books() == []

    def test_that_we_asked_for_confirms_its_intent(self, telegram, invoice):
        payment = telegram.sells(invoice)
        intent = request_refund(payment_id=payment.pk, reason="He asked.", requested_by="api:shop")
        telegram.refunds_by_itself(payment)

        run()

        intent.refresh_from_db()
        assert intent.status == RefundStatus.CONFIRMED
        assert Grant.objects.get().revoked_reason == "He asked."

    def test_of_a_payment_missing_here_is_recorded_after_it(self, telegram, invoice):
        charge = telegram.charges(invoice)
        person = telegram.local._world.truth.people[invoice.customer.telegram_user_id]
        telegram.local._loop.now(lambda: telegram.local._world.checkout.refund(charge, person))

        assert counts(run()) == {"recorded": 1, "refunded": 1}

        assert set(notices()) == {"payment_confirmed", "refunded"}
        assert not Grant.objects.filter(revoked_at=None).exists()
        assert faults_in_the_books() == []

    def test_of_another_amount_is_a_discrepancy(self, telegram, invoice):
        payment = telegram.sells(invoice)
        sale = listed(payment.event_id, invoice.customer.telegram_user_id, amount=1, payload=invoice.payload)
        telegram.local.adds_transaction(given_back(sale))

        run()

        assert open_kinds() == [DiscrepancyKind.AMOUNT_DIFFERS]
        assert not PaymentEvent.objects.refunds().exists()

    def test_before_us_of_a_sale_before_us_is_none_of_ours(self, telegram, alice):
        sale = listed("stxOld", alice.telegram_user_id)
        telegram.local.adds_transaction(sale)
        telegram.happened("stxOld", ago=LONG_AGO)
        run()
        telegram.local.adds_transaction(given_back(sale))
        telegram.happened("stxOld", ago=timedelta(seconds=-1), direction="receiver")

        assert counts(run()) == {"other": 1}


class TestASubscription:
    def test_is_recorded_with_the_period_of_its_payment_and_with_those_of_its_renewals(self, telegram, subscribed):
        first = telegram.charges(subscribed)
        [subscription] = telegram.truth.subscriptions
        renewal = telegram.local.renews(subscription).id
        telegram.happened(first, ago=PERIOD)
        telegram.happened(renewal, ago=timedelta(minutes=90))  # a little before the first period is over
        at = {row["id"]: datetime.fromtimestamp(row["date"], UTC) for row in telegram.truth.transactions}

        assert counts(run()) == {"recorded": 2}

        ends = dict(PaymentEvent.objects.values_list("event_id", "period_ends_at"))
        assert ends == {first: at[first] + PERIOD, renewal: at[first] + 2 * PERIOD}
        assert Entitlement.objects.get().active_until == ends[renewal] + settings.SUBSCRIPTION_GRACE
        assert Subscription.objects.get().first_charge_id == first
        assert faults_in_the_books() == []

    def test_paid_twice_at_once_is_bought_twice_and_not_renewed(self, telegram, subscribed):
        telegram.happened(telegram.charges(subscribed), ago=timedelta(minutes=1))
        telegram.charges(subscribed)

        assert counts(run()) == {"recorded": 1, "held": 1}

        assert Hold.objects.get().reason == HoldReason.BOUGHT_TWICE


class TestWhatIsMissingThere:
    def test_is_a_discrepancy_once(self, telegram, alice, gold):
        event = paid(alice, gold, ago=LONG_AGO)

        first, second, third = run(), run(), run(full=True)

        assert [each.outcome for each in (first, second, third)] == [RunOutcome.ATTENTION] * 3
        assert [each.found for each in (first, second, third)] == [1, 0, 0]
        discrepancy = Discrepancy.objects.get()
        assert (discrepancy.kind, discrepancy.event, discrepancy.run) == (DiscrepancyKind.MISSING_THERE, event, first)
        assert (discrepancy.transaction_id, discrepancy.direction) == (event.event_id, "in")

    def test_is_not_what_was_recorded_only_now_or_paid_by_another_method(self, telegram, alice, gold):
        paid(alice, gold, ago=timedelta())
        paid(alice, gold, ago=LONG_AGO, kind=EventType.PROVIDER_PAYMENT, currency="GBP")

        assert run().outcome == RunOutcome.CLEAN

    def test_is_looked_for_when_it_has_become_older(self, telegram, alice, gold, monkeypatch):
        paid(alice, gold, ago=timedelta(minutes=3))
        assert run().outcome == RunOutcome.CLEAN
        monkeypatch.setattr(reconciling, "LISTED_WITHIN", timedelta())

        assert run().found == 1

    def test_is_a_refund_too(self, telegram, invoice):
        payment = telegram.sells(invoice)
        paid(
            invoice.customer, invoice.plan, ago=LONG_AGO, kind=EventType.STARS_REFUND, refund_of=payment,
            event_id=payment.event_id,
        )  # fmt: skip

        run()

        assert Discrepancy.objects.get().direction == "out"

    def test_is_closed_by_the_next_run_when_it_appears(self, telegram, alice, gold):
        event = paid(alice, gold, ago=LONG_AGO)
        run()
        telegram.local.adds_transaction(listed(event.event_id, alice.telegram_user_id))

        healed = run()

        assert (healed.outcome, counts(healed)) == (RunOutcome.CLEAN, {"matched": 1, "healed": 1})
        assert Discrepancy.objects.get().resolved_by == "reconciliation"
        assert Discrepancy.objects.get().resolved_why

    def test_is_not_said_while_the_list_cannot_be_read(self, telegram, alice, gold):
        paid(alice, gold, ago=LONG_AGO)
        telegram.faults.order("getStarTransactions", "500", times=9)

        with pytest.raises(ChannelError):
            run()

        assert not Discrepancy.objects.exists()


class TestWhatDiffers:
    def test_in_its_amount_is_a_discrepancy(self, telegram, alice, gold):
        event = paid(alice, gold, ago=LONG_AGO, amount=501)
        telegram.local.adds_transaction(listed(event.event_id, alice.telegram_user_id, amount=500))

        first, second = run(), run(full=True)

        assert (counts(first), counts(second)) == ({"found": 1}, {})
        discrepancy = Discrepancy.objects.get()
        assert (discrepancy.kind, discrepancy.difference) == (DiscrepancyKind.AMOUNT_DIFFERS, -1_000_000_000)
        assert "500 ⭐" in discrepancy.telegram_says
        assert "501 ⭐" in discrepancy.we_have

    def test_in_its_buyer_is_a_discrepancy(self, telegram, alice, bob, gold):
        event = paid(alice, gold, ago=LONG_AGO)
        telegram.local.adds_transaction(listed(event.event_id, bob.telegram_user_id))

        run()

        assert open_kinds() == [DiscrepancyKind.USER_DIFFERS]

    def test_is_kept_once_and_read_by_staff_who_settle_it_for_good(self, telegram, alice, bob, gold, admin_user):
        event = paid(alice, gold, ago=LONG_AGO)
        telegram.local.adds_transaction(listed(event.event_id, bob.telegram_user_id))
        run()
        discrepancy = Discrepancy.objects.get()
        settle(discrepancy=discrepancy, staff=admin_user, reason="Bob paid for Alice.")

        again = run(full=True)

        assert again.outcome == RunOutcome.CLEAN
        discrepancy.refresh_from_db()
        assert discrepancy.resolved_why == "Bob paid for Alice."
        with pytest.raises(AlreadySettled):
            settle(discrepancy=discrepancy, staff=admin_user, reason="Again.")
        with pytest.raises(DatabaseError), transaction.atomic():
            Discrepancy.objects.update(resolved_at=None, resolved_by="", resolved_why="")


class TestTheBalance:
    def test_is_explained_by_rows_of_every_kind(self, telegram, invoice):
        telegram.sells(invoice)
        telegram.local.adds_transaction(WITHDRAWAL)
        telegram.local.adds_transaction({**WITHDRAWAL, "id": "ads", "receiver": {"type": "telegram_ads"}})

        done = run()

        assert (done.outcome, counts(done)) == (RunOutcome.CLEAN, {"matched": 1, "other": 2})
        assert mirror.balance() == (500 - 14) * 10**9 - 10

    def test_that_no_row_explains_is_a_discrepancy_until_it_is_another(self, telegram, invoice, admin_user):
        telegram.sells(invoice)
        telegram.local.charges_back(100)
        first, second = run(), run()
        assert (first.found, second.found) == (1, 0)
        assert Discrepancy.objects.get().difference == -100 * 10**9
        assert Discrepancy.objects.get().telegram_says == "A balance of 400 ⭐."
        settle(discrepancy=Discrepancy.objects.get(), staff=admin_user, reason="Apple took it back.")
        assert run().outcome == RunOutcome.CLEAN

        telegram.local.charges_back(1)

        assert run().found == 1
        assert [int(each.difference) for each in Discrepancy.objects.unresolved()] == [-101 * 10**9]

    def test_discrepancy_closes_by_itself_and_opens_again(self, telegram):
        for stars, found, healed in ((5, 1, 0), (-5, 0, 1), (5, 1, 0)):
            telegram.local.charges_back(stars)
            done = run()
            assert (done.found, done.healed) == (found, healed)

        assert Discrepancy.objects.unresolved().count() == Discrepancy.objects.count() == 1

    def test_is_not_compared_while_stars_come_in(self, telegram, invoice, monkeypatch):
        """Each look at the balance finds a Star less than before, so none is the one of the list that was read."""
        balance = gateway.balance

        def another_every_time():
            telegram.local.charges_back(1)
            return balance()

        monkeypatch.setattr(gateway, "balance", another_every_time)

        assert run().outcome == RunOutcome.CLEAN

        assert telegram.calls("getMyStarBalance") == 2 * reconciling.READINGS


class TestTelegramFailing:
    @pytest.mark.parametrize(
        ("method", "fault"),
        [
            ("getStarTransactions", "429"),
            ("getStarTransactions", "cut_before"),
            ("getStarTransactions", "cut_after_effect"),
            ("getStarTransactions", "500"),
            ("getStarTransactions", "502"),
            ("getStarTransactions", "half_json"),
            ("getStarTransactions", "hang"),
            ("getMyStarBalance", "500"),
            ("getMyStarBalance", "429"),
        ],
    )
    def test_now_and_then_is_survived(self, telegram, invoice, monkeypatch, method, fault):
        monkeypatch.setattr("telegram_bot.gateway.READ_LIMIT", 0.3)
        gateway.close()
        telegram.charges(invoice)
        telegram.faults.order(method, fault, retry_after=1)

        assert run(patience=2).recorded == 1

    def test_for_longer_ends_the_run_and_the_next_goes_on(self, telegram, invoice):
        telegram.charges(invoice)
        telegram.faults.order("getStarTransactions", "500", times=3)

        with pytest.raises(Unclear):
            run(patience=0.05)  # pauses of 0.01 s and 0.02 s

        failed = ReconciliationRun.objects.get()
        assert (failed.outcome, failed.error[:7]) == (RunOutcome.FAILED, "Unclear")
        assert run().recorded == 1

    def test_asking_for_a_long_pause_is_left_to_the_next_run(self, telegram):
        telegram.faults.order("getStarTransactions", "429", retry_after=500)

        with pytest.raises(ChannelError):
            run(patience=499)

        assert telegram.calls("getStarTransactions") == 1

    def test_in_the_middle_of_the_list_keeps_what_was_read(self, telegram, monkeypatch):
        monkeypatch.setattr(mirror, "PAGE", 2)
        for number in range(5):
            telegram.local.adds_transaction({**WITHDRAWAL, "id": str(number)})
        failures = iter(["500"])

        def fail_once(words: str) -> None:
            for kind in failures:
                telegram.faults.order("getStarTransactions", kind)

        done = run(patience=1, progress=fail_once)

        assert (done.outcome, done.other) == (RunOutcome.CLEAN, 5)
        calls = telegram.truth.calls_of("getStarTransactions")
        assert [(int(call.arguments["offset"]), call.fault) for call in calls][:2] == [(0, None), (2, "500")]


class TestAnOrdinaryRun:
    def test_costs_what_is_new_and_not_what_is_old(self, telegram, invoice, monkeypatch):
        monkeypatch.setattr(mirror, "OVERLAP", 10)
        costs = []
        for more in (100, 300):
            for number in range(more):
                telegram.local.adds_transaction({**WITHDRAWAL, "id": f"{more}-{number}"})
            run()
            telegram.charges(InvoiceFactory(plan=invoice.plan))
            calls = telegram.calls("getStarTransactions")
            with CaptureQueriesContext(connection) as queries:
                done = run()
            assert counts(done) == {"recorded": 1}
            costs.append((telegram.calls("getStarTransactions") - calls, len(queries)))

        assert costs[0] == costs[1]
        assert costs[0][0] == 2  # the overlap with what is new, and the empty page behind it

    def test_compares_no_row_again(self, telegram, invoice):
        telegram.sells(invoice)
        run()

        assert counts(run()) == {}

    def test_finds_a_row_that_is_listed_late(self, telegram, invoice):
        for number in range(3):
            telegram.local.adds_transaction({**WITHDRAWAL, "id": str(number)})
        run()
        charge = telegram.charges(invoice)
        rows = telegram.local._world.truth.transactions
        telegram.local._loop.now(lambda: rows.insert(1, rows.pop()))

        assert run().recorded == 1

        assert PaymentEvent.objects.get().event_id == charge

    def test_reads_another_list_than_was_mirrored_from_its_beginning(self, telegram, invoice, monkeypatch):
        monkeypatch.setattr(mirror, "OVERLAP", 2)
        for number in range(9):
            telegram.local.adds_transaction({**WITHDRAWAL, "id": str(number)})
        run()
        rows = telegram.local._world.truth.transactions
        telegram.local._loop.now(rows.clear)
        telegram.charges(invoice)

        assert run().recorded == 1

        assert mirror.length() == 1


class TestAFullRun:
    def test_compares_everything_from_the_beginning(self, telegram, invoice, monkeypatch):
        monkeypatch.setattr(mirror, "OVERLAP", 0)
        telegram.charges(invoice)
        run()
        calls = telegram.truth.calls_of("getStarTransactions")

        done = run(full=True)

        assert counts(done) == {"matched": 1}
        again = telegram.truth.calls_of("getStarTransactions")[len(calls) :]
        assert [int(call.arguments["offset"]) for call in again] == [0, 1]

    def test_repairs_what_was_lost_behind_the_cursor(self, telegram, gold):
        """By hand or by a half restored backup, after runs that had compared it."""
        lost, kept = InvoiceFactory.create_batch(2, plan=gold)
        telegram.sells(lost)
        given_back = telegram.sells(kept)
        telegram.refunds_by_itself(given_back)
        run()
        ends = dict(Entitlement.objects.values_list("customer_id", "active_until"))
        lose(lost)
        lose_refund(given_back)
        assert counts(run()) == {}

        call_command("reconcile", "--full", stdout=StringIO())

        assert counts(ReconciliationRun.objects.latest("pk")) == {"matched": 1, "recorded": 1, "refunded": 1}
        assert dict(Entitlement.objects.values_list("customer_id", "active_until")) == ends
        assert faults_in_the_books() == []

    def test_looks_again_for_what_was_recorded_behind_the_cursor(self, telegram, alice, gold):
        run()
        foreign = paid(alice, gold, ago=LONG_AGO)
        assert run().found == 0

        assert run(full=True).found == 1

        assert Discrepancy.objects.get().event == foreign

    def test_reads_what_came_into_the_list_behind_the_cursor(self, telegram, invoice, monkeypatch):
        monkeypatch.setattr(mirror, "OVERLAP", 1)
        for number in range(3):
            telegram.local.adds_transaction({**WITHDRAWAL, "id": str(number)})
        run()
        charge = telegram.charges(invoice)
        rows = telegram.local._world.truth.transactions
        telegram.local._loop.now(lambda: rows.insert(1, rows.pop()))
        assert counts(run()) == {"found": 1}  # the balance has it, the rows have not
        assert open_kinds() == [DiscrepancyKind.BALANCE]

        done = run(full=True)

        assert counts(done) == {"recorded": 1, "other": 3, "healed": 1}
        assert PaymentEvent.objects.get().event_id == charge


class TestOneAtATime:
    def test_means_that_a_second_run_says_so(self, telegram):
        runs.begin(asked_by="schedule", full=False)

        with pytest.raises(AlreadyRunning):
            run()

    def test_does_not_wait_for_a_dead_one_which_gives_way_even_if_it_was_not_dead(self, telegram, invoice):
        telegram.charges(invoice)
        silent = runs.begin(asked_by="schedule", full=False)
        ReconciliationRun.objects.update(lease_until=database_now())

        assert run().recorded == 1

        silent.refresh_from_db()
        assert silent.outcome == RunOutcome.DIED
        with pytest.raises(TakenOver):
            reconciling.Reconciliation(silent, 0, print).carry_out()

    def test_goes_on_from_where_a_dead_one_came_to(self, telegram, invoice):
        telegram.sells(invoice)
        mirror.bring_up_to_date()
        dead = runs.begin(asked_by="schedule", full=True)
        ReconciliationRun.objects.update(
            compared_up_to=StarTransaction.objects.get().pk, lease_until=database_now() - timedelta(days=1)
        )

        assert counts(run()) == {}
        assert dead.full


class TestTheCursor:
    def test_has_no_age_without_a_bot(self, settings):
        settings.TELEGRAM_BOT_TOKEN = ""

        assert cursor_age() is None
        with pytest.raises(NoBot):
            run()

    def test_is_infinitely_old_when_nobody_has_ever_begun(self):
        assert cursor_age() == math.inf

    def test_is_as_old_as_the_last_run_that_came_to_its_end(self, telegram):
        run()
        at = database_now() - timedelta(minutes=50)
        ReconciliationRun.objects.update(true_at=at)
        runs.begin(asked_by="schedule", full=False)

        assert 3000 <= cursor_age() < 3100

    def test_is_as_old_as_the_first_run_while_none_has_come_to_its_end(self, telegram):
        telegram.faults.order("getMyStarBalance", "500", times=2)
        for _ in range(2):
            with pytest.raises(ChannelError):
                run()

        assert cursor_age() < 60

    def test_is_an_invariant_of_the_books(self, telegram):
        assert list(invariants.differences()) == []
        run()
        assert list(invariants.differences()) == []
        at = database_now() - timedelta(minutes=61)
        ReconciliationRun.objects.update(true_at=at)

        said = f"The ledger was last compared with Telegram's list at {at:%Y-%m-%d %H:%M} UTC."
        assert list(invariants.differences()) == [said]
