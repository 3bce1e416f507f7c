"""The configuration as an app: what the house counts and watches, and the commands that run it."""

from django.apps import AppConfig


class ConfigConfig(AppConfig):
    name = "config"
    label = "starledger_config"

    def ready(self) -> None:
        from config import health, jobs, metrics

        metrics.read_from_the_books(jobs.Queue())
        health.watch_backlog("jobs", jobs.oldest_seconds)
