"""The environment, read in one place: `.env` of the checkout first, the process's own variables above it."""

import os
from pathlib import Path

import environ
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()


def read_env_file() -> None:
    """Read `.env`, or the file that `ENV_FILE` names; an empty `ENV_FILE` means none. Set variables win."""
    name = os.environ.get("ENV_FILE", str(BASE_DIR / ".env"))
    if name and Path(name).is_file():
        environ.Env.read_env(name)


def required(name: str, *, why: str) -> str:
    """A variable without which nothing may start.

    :raises ImproperlyConfigured: naming the variable and what to put there
    """
    value = str(env.str(name, default=""))
    if not value:
        message = f"{name} is not set. {why}"
        raise ImproperlyConfigured(message)
    return value
