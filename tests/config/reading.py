"""Reading /metrics as Prometheus does."""

from django.test import Client
from prometheus_client.parser import text_string_to_metric_families


def families(text: str) -> dict[str, tuple[str, set[str]]]:
    """Of each metric its type, and the names of its labels as far as it has been seen."""
    found: dict[str, tuple[str, set[str]]] = {}
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found[name] = (family.type, {label for sample in family.samples for label in sample.labels} - {"le"})
    return found


def figures(client: Client) -> dict[str, float]:
    """Each sample by its name and labels, as `telegram_payments_total{plan_code="gold_1m",result="sent"}`."""
    return read(client.get("/metrics").content.decode())


def read(text: str) -> dict[str, float]:
    """The same of a text."""
    samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            samples[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return samples
