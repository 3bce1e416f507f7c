"""`make run`: all of Starledger on this machine, with a local Telegram to buy in."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from argparse import ArgumentParser
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import httpx
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from config import movable_clock
from config.api.authentication import create_api_client
from config.database import database_now
from config.embedded_postgres import for_checkout
from config.env import BASE_DIR
from config.postgres_guard import end_with_parent
from entitlements.models import ApiClient, Scope
from payments.models import Plan

HOST = "127.0.0.1"
STATE = BASE_DIR / ".starledger"
CATALOGUE = BASE_DIR / "payments" / "demo_catalog.toml"
START_SECONDS = 120
STOP_SECONDS = 10
LAST_LINES = 15


@dataclass(frozen=True)
class Part:
    """One of the demo's processes."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def refuse_if_ended(self) -> None:
        if self.process.poll() is not None:
            lines = self.log.read_text(errors="replace").splitlines()[-LAST_LINES:]
            words = "\n".join(f"    {line}" for line in lines)
            how = f"The {self.name} has ended (exit code {self.process.returncode})"
            raise CommandError(f"{how}. Its last lines, of {self.log}:\n{words}")

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Parts:
    """The demo's processes. They end in the reverse order of their start, when the block ends or the demo is killed."""

    def __init__(self) -> None:
        self._running: list[Part] = []
        self.logs = STATE / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> "Parts":
        return self

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):  # a second Ctrl-C does not leave half of them behind
            signal.signal(number, signal.SIG_IGN)
        while self._running:
            self._running.pop().end()

    def start(self, name: str, *arguments: str) -> Part:
        log = self.logs / f"{name.replace(' ', '-')}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=BASE_DIR,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches the demo alone, which ends the others in order
                preexec_fn=partial(end_with_parent, signal.SIGTERM),
            )
        part = Part(name, process, log)
        self._running.append(part)
        return part

    def wait_for(self, part: Part, port: int) -> None:
        """Wait until a process listens on its port."""
        deadline = time.monotonic() + START_SECONDS
        while not _is_listening(port):
            self.refuse_if_any_ended()
            if time.monotonic() > deadline:
                raise CommandError(f"The {part.name} was not up within {START_SECONDS} s; see {part.log}.")
            time.sleep(0.05)

    def refuse_if_any_ended(self) -> None:
        for part in self._running:
            part.refuse_if_ended()


class Command(BaseCommand):
    help = "Runs everything on this machine: database, local Telegram and Stripe, web server and worker."
    requires_system_checks: list[str] = []  # they would be made again by each part

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=8000, help="of the shop (8000)")
        parser.add_argument("--telegram-port", type=int, default=8081, help="of the local Telegram (8081)")
        parser.add_argument("--stripe-port", type=int, default=8082, help="of the local Stripe (8082)")

    def handle(self, *args: Any, port: int, telegram_port: int, stripe_port: int, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError("The demo is for development: set DEBUG=true in .env, or use `manage.py serve`.")
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _interrupt)
        local = settings.TELEGRAM_IS_LOCAL
        local_stripe = stripe_port if local and not settings.STRIPE_SECRET_KEY else None
        for wanted in (port, *((telegram_port,) if local else ()), *((local_stripe,) if local_stripe else ())):
            _refuse_taken(wanted)
        if local:
            _choose("PUBLIC_URL", f"http://localhost:{port}")
            _choose("TELEGRAM_API_BASE_URL", f"http://{HOST}:{telegram_port}")
            _choose("TELEGRAM_WEBHOOK_URL", f"http://{HOST}:{port}/api/v1/telegram/webhook")
        if local_stripe:
            _choose("STRIPE_API_BASE", f"http://{HOST}:{local_stripe}")
            _choose("STRIPE_SECRET_KEY", f"sk_test_{secrets.token_hex(12)}")
            os.environ["STRIPE_WEBHOOK_SECRET"] = f"whsec_{secrets.token_hex(16)}"
        try:
            self._say("Preparing the database …")
            credentials = _prepare_database()
            with Parts() as parts:
                self._say("Starting web server, worker and Telegram …")
                if local_stripe:
                    _start_stripe(parts, local_stripe, port)
                self._start(parts, port, telegram_port if local else None)
                self._show(parts.logs, port, credentials, _buyer(telegram_port) if local else None)
                while True:
                    parts.refuse_if_any_ended()
                    time.sleep(0.5)
        except KeyboardInterrupt:
            self._say("\nStopped.")

    def _start(self, parts: Parts, port: int, telegram_port: int | None) -> None:
        manage = str(BASE_DIR / "manage.py")
        if telegram_port:
            state = str(STATE / "telegram.json")
            followed = ["--followed"] if _has_private_database() else []
            telegram = parts.start(
                "local Telegram", manage, "local_telegram", "--port", str(telegram_port), "--state", state, *followed
            )
        web = parts.start("web server", manage, "serve", "--host", HOST, "--port", str(port))
        parts.start("worker", manage, "worker")
        if telegram_port:
            parts.wait_for(telegram, telegram_port)
            call_command("set_webhook", stdout=StringIO())
        else:
            parts.start("poller", manage, "poll")
        parts.wait_for(web, port)

    def _show(self, logs: Path, port: int, credentials: dict[str, str], buyer: "Buyer | None") -> None:
        shop = f"http://localhost:{port}"
        key = f"-H 'Authorization: Api-Key {credentials['api_key']}'"
        rows = {
            "Buy something": buyer.chat if buyer else "write /start to your bot",
            "See the payment": f"{shop}/admin/   {credentials['admin']}",
            "Ask for the access": f"curl {key} {shop}/api/v1/customers/{buyer.id if buyer else 'ID'}/entitlements",
            "Read the API": f"{shop}/api/docs/",
            "Metrics": f"{shop}/metrics",
            "Logs": f"{logs}/",
        }
        lines = "\n".join(f"  {name:20}{value}" for name, value in rows.items())
        self._say(f"\nStarledger is running. Ctrl-C stops it, `make forget` drops its data.\n\n{lines}\n")

    def _say(self, words: str) -> None:
        self.stdout.write(words)
        self.stdout.flush()


def _start_stripe(parts: Parts, stripe_port: int, port: int) -> None:
    part = parts.start(
        "local Stripe", "-m", "payments.sandbox",
        "--port", str(stripe_port), "--secret-key", os.environ["STRIPE_SECRET_KEY"],
        "--webhook", f"http://{HOST}:{port}/webhook/stripe", "--webhook-secret", os.environ["STRIPE_WEBHOOK_SECRET"],
    )  # fmt: skip
    parts.wait_for(part, stripe_port)


@dataclass(frozen=True)
class Buyer:
    """Somebody in the local Telegram, and the page with his chat."""

    id: int
    chat: str


def _buyer(telegram_port: int) -> Buyer:
    """The first person of the local Telegram; two are made where nobody is."""
    address = f"http://localhost:{telegram_port}"
    people = httpx.get(f"{address}/local/people").raise_for_status().json()
    for name, language in () if people else (("Alice", "en"), ("Boris", "ru")):
        person = {"first_name": name, "username": name.lower(), "language_code": language}
        people.append(httpx.post(f"{address}/local/people", json=person).raise_for_status().json())
    return Buyer(people[0]["id"], f"{address}/#{people[0]['id']}")


def _choose(name: str, value: str) -> None:
    """Set a variable of the environment for the parts, and the setting made of it for this process."""
    os.environ[name] = value
    setattr(settings, name, value)


def _prepare_database() -> dict[str, str]:
    """Bring the tables up to date, and fill an empty database with what the demo needs."""
    call_command("migrate", verbosity=0)
    if settings.TELEGRAM_IS_LOCAL and _has_private_database():
        movable_clock.install()
    if not Plan.objects.exists():
        call_command("load_catalog", str(CATALOGUE), stdout=StringIO())
    credentials = {"admin": _admin(), "api_key": _api_key()}
    connection.close()
    return credentials


def _has_private_database() -> bool:
    """Whether it is this checkout's own: of any other the clock is left alone."""
    return os.environ["DATABASE_URL"] == for_checkout().url


def _admin() -> str:
    """How to sign in to the admin."""
    users = get_user_model().objects
    if not users.filter(username="admin").exists():
        password = secrets.token_urlsafe(12)
        users.create_superuser("admin", password=password)
        _keep("admin_password", password)
    return f"admin / {_kept().get('admin_password', 'the password you chose')}"


def _api_key() -> str:
    """A key that may read who has access and what was paid."""
    key = _kept().get("api_key", "")
    if not ApiClient.objects.filter(prefix=key.partition(".")[0]).exists():
        key = create_api_client(
            name="demo", scopes=[Scope.ENTITLEMENTS_READ, Scope.PAYMENTS_READ], lifetime=None, now=database_now()
        )
        _keep("api_key", key)
    return key


def _kept() -> dict[str, str]:
    file = STATE / "demo.json"
    kept: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
    return kept


def _keep(name: str, value: str) -> None:
    file = STATE / "demo.json"
    file.parent.mkdir(exist_ok=True)
    kept = {**_kept(), name: value}
    file.touch(mode=0o600)
    file.write_text(json.dumps(kept))


def _refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise CommandError(
                f"Port {port} cannot be used ({error.strerror}). Choose others: make run PORT=8001 TELEGRAM_PORT=8091 "
                "STRIPE_PORT=8092"
            ) from error


def _is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
