"""The inbox of Stripe, for Prometheus and for the readiness check."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Counter
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from config.database import database_now
from payments.models import Dispute, StripeEvent

EVENTS = Counter("starledger_stripe_events", "Events of Stripe, by type and what became of them.", ["type", "outcome"])


def count_event(*, kind: str, outcome: str) -> None:
    EVENTS.labels(kind, outcome).inc()


def oldest_seconds() -> float:
    """For how long the event that has been due the longest has waited; 0 when none is due."""
    now = database_now()
    oldest = StripeEvent.objects.oldest_due(now)
    return (now - oldest).total_seconds() if oldest else 0.0


class StripeBooks(Collector):
    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "starledger_stripe_events_oldest_seconds",
            "For how long the oldest due event of Stripe has waited.",
            value=oldest_seconds(),
        )
        yield GaugeMetricFamily(
            "starledger_stripe_events_undecided",
            "Events of Stripe that wait for staff.",
            value=StripeEvent.objects.undecided().count(),
        )
        yield GaugeMetricFamily(
            "starledger_disputes_open", "Payments that a bank wants back.", value=Dispute.objects.open().count()
        )

    def describe(self) -> list[Metric]:
        return []
