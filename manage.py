#!/usr/bin/env python
"""Every administrative command of Starledger.

In development (DEBUG=true) and without a DATABASE_URL a command uses this checkout's own PostgreSQL: the one that
another command keeps running, or one that runs as long as the command does.
"""

import os
import sys
from contextlib import AbstractContextManager, nullcontext


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        from django.core.exceptions import ImproperlyConfigured
        from django.core.management import execute_from_command_line
    except ImportError:
        sys.exit("Django is not installed in this Python: run `make install`, then .venv/bin/python manage.py …")
    with development_database():
        try:
            execute_from_command_line(sys.argv)
        except ImproperlyConfigured as error:
            sys.exit(f"{error}")


def development_database() -> AbstractContextManager[object]:
    """The server a development command needs; production names its own in DATABASE_URL."""
    from config.embedded_postgres import PostgresUnavailable, for_checkout
    from config.env import env, read_env_file

    read_env_file()
    if os.environ.get("DATABASE_URL") or not env.bool("DEBUG", default=False):
        return nullcontext()
    server = for_checkout()
    new = not server.home.exists()
    try:
        server.start()
    except PostgresUnavailable as error:
        sys.exit(str(error))
    if new:
        sys.stderr.write(f"This checkout now has a PostgreSQL of its own; its data is in {server.home}.\n")
    os.environ["DATABASE_URL"] = server.url
    return server


if __name__ == "__main__":
    main()
