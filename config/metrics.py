"""What Prometheus reads: counters and histograms of this process, and figures read from the books at each scrape."""

from __future__ import annotations

import os

import prometheus_client
from prometheus_client import CollectorRegistry, multiprocess
from prometheus_client.registry import Collector

CONTENT_TYPE = prometheus_client.CONTENT_TYPE_LATEST

# Collectors that ask the database. They stand apart from the process's own registry, because with several processes
# theirs are added up, and what the books say must not be.
BOOKS = CollectorRegistry()

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]


def read_from_the_books(collector: Collector) -> None:
    """Have a collector asked at each scrape; called from an app's `ready()`."""
    BOOKS.register(collector)


def exposition() -> bytes:
    """Everything, in Prometheus' text format.

    :raises django.db.Error: the books cannot be read; better no figures than figures that seem to have shrunk
    """
    processes: CollectorRegistry = prometheus_client.REGISTRY
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        processes = CollectorRegistry()
        multiprocess.MultiProcessCollector(processes)  # type: ignore[no-untyped-call]
    return prometheus_client.generate_latest(BOOKS) + prometheus_client.generate_latest(processes)
