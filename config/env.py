"""The environment, read in one place: `.env` of the checkout first, the process's own variables above it."""

import os
import re
from ipaddress import ip_network
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


def amounts(name: str) -> dict[str, int]:
    """A variable like `XTR=5000,GBP=20000`: an amount in the smallest unit for each currency; nothing when unset.

    :raises ImproperlyConfigured: naming the variable and what is wrong there
    """
    found: dict[str, int] = {}
    for part in env.list(name, default=[]):
        currency, _, amount = part.strip().partition("=")
        if not re.fullmatch("[A-Z]{3}", currency) or not re.fullmatch("[0-9]{1,18}", amount) or currency in found:
            message = f"{name} holds “{part}”: it must look like XTR=5000,GBP=20000, each currency once."
            raise ImproperlyConfigured(message)
        found[currency] = int(amount)
    return found


def networks(name: str) -> list[str]:
    """A variable like `10.0.0.0/8,2001:db8::1`, or `unix` for a socket of the file system; nothing when unset.

    :raises ImproperlyConfigured: naming the variable and what is wrong there
    """
    found = [part.strip() for part in env.list(name, default=[])]
    for part in found:
        if part == "unix":
            continue
        try:
            ip_network(part)
        except ValueError as error:
            message = f"{name} holds “{part}”: it must look like 192.0.2.1,10.0.0.0/8,2001:db8::/32. {error}."
            raise ImproperlyConfigured(message) from error
    return found


def required(name: str, *, why: str) -> str:
    """A variable without which nothing may start.

    :raises ImproperlyConfigured: naming the variable and what to put there
    """
    value = str(env.str(name, default=""))
    if not value:
        message = f"{name} is not set. {why}"
        raise ImproperlyConfigured(message)
    return value
