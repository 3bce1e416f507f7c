"""`recheck_ledger` finds what contradicts the facts, and nothing in books that are sound."""

from contextlib import contextmanager
from io import StringIO
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection

from config.database import database_now
from entitlements.by_hand import grant_by_hand, revoke_by_hand
from entitlements.models import Customer
from payments import tallies
from payments.discrepancies import settle
from payments.holds import dismiss_hold
from payments.invariants import checks, from_to, one_of
from payments.models import (
    Discrepancy,
    DiscrepancyKind,
    EventType,
    Hold,
    Order,
    PaymentMethod,
    ReconciliationRun,
    RevenueDay,
    RevenueUpTo,
    Tally,
    TallyUpTo,
)
from payments.recording import record_payment, record_refund
from payments.revenue import recompute_revenue
from payments.subscription_orders import order_by_staff
from tests.factories import InvoiceFactory, PlanFactory
from tests.payments.reports import cost, payment_of, refund_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def books(alice, bob, gold):
    """A payment, one that is held, one given back, one that a refund overtook, one of a subscription, one with a fee
    that a bank disputed in vain, and what staff do; summed up to now."""
    invoices = [InvoiceFactory(customer=alice, plan=gold), *InvoiceFactory.create_batch(3, plan=gold)]
    record_payment(payment_of(invoices[0], charge_id="stxKept"))
    record_payment(payment_of(invoices[1], charge_id="stxHeld", payer=bob.telegram_user_id))
    record_payment(payment_of(invoices[2], charge_id="stxBack"))
    record_refund(refund_of(invoices[2], charge_id="stxBack"))
    record_refund(refund_of(invoices[3], charge_id="stxEarly"))
    record_payment(payment_of(InvoiceFactory(plan=gold), charge_id="stxDismissed", payer=bob.telegram_user_id))
    dana = User.objects.create_superuser("dana")
    dismiss_hold(hold=Hold.objects.get(event__event_id="stxDismissed"), staff=dana, why="A test of ours.")
    given = grant_by_hand(
        customer=bob, entitlement="silver", duration=None, staff=dana, reason="A gift.", token=uuid4()
    )
    revoke_by_hand(grant=given, staff=dana, reason="A mistake.")
    club = PlanFactory(code="club", entitlement="club", recurring=True, prices=[])
    paid = record_payment(payment_of(InvoiceFactory(customer=bob, plan=club), charge_id="stxClub")).event
    order_by_staff(
        subscription=paid.subscription_payment.subscription, what=Order.CANCEL, staff=dana, reason="He asked."
    )
    sold = InvoiceFactory(
        plan=PlanFactory(code="silver"), payment_method=PaymentMethod.STRIPE, amount=2500, currency="GBP"
    )
    costs = (
        cost(EventType.STRIPE_FEE, 103, cost_id="txnPaid"),
        cost(EventType.STRIPE_DISPUTED, 2500, cost_id="txnDisputed"),
        cost(EventType.STRIPE_REINSTATED, 2500, cost_id="txnWon"),
    )
    record_payment(payment_of(sold, charge_id="pi_1", payer=sold.customer, costs=costs))
    run = ReconciliationRun.objects.create(asked_by="schedule", lease_until=database_now())
    found = Discrepancy.objects.create(kind=DiscrepancyKind.BALANCE, telegram_says="1 ⭐", we_have="2 ⭐", run=run)
    settle(discrepancy=found, staff=dana, reason="Apple took it back.")
    TallyUpTo.objects.create(moment=database_now())
    RevenueUpTo.objects.create(moment=database_now())
    tallies.recompute()
    recompute_revenue()


def recheck() -> str:
    """What the command says; its last line when it fails is the error's."""
    out = StringIO()
    try:
        call_command("recheck_ledger", stdout=out, stderr=StringIO())
    except CommandError as error:
        return f"{out.getvalue()}{error}\n"
    return out.getvalue()


@contextmanager
def superuser():
    """Somebody whom no trigger and no key holds back."""
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        yield cursor
        cursor.execute("SET session_replication_role = origin")


PLANTED = {
    "reconciliation": "UPDATE payments_reconciliationrun SET started_at = now() - interval '2 hours'",
    "guards": "UPDATE pg_trigger SET tgenabled = 'D' WHERE tgname LIKE 'pgtrigger_ledger%'",
    "sums of customers": (
        "UPDATE payments_paymentevent SET amount = amount - 1 WHERE event_id = 'stxBack' AND refund_of_id IS NULL"
    ),
    "fees and disputes": "UPDATE payments_paymentevent SET currency = 'USD' WHERE event_id = 'txnWon'",
    "what banks brought back": "UPDATE payments_paymentevent SET amount = amount + 1 WHERE event_id = 'txnWon'",
    "parts given back": (
        "UPDATE payments_paymentevent SET amount = amount - 1 WHERE event_id = 'stxBack' AND refund_of_id IS NULL"
    ),
    "messages that are true": "UPDATE payments_notice SET kind = 'payment_confirmed' WHERE kind = 'payment_held'",
    "refunds under way": (
        "INSERT INTO payments_refund"
        " (id, payment_id, reason, requested_by, status, attempts, checks, listed, refusal, detail,"
        "  created_at, next_attempt_at)"
        " SELECT gen_random_uuid(), id, 'why', 'system', 'verify', 1, 0, 0, '', '',"
        "  now() - interval '1 hour', now() - interval '16 minutes'"
        " FROM payments_paymentevent WHERE event_id = 'stxKept'"
    ),
    "inbox": (
        "INSERT INTO telegram_bot_incomingupdate (bot_id, digest, kind, body, status, received_at, next_attempt_at)"
        " VALUES (1, '', 'message', '', 'pending', now() - interval '1 hour', now() - interval '16 minutes')"
    ),
    "dismissed updates": (
        "INSERT INTO telegram_bot_incomingupdate (bot_id, digest, kind, body, status)"
        " VALUES (1, '', 'message', '', 'dismissed')"
    ),
    "entitlements": "UPDATE entitlements_entitlement SET active_until = active_until + interval '1 second'",
    "what payments gave": "DELETE FROM payments_hold WHERE event_id IS NOT NULL",
    "payments behind grants": "UPDATE entitlements_grant SET source = source || 'x' WHERE source LIKE '%Kept'",
    "messages owed": "DELETE FROM payments_notice WHERE kind = 'refunded'",
    "answers of the providers": "DELETE FROM payments_providerrecord",
    "paid invoices": "UPDATE payments_invoice SET status = 'expired' WHERE status = 'paid'",
    "subscriptions": "UPDATE payments_subscription SET renewals = 1",
    "subscriptions by day": "UPDATE payments_subscriptionday SET monthly_begun = monthly_begun + 1",
    "payments of subscriptions": "DELETE FROM payments_subscriptionpayment",
    "how subscriptions stand": "UPDATE payments_subscription SET state = 'failed'",
    "what is renewed": "UPDATE entitlements_entitlement SET renews = NOT renews WHERE code = 'club'",
    "refunds": "UPDATE payments_paymentevent SET amount = 499 WHERE refund_of_id IS NOT NULL",
    "access after refunds": "UPDATE entitlements_grant SET revoked_at = NULL, revoked_reason = ''",
    "intents to refund": (
        "INSERT INTO payments_refund"
        " (id, payment_id, reason, requested_by, status, attempts, checks, listed, refusal, detail)"
        " SELECT gen_random_uuid(), refund_of_id, 'why', 'system', 'verify', 1, 0, 0, '', ''"
        " FROM payments_paymentevent WHERE refund_of_id IS NOT NULL"
    ),
    "what staff did": "DELETE FROM entitlements_auditentry",
    "what staff took back": "DELETE FROM entitlements_auditentry WHERE what = 'took access back'",
    "early refunds": "UPDATE payments_earlyrefund SET event_id = 'stxKept'",
    "tallies": "UPDATE payments_tally SET count = count + 1 WHERE result = 'sent'",
    "revenue": "UPDATE payments_revenueday SET refunded = refunded + 1",
}


class TestRecheckLedger:
    def test_finds_nothing_in_sound_books(self, books):
        assert recheck() == "The books are sound.\n"

    def test_says_what_differs_and_fails(self, books):
        RevenueDay.objects.filter(plan_code="gold_1m").update(gross=3)

        said, verdict, _ = recheck().split("\n")
        assert said.startswith("The revenue of 20")
        assert said.endswith(
            "gold_1m XTR telegram_stars has 3 by 2 payments (0 renewals) less 500 by 1 refunds, 0 disputed and"
            " 0 of fees, the ledger says 1000 by 2 (0) less 500 by 1, 0 and 0."
        )
        assert verdict == "The books differ from their facts in 1 places."

    @pytest.mark.parametrize("check", checks(), ids=lambda check: check.what)
    def test_finds_what_was_planted(self, books, check):
        with superuser() as hand:
            hand.execute(PLANTED[check.what])
            assert hand.rowcount > 0

        found = set(check.differences(lambda rows: None))
        assert found
        assert "The books differ" in recheck()
        if check.by_customer:
            everybody = sorted(Customer.objects.values_list("pk", flat=True))
            for among in (one_of(everybody), from_to(everybody[0], everybody[-1])):
                assert set(check.differences(lambda rows: None, among=among)) == found
            assert list(check.differences(lambda rows: None, among=one_of([0]))) == []

    @pytest.mark.parametrize(
        "planted",
        [
            "DELETE FROM pg_trigger WHERE tgname LIKE 'pgtrigger_ledger%'",
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'payment_event_once'::regclass",
            "UPDATE payments_notice SET kind = 'payment_held' WHERE kind = 'refunded'",
            "DELETE FROM entitlements_entitlement",
            "DELETE FROM entitlements_auditentry WHERE subject_type = 'payments.hold'",
            "DELETE FROM entitlements_auditentry WHERE subject_type = 'payments.discrepancy'",
            "DELETE FROM entitlements_auditentry WHERE what = 'gave access'",
            "UPDATE payments_paymentevent SET origin = 'staff' WHERE refund_of_id IS NOT NULL",
            "DELETE FROM entitlements_auditentry WHERE what = 'cancelled a subscription'",
            "UPDATE payments_subscription SET current_period_end = current_period_end + interval '1 second'",
            "UPDATE entitlements_entitlement SET renews = true WHERE code = 'gold'",
            "UPDATE entitlements_auditentry SET what = 'gave access'",
            "DELETE FROM entitlements_grant",
            "UPDATE entitlements_grant SET duration = duration + interval '1 day' WHERE source LIKE '%Kept'",
            "UPDATE payments_paymentevent SET event_id = 'stxOther' WHERE event_id = 'stxKept'",
            "DELETE FROM payments_notice WHERE kind = 'payment_held'",
            "DELETE FROM payments_tally",
            "DELETE FROM payments_revenueday",
            "UPDATE payments_revenueday SET day = day - 1",
            "UPDATE payments_revenueday SET gross = gross + 1",
            "UPDATE payments_revenueday SET payments = payments + 1",
            "UPDATE payments_revenueday SET refunds = refunds + 1",
            "UPDATE payments_revenueday SET disputed = disputed + 1",
            "UPDATE payments_revenueday SET fees = fees + 1",
            "UPDATE payments_revenueday SET renewals = renewals + 1",
            "UPDATE payments_paymentevent SET cost_of_id = NULL WHERE event_id = 'txnPaid'",
            "UPDATE payments_tally SET amount = amount + 1 WHERE result = 'success'",
            "UPDATE payments_paymentevent SET amount = amount + 1",
        ],
    )
    def test_finds_other_things_too(self, books, planted):
        with superuser() as hand:
            hand.execute(planted)
            assert hand.rowcount > 0

        assert "The books differ" in recheck()

    def test_tells_how_far_it_has_come(self, books, monkeypatch):
        monkeypatch.setattr("payments.management.commands.recheck_ledger.SECONDS_OF_SILENCE", 0)
        progress = StringIO()

        call_command("recheck_ledger", stdout=StringIO(), stderr=progress)

        assert "Checking entitlements …\n    1 rows so far\n" in progress.getvalue()


def test_each_check_has_a_planted_difference():
    assert set(PLANTED) == {check.what for check in checks()}


def test_the_rollups_of_the_sound_books_are_not_empty(books):
    assert Tally.objects.count() >= 3
    assert RevenueDay.objects.exists()
