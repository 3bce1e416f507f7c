"""The configuration as an app: system checks and the commands that run the house."""

from django.apps import AppConfig


class ConfigConfig(AppConfig):
    name = "config"
    label = "starledger_config"
