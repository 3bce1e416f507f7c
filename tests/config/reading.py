"""Reading /metrics as Prometheus does."""

from django.test import Client
from prometheus_client.parser import text_string_to_metric_families


def figures(client: Client) -> dict[str, float]:
    """Each sample by its name and labels, as `telegram_payments_total{plan_code="gold_1m",result="sent"}`."""
    text = client.get("/metrics").content.decode()
    read = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            read[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return read
