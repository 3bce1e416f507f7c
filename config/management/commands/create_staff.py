"""`manage.py create_staff NAME --role support|finance|admin`."""

from __future__ import annotations

from io import StringIO
from textwrap import wrap
from typing import Any
from urllib.parse import parse_qs, urlsplit

import segno
from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from config.staff import Role, enrol


class Command(BaseCommand):
    help = "Make an account for the admin with a role and a second factor; for a name that exists, renew both."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="What the person types to sign in.")
        parser.add_argument("--role", required=True, choices=[role.value for role in Role])

    def handle(self, *args: Any, name: str, role: str, **options: Any) -> None:
        enrolment = enrol(name=name, role=Role(role))
        key = parse_qs(urlsplit(enrolment.address).query)["secret"][0]
        picture = StringIO()
        segno.make(enrolment.address, error="l").terminal(picture, compact=True)
        self.stdout.write(f"{name} signs in at {settings.PUBLIC_URL}/admin/ with the role {role}.")
        self.stdout.write(f"Password: {enrolment.password}" if enrolment.password else "The password stays as it was.")
        self.stdout.write("\nSecond factor: scan this with an authenticator app.\n")
        self.stdout.write(picture.getvalue())
        self.stdout.write(f"Or type this key into it: {' '.join(wrap(key, 4))}")
        self.stdout.write(f"Or open this on the phone: {enrolment.address}")
        self.stdout.write(
            f"\nThe app then shows a code that {name} types when signing in. None of this is shown again;"
            " run the command anew for a lost phone, which ends the old factor."
        )
