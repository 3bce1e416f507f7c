"""Revenue as the rollup and the ledger's tail tell it, against its meaning in plain Python."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import connection, transaction

from config import database
from config.database import database_now
from payments.identifiers import uuid7
from payments.models import (
    EventStatus,
    EventType,
    Hold,
    HoldReason,
    Origin,
    PaymentEvent,
    PaymentMethod,
    Resolution,
    RevenueDay,
    RevenueUpTo,
    Subscription,
    SubscriptionPayment,
)
from payments.models.ledger import DISPUTES, FEES
from payments.models.up_to import BEGINNING
from payments.ordinary import record_ordinary_payment
from payments.recording import record_payment, record_refund
from payments.revenue import REVENUE, Group, Revenue, fold_revenue, recompute_revenue, revenue
from tests.factories import InvoiceFactory, PlanFactory
from tests.payments.reports import payment_of, refund_of
from tests.payments.test_ordinary import NOTHING_BESIDE

pytestmark = pytest.mark.django_db

EVER = {"first_day": date(1970, 1, 1), "last_day": date(9999, 12, 31)}
CLOCK_ALONE = "SELECT statement_timestamp() - make_interval(secs => %s)"
STARS, CARD, STRIPE = PaymentMethod.TELEGRAM_STARS, PaymentMethod.TELEGRAM_PROVIDER, PaymentMethod.STRIPE


def paid(customer, plan, at: datetime, *, received_at=None, amount=500, currency="XTR", method=STARS, **facts):
    return PaymentEvent.objects.create(
        event_id=str(uuid7()),
        event_type=EventType.payment_by(method),
        payment_method=method,
        customer=customer,
        plan=plan,
        amount=amount,
        currency=currency,
        occurred_at=at,
        received_at=received_at or at,
        origin=Origin.WEBHOOK,
        **{"status": EventStatus.PROCESSED, **facts},
    )


def given_back(payment: PaymentEvent, at: datetime, *, received_at=None) -> PaymentEvent:
    return PaymentEvent.objects.create(
        event_id=payment.event_id,
        event_type=EventType.refund_by(PaymentMethod(payment.payment_method)),
        payment_method=payment.payment_method,
        customer=payment.customer,
        plan=payment.plan,
        amount=payment.amount,
        currency=payment.currency,
        occurred_at=at,
        received_at=received_at or at,
        origin=Origin.WEBHOOK,
        status=EventStatus.PROCESSED,
        refund_of=payment,
    )


def cost(payment: PaymentEvent, kind: EventType, amount: int, at: datetime, *, currency="", received_at=None):
    return PaymentEvent.objects.create(
        event_id=str(uuid7()),
        event_type=kind,
        payment_method=payment.payment_method,
        customer=payment.customer,
        plan=payment.plan,
        amount=amount,
        currency=currency or payment.currency,
        occurred_at=at,
        received_at=received_at or at,
        origin=Origin.WEBHOOK,
        status=EventStatus.PROCESSED,
        cost_of=payment,
    )


def renews(payment: PaymentEvent, *, is_renewal=True) -> None:
    """Let a payment be that of a period of a subscription of its own."""
    subscription = Subscription.objects.create(
        customer=payment.customer, plan=payment.plan, payment_method=payment.payment_method, reference="r",
        first_charge_id=payment.event_id, amount=payment.amount, currency=payment.currency,
        state_changed_at=payment.occurred_at, started_at=payment.occurred_at,
        current_period_end=payment.period_ends_at, grace_ends_at=payment.period_ends_at,
    )  # fmt: skip
    SubscriptionPayment.objects.create(
        event=payment, subscription=subscription, period_ends_at=payment.period_ends_at, is_renewal=is_renewal
    )


def held(payment: PaymentEvent, resolution: str = "", at: datetime | None = None) -> PaymentEvent:
    resolved = {"resolved_at": at, "resolved_by": "staff:1", "resolved_why": "so"} if resolution else {}
    Hold.objects.create(
        event=payment, reason=HoldReason.AMOUNT_MISMATCH, held_at=payment.received_at, resolution=resolution, **resolved
    )
    return payment


def by_hand(*, first_day: date, last_day: date, group_by=()) -> list[Revenue]:
    """The same from the whole ledger, in plain Python."""
    groups = [each for each in Group if each in group_by or each == Group.CURRENCY]
    sums: dict[tuple, list[int]] = {}

    def add(event: PaymentEvent, *figures: int) -> None:
        day = event.occurred_at.astimezone(UTC).date()
        if first_day <= day <= last_day:
            known = {
                Group.DAY: day,
                Group.MONTH: f"{day.year}-{day.month:02}",
                Group.PLAN_CODE: event.plan_id or "",
                Group.PAYMENT_METHOD: event.payment_method,
                Group.CURRENCY: event.currency,
            }
            row = sums.setdefault(tuple(known[each] for each in groups), [0] * 7)
            row[:] = [one + more for one, more in zip(row, figures, strict=True)]

    events = PaymentEvent.objects.payments().select_related("hold", "subscription_payment")
    for payment in events.prefetch_related("refunds", "costs"):
        counts = payment.status == EventStatus.PROCESSED or payment.hold.resolution == Resolution.GRANTED
        if counts:
            renewals = int(hasattr(payment, "subscription_payment") and payment.subscription_payment.is_renewal)
            add(payment, payment.amount, 0, 1, 0, 0, 0, renewals)
            for refund in payment.refunds.all():
                add(refund, 0, refund.amount, 0, 1, 0, 0, 0)
        for taken in payment.costs.all():
            sign = -1 if taken.event_type in {EventType.STRIPE_RETURNED_FEE, EventType.STRIPE_REINSTATED} else 1
            if taken.event_type in FEES:
                add(taken, 0, 0, 0, 0, 0, sign * taken.amount, 0)
            elif counts:
                add(taken, 0, 0, 0, 0, sign * taken.amount, 0, 0)
    return [Revenue(dict(zip(groups, key, strict=True)), *row) for key, row in sorted(sums.items())]


@pytest.fixture
def no_lag(monkeypatch):
    """The frontier rests on the open transactions; the lag covers no more than the moment in which one begins."""
    monkeypatch.setattr(database, "LAG", timedelta(milliseconds=20))


@contextmanager
def another_connection():
    try:
        yield
    finally:
        connection.close()


class TestRevenue:
    def test_counts_a_payment_and_its_refund_each_on_its_own_day(self, alice, gold):
        payment = paid(alice, gold, datetime(2026, 10, 31, 23, 59, 59, tzinfo=UTC))
        given_back(payment, datetime(2026, 11, 1, tzinfo=UTC))

        first, second = revenue(**EVER, group_by=[Group.DAY])
        assert (first.by[Group.DAY], first.gross, first.refunded, first.payments, first.refunds) == (
            date(2026, 10, 31), 500, 0, 1, 0,
        )  # fmt: skip
        assert (second.by[Group.DAY], second.net, second.payments, second.refunds) == (date(2026, 11, 1), -500, 0, 1)

    def test_never_adds_currencies(self, alice, gold):
        paid(alice, gold, database_now())
        paid(alice, gold, database_now(), amount=2500, currency="GBP", method=CARD)

        assert [(each.by, each.gross) for each in revenue(**EVER)] == [
            ({Group.CURRENCY: "GBP"}, 2500),
            ({Group.CURRENCY: "XTR"}, 500),
        ]

    @pytest.mark.parametrize("resolution", ["", Resolution.DISMISSED, Resolution.REFUNDED])
    def test_leaves_out_what_is_held_and_its_refund(self, alice, resolution):
        payment = held(paid(alice, None, database_now(), status=EventStatus.HELD), resolution, database_now())
        assert revenue(**EVER) == []

        given_back(payment, database_now())
        assert revenue(**EVER) == []

    def test_counts_a_held_payment_that_staff_granted_on_its_own_day(self, alice, gold):
        long_ago = datetime(2025, 1, 2, tzinfo=UTC)
        payment = held(paid(alice, gold, long_ago, status=EventStatus.HELD))
        fold_revenue()
        assert revenue(**EVER) == []

        Hold.objects.filter(event=payment).update(
            resolution=Resolution.GRANTED, resolved_at=database_now(), resolved_by="staff:1", resolved_why="true"
        )

        (row,) = revenue(**EVER, group_by=[Group.DAY])
        assert (row.by[Group.DAY], row.gross, row.payments) == (long_ago.date(), 500, 1)

    def test_is_less_what_banks_took_and_the_fees_each_on_its_own_day(self, alice, gold):
        at = datetime(2026, 10, 31, tzinfo=UTC)
        payment = paid(alice, gold, at, amount=2500, currency="GBP", method=STRIPE)
        cost(payment, EventType.STRIPE_FEE, 103, at)
        cost(payment, EventType.STRIPE_DISPUTED, 2500, at + timedelta(days=1))
        cost(payment, EventType.STRIPE_FEE, 1500, at + timedelta(days=1))
        cost(payment, EventType.STRIPE_REINSTATED, 2500, at + timedelta(days=2))
        cost(payment, EventType.STRIPE_RETURNED_FEE, 1500, at + timedelta(days=2))

        rows = revenue(**EVER, group_by=[Group.DAY])
        assert [(row.net, row.disputed, row.fees, row.proceeds) for row in rows] == [
            (2500, 0, 103, 2397),
            (0, 2500, 1500, -4000),
            (0, -2500, -1500, 4000),
        ]
        assert [row.proceeds for row in revenue(**EVER)] == [2397]

    def test_has_the_fee_in_the_currency_in_which_it_was_taken(self, alice, gold):
        payment = paid(alice, gold, database_now(), amount=2500, currency="USD", method=STRIPE)
        cost(payment, EventType.STRIPE_FEE, 80, database_now(), currency="GBP")

        assert [(row.by[Group.CURRENCY], row.gross, row.fees) for row in revenue(**EVER)] == [
            ("GBP", 0, 80),
            ("USD", 2500, 0),
        ]

    def test_bears_the_fee_of_a_payment_that_never_was_revenue_and_not_its_dispute(self, alice):
        payment = held(paid(alice, None, database_now(), status=EventStatus.HELD, currency="GBP", method=STRIPE))
        cost(payment, EventType.STRIPE_FEE, 45, database_now())
        cost(payment, EventType.STRIPE_DISPUTED, 500, database_now())

        assert [(row.gross, row.disputed, row.fees) for row in revenue(**EVER)] == [(0, 0, 45)]

    def test_survives_two_payments_of_the_largest_amount_there_is(self, alice, gold):
        for _ in range(2):
            paid(alice, gold, datetime(2025, 1, 2, tzinfo=UTC), amount=2**63 - 1)

        fold_revenue()

        assert [each.gross for each in revenue(**EVER)] == [2 * (2**63 - 1)]

    def test_follows_what_is_recorded(self, alice, gold):
        invoice = InvoiceFactory(customer=alice, plan=gold)
        record_payment(payment_of(invoice))
        assert [(each.gross, each.refunded) for each in revenue(**EVER)] == [(500, 0)]

        record_refund(refund_of(invoice))
        assert [(each.gross, each.refunded, each.net) for each in revenue(**EVER)] == [(500, 500, 0)]

    @pytest.mark.parametrize("seed", range(3))
    def test_is_what_the_ledger_says_however_much_of_it_is_folded(self, alice, bob, seed, no_lag):
        dice = random.Random(seed)
        plans = [PlanFactory(), PlanFactory(code="silver", entitlement="silver")]
        now = database_now()
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        moments = [now - timedelta(seconds=dice.randrange(100 * 86_400)) for _ in range(30)] + [
            midnight - timedelta(days=days, microseconds=dice.randrange(2)) for days in range(40)
        ]

        def something_happens(*, late: bool) -> None:
            """A payment, perhaps held, perhaps decided, perhaps refunded; received in the past, or now."""
            at, later = sorted(dice.sample(moments, 2))
            received = {"received_at": database_now()} if late else {}
            method, currency = dice.choice([(STARS, "XTR"), (CARD, "GBP"), (CARD, "JPY"), (STRIPE, "GBP")])
            facts = {"amount": dice.randrange(1, 10_000), "currency": currency, "method": method, **received}
            facts["period_ends_at"] = dice.choice([None, at + timedelta(days=30)])
            if dice.random() < 0.4:
                payment = paid(dice.choice([alice, bob]), dice.choice([*plans, None]), at, status="held", **facts)
                held(payment, dice.choice(["", *Resolution.values]), received.get("received_at", later))
            else:
                payment = paid(dice.choice([alice, bob]), dice.choice(plans), at, **facts)
            if dice.random() < 0.4:
                given_back(payment, later, **received)
            if method == STRIPE:
                for kind in dice.sample([*FEES, *DISPUTES], dice.randrange(5)):
                    fee_in = dice.choice(["GBP", "USD"]) if kind in FEES else ""
                    cost(payment, kind, dice.randrange(1, 100), later, currency=fee_in, **received)
            if payment.period_ends_at:
                renews(payment, is_renewal=dice.random() < 0.5)

        def is_right() -> bool:
            first_day, last_day = sorted(moment.date() for moment in dice.sample(moments, 2))
            groups = dice.sample(list(Group), dice.randrange(len(Group) + 1))
            for days in ({"first_day": first_day, "last_day": last_day}, EVER):
                assert revenue(**days, group_by=groups) == by_hand(**days, group_by=groups)
            return True

        for _ in range(40):
            something_happens(late=False)
        assert is_right()
        fold_revenue()
        assert is_right()
        for _ in range(20):
            something_happens(late=True)
            assert is_right()
            if dice.random() < 0.3:
                fold_revenue()
                assert is_right()
        recompute_revenue()
        assert is_right()

    def test_reads_the_recent_through_the_indexes_and_not_history(self, alice, gold):
        for hour in range(100):
            at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=hour)
            held(paid(alice, gold, at, status="held"), Resolution.GRANTED, at)
        fold_revenue()
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE payments_paymentevent, payments_hold")
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute(f"EXPLAIN {REVENUE.format(columns='currency')}", EVER)
            plan = "\n".join(line for (line,) in cursor.fetchall())

        assert plan.count("payment_event_by_receipt") == 2
        assert "hold_granted" in plan
        assert "Seq Scan on payments_paymentevent" not in plan


class TestAFold:
    def test_stays_behind_the_clock_and_never_goes_back(self):
        moment = fold_revenue()
        assert timedelta(seconds=60) <= database_now() - moment < timedelta(seconds=70)

        ahead = database_now() + timedelta(minutes=10)
        RevenueUpTo.objects.update(moment=ahead)
        assert fold_revenue() == ahead

    def test_is_put_right_by_recomputing(self, alice, gold):
        paid(alice, gold, datetime(2025, 1, 2, tzinfo=UTC))
        fold_revenue()
        RevenueDay.objects.update(gross=1, payments=7)

        recompute_revenue()

        assert revenue(**EVER) == by_hand(**EVER)


@pytest.mark.django_db(transaction=True)
class TestAPaymentThatCommitsAfterTheFold:
    def payments_counted(self, alice, gold) -> int:
        """A payment's transaction is open while the fold runs; it commits, and the next fold runs."""
        written, folded = threading.Event(), threading.Event()

        def pay() -> None:
            with another_connection(), transaction.atomic():
                paid(alice, gold, database_now())
                written.set()
                assert folded.wait(5)

        with ThreadPoolExecutor() as threads:
            payment = threads.submit(pay)
            assert written.wait(5)
            wait_for_lag()
            fold_revenue()
            assert revenue(**EVER) == []
            folded.set()
            payment.result()
        assert PaymentEvent.objects.count() == 1
        wait_for_lag()
        fold_revenue()
        return sum(each.payments for each in revenue(**EVER))

    def test_is_counted_once(self, alice, gold, no_lag):
        assert self.payments_counted(alice, gold) == 1

    def test_would_be_lost_by_the_clock_alone(self, alice, gold, no_lag, monkeypatch):
        """The twin: the frontier does not look at open transactions."""
        monkeypatch.setattr(database, "SETTLED", CLOCK_ALONE)

        assert self.payments_counted(alice, gold) == 0


def wait_for_lag() -> None:
    threading.Event().wait(2 * database.LAG.total_seconds())


@pytest.mark.django_db(transaction=True)
class TestFoldsBesidePayments:
    def test_lose_nothing_and_count_nothing_twice_while_payments_arrive(self, gold, no_lag):
        invoices = [InvoiceFactory(plan=gold) for _ in range(80)]
        numbers = iter(range(80))
        paying = threading.Event()
        seen: list[int] = []

        def pay(invoice) -> None:
            charge_id = f"stx{next(numbers)}"
            with another_connection():
                payment = payment_of(invoice, charge_id=charge_id)
                if record_ordinary_payment(payment, beside=NOTHING_BESIDE) is None:
                    record_payment(payment)
                if charge_id.endswith("7"):
                    record_refund(refund_of(invoice, charge_id=charge_id))

        def fold() -> None:
            with another_connection():
                while not paying.is_set():
                    fold_revenue()
                    seen.append(sum(each.payments for each in revenue(**EVER)))

        with ThreadPoolExecutor(5) as threads:
            folds = [threads.submit(fold) for _ in range(2)]
            list(threads.map(pay, invoices))
            paying.set()
            for each in folds:
                each.result()
        wait_for_lag()
        fold_revenue()

        assert revenue(**EVER) == by_hand(**EVER)
        assert (sum(each.payments for each in revenue(**EVER)), max(seen) <= 80) == (80, True)
        assert sum(RevenueDay.objects.values_list("payments", flat=True)) == 80

    def folded_twice_at_once(self, alice, gold) -> int:
        """A second fold begins while the first has not committed."""
        paid(alice, gold, datetime(2025, 1, 2, tzinfo=UTC))
        RevenueUpTo.objects.create(moment=BEGINNING)

        def fold() -> None:
            with another_connection():
                fold_revenue()

        open_still = transaction.atomic()
        open_still._from_testcase = True  # else what must be outermost may not be within
        with ThreadPoolExecutor() as threads:
            with open_still:
                fold_revenue()
                second = threads.submit(fold)
                threading.Event().wait(0.3)
            second.result()
        return sum(RevenueDay.objects.values_list("payments", flat=True))

    def test_wait_for_each_other(self, alice, gold):
        assert self.folded_twice_at_once(alice, gold) == 1

    def test_would_count_twice_without_their_lock(self, alice, gold, monkeypatch):
        """The twin: the row with the moment is read, not locked."""
        monkeypatch.setattr(RevenueUpTo, "locked", RevenueUpTo.objects.get)

        assert self.folded_twice_at_once(alice, gold) == 2
