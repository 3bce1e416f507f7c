"""The inbox, for Prometheus and for the readiness check."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from prometheus_client import Counter
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from config.database import database_now
from payments.models.letters import UNDECIDED
from telegram_bot.models import IncomingUpdate, WebhookState

UPDATES = Counter("telegram_updates_total", "Updates received, by type and what became of them.", ["type", "outcome"])


def count_update(*, kind: str, outcome: str) -> None:
    UPDATES.labels(kind, outcome).inc()


def inbox_oldest_seconds() -> float:
    """For how long the update that has been due the longest has waited; 0 when none is due."""
    now = database_now()
    oldest = IncomingUpdate.objects.oldest_due(now)
    return (now - oldest).total_seconds() if oldest else 0.0


class Inbox(Collector):
    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "starledger_inbox_oldest_seconds",
            "For how long the oldest due update has waited.",
            value=inbox_oldest_seconds(),
        )

        undecided = GaugeMetricFamily(
            "starledger_inbox_undecided", "Updates that wait for staff, by why they do.", labels=["status"]
        )
        for status in UNDECIDED:
            undecided.add_metric([status], IncomingUpdate.objects.filter(status=status).count())
        yield undecided
        yield from _webhook()

    def describe(self) -> list[Metric]:
        return []


def _webhook() -> Iterator[Metric]:
    """What Telegram last said about delivering to us; 0 before it was asked."""
    state = WebhookState.objects.first()
    values = {
        "pending_updates": ("Updates that wait at Telegram.", state.pending if state else 0),
        "last_error_timestamp_seconds": (
            "When a delivery failed last.",
            _seconds(state.last_error_at if state else None),
        ),
        "checked_timestamp_seconds": ("When Telegram was last asked.", _seconds(state.looked_at if state else None)),
    }
    for name, (meaning, value) in values.items():
        yield GaugeMetricFamily(f"starledger_webhook_{name}", meaning, value=value)


def _seconds(moment: datetime | None) -> float:
    return moment.timestamp() if moment else 0.0
