"""What must be right before a process may serve or work; each fault is one sentence."""

from __future__ import annotations

import re

from django.core.management.base import CommandError
from django.db import Error

from config.health import SchemaBehind, require_current_schema

# Telegram allows shorter secrets; we do not.
WEBHOOK_SECRET = re.compile(r"[A-Za-z0-9_-]{32,256}")
WHAT_A_SECRET_IS = "32 to 256 random characters of A-Z, a-z, 0-9, _ and -"  # noqa: S105 - its form


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
