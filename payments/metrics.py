"""The payment metrics of the contract. Money is read from the books; how long things took is this process's memory."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from prometheus_client import Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from config.database import database_now
from payments import invariants, reconciling, tallies
from payments.models import Discrepancy, Hold, InvariantCheck, Invoice, Notice, Refund, RefundTally

# Finest where we want to be, and up to the ten seconds that Telegram waits.
BUCKETS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 7.5, 10.0)

PROCESSING_SECONDS = Histogram(
    "telegram_payment_processing_seconds", "From the receipt of a payment to the access it gave.", buckets=BUCKETS
)
PRECHECKS = Counter("telegram_precheck_total", "Checkouts decided, by result and reason.", ["result", "reason"])
PRECHECK_SECONDS = Histogram("telegram_precheck_seconds", "How long a checkout waited for our answer.", buckets=BUCKETS)


def observe_precheck(*, ok: bool, reason: str, seconds: float) -> None:
    PRECHECKS.labels("ok" if ok else "rejected", reason).inc()
    PRECHECK_SECONDS.observe(seconds)


def observe_payment(*, seconds: float) -> None:
    PROCESSING_SECONDS.observe(seconds)


class PaymentBooks(Collector):
    """Counters that survive every crash, because they are what the database says."""

    def collect(self) -> Iterator[Metric]:
        payments = CounterMetricFamily(
            "telegram_payments", "Invoices and payments, by result and plan.", labels=["result", "plan_code"]
        )
        value = CounterMetricFamily(
            "telegram_payment_value",
            "Money of processed payments, in the currency's smallest unit.",
            labels=["plan_code", "currency"],
        )
        counts: dict[tuple[str, str], int] = {}
        for total in tallies.totals():
            key = (total.result.value, total.plan_code)
            counts[key] = counts.get(key, 0) + total.count
            if total.currency:
                value.add_metric([total.plan_code, total.currency], total.amount)
        for labels, count in counts.items():
            payments.add_metric(labels, count)
        yield payments
        yield value
        yield GaugeMetricFamily(
            "telegram_payments_pending",
            "Invoices open and unexpired.",
            value=Invoice.objects.open_at(database_now()).count(),
        )
        yield GaugeMetricFamily(
            "starledger_held_payments",
            "Payments that wait for a person's decision.",
            value=Hold.objects.unresolved().count(),
        )
        yield GaugeMetricFamily(
            "starledger_held_payments_oldest_seconds",
            "For how long the oldest of them has waited.",
            value=_seconds_since(Hold.objects.oldest_unresolved()),
        )
        yield GaugeMetricFamily(
            "starledger_messages_oldest_seconds",
            "For how long the oldest message owed to a buyer has not been sent.",
            value=_seconds_since(Notice.objects.oldest_owed()),
        )

        refunds = CounterMetricFamily(
            "telegram_refunds",
            "Refunds that have ended, by result and by how we learnt of it; refused ones by who asked.",
            labels=["result", "source"],
        )
        for tally in RefundTally.objects.order_by("result", "source"):
            refunds.add_metric([tally.result, tally.source], tally.count)
        yield refunds
        yield GaugeMetricFamily(
            "starledger_refunds_unconfirmed_oldest_seconds",
            "For how long the oldest refund has been under way; those that wait for a second person are not.",
            value=_seconds_since(Refund.objects.oldest_under_way()),
        )
        age = reconciling.cursor_age()
        if age is not None:
            yield GaugeMetricFamily(
                "starledger_reconcile_cursor_age_seconds",
                "For how long the ledger has not been compared with Telegram's list; absent without a bot.",
                value=age,
            )
        yield GaugeMetricFamily(
            "starledger_reconcile_discrepancies",
            "Disagreements with Telegram that wait for a person.",
            value=Discrepancy.objects.unresolved().count(),
        )

        differences = GaugeMetricFamily(
            "starledger_invariant_differences",
            "Contradictions in the books, by the check that finds them.",
            labels=["check"],
        )
        checked_at = GaugeMetricFamily(
            "starledger_invariant_checked_timestamp_seconds",
            "When each check last looked; 0 when it never came to an end.",
            labels=["check"],
        )
        known = InvariantCheck.objects.in_bulk()
        for name in sorted(check.what for check in invariants.checks()):
            check = known.get(name) or InvariantCheck(check_name=name)
            differences.add_metric([name], check.differences)
            checked_at.add_metric([name], check.checked_at.timestamp() if check.checked_at else 0)
        yield differences
        yield checked_at

    def describe(self) -> list[Metric]:
        """Nothing: to register must not mean to ask the database."""
        return []


def _seconds_since(moment: datetime | None) -> float:
    return (database_now() - moment).total_seconds() if moment else 0.0
