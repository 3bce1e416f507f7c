"""What must be right before a process may serve or work; each fault is one sentence."""

from __future__ import annotations

from django.conf import settings
from django.core.checks import Tags
from django.core.management.base import CommandError
from django.db import Error

from config.checks import faults
from config.health import SchemaBehind, require_current_schema


def require_database() -> None:
    """
    :raises CommandError: the database cannot be reached, or lacks migrations
    """
    try:
        require_current_schema()
    except SchemaBehind as error:
        raise CommandError(str(error)) from error
    except Error as error:
        message = "The database of DATABASE_URL does not answer; is it running, and are name and password right?"
        raise CommandError(message) from error


def require_production_settings(*, host: str = "localhost") -> None:
    """Asks the database too, so it has to be there.

    :param host: where the process will listen, if it does: development is for this machine alone
    :raises CommandError: this is production, and something is not as it needs to be
    """
    found = [*faults(Tags.security, host=host), *faults(Tags.database, host=host)]
    if found and settings.DEBUG and settings.LOOPBACK:
        message = f"Others would reach a server of development at {host}. Leave --host out, or set DEBUG=false."
        raise CommandError(message)
    if found:
        raise CommandError("\n".join(f"{fault.msg} {fault.hint or ''}".strip() + f" ({fault.id})" for fault in found))
