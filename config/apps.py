"""The configuration as an app: what the house counts and watches, and the commands that run it."""

from typing import Any

from django.apps import AppConfig, apps
from django.contrib.admin.apps import AdminConfig
from django.db.models.signals import post_migrate


class StaffAdminConfig(AdminConfig):
    default_site = "config.sign_in.StaffSite"


class ConfigConfig(AppConfig):
    name = "config"
    label = "starledger_config"

    def ready(self) -> None:
        from config import adopted, checks, confirmation, health, jobs, metrics  # noqa: F401 - some register themselves

        metrics.read_from_the_books(jobs.Queue())
        health.watch_backlog("jobs", jobs.oldest_seconds)
        last_to_migrate = list(apps.get_app_configs())[-1]  # when every permission is there
        post_migrate.connect(renew_roles, sender=last_to_migrate)


def renew_roles(**_: Any) -> None:
    from config import staff

    staff.renew_roles()
