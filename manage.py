#!/usr/bin/env python
"""Every administrative command of Starledger.

In development (DEBUG=true) and without a DATABASE_URL a command uses this checkout's own PostgreSQL: the one that
another command keeps running, or one that runs as long as the command does.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # what a command says is read at once, by a pipe or journal too
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


@contextmanager
def development_database() -> Iterator[None]:
    """Give a development command its database; production names its own in DATABASE_URL."""
    from config.embedded_postgres import PostgresUnavailable, for_checkout
    from config.env import env, read_env_file

    read_env_file()
    if os.environ.get("DATABASE_URL") or not env.bool("DEBUG", default=False):
        yield
        return
    server = for_checkout()
    is_new = not server.home.exists()
    try:
        server.start()
    except PostgresUnavailable as error:
        sys.exit(str(error))
    if is_new:
        sys.stderr.write(f"This checkout now has a PostgreSQL of its own; its data is in {server.home}.\n")
    os.environ["DATABASE_URL"] = server.url
    try:
        yield
    finally:
        server.stop()


if __name__ == "__main__":
    main()
