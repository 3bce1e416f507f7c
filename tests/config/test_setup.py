"""What a newcomer types: make, manage.py and the demo, in a copy of the checkout."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import psutil
import pytest
from django_migration_linter import MigrationLinter

from config.postgres_guard import end_with_parent
from tests.ports import free_port

CHECKOUT = Path(__file__).parents[2]
COPIED = (
    "Makefile", "manage.py", ".env.example", "requirements", "config", "entitlements", "payments", "telegram_bot",
    "templates",
)  # fmt: skip
PATIENCE = 120  # seconds; a demo takes five on an idle machine


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkout with an environment and without any state; its database is dropped in the end."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in COPIED:
        source = CHECKOUT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, copy / name)
    (copy / ".venv" / "bin").mkdir(parents=True)
    python = copy / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (copy / ".venv" / ".installed").touch()
    yield copy
    forgotten = run(copy, sys.executable, "-m", "config.embedded_postgres")
    assert forgotten.returncode == 0, forgotten.stderr


@pytest.fixture(scope="module")
def configured(checkout: Path) -> Path:
    """The same with a `.env`."""
    assert run(checkout, "make", ".env").returncode == 0
    return checkout


def environment() -> dict[str, str]:
    """That of a newcomer: without what the tests set, and without coverage of what is started."""
    ours = (
        "DATABASE_URL",
        "ENV_FILE",
        "DEBUG",
        "PUBLIC_URL",
        "SECRET_KEY",
        "DJANGO_",
        "PYTEST_",
        "COV",
        "LOG_",
        "MAKE",
        "MFLAGS",
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith((*ours, "JWT_", "TELEGRAM_"))}
    return {**kept, "LOG_FORMAT": "console"}


def run(checkout: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=checkout,
        env={**environment(), **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def manage(checkout: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return run(checkout, sys.executable, "manage.py", *arguments, **variables)


def variables(file: Path) -> dict[str, str]:
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


class TestMake:
    def test_tells_what_there_is_when_asked_nothing(self, checkout: Path) -> None:
        said = run(checkout, "make").stdout

        for target in (
            "install",
            "run",
            "test",
            "thorough",
            "lint",
            "outages",
            "mutants",
            "bench",
            "chaos",
            "cluster",
            "drill",
            "trials",
            "fuzz",
            "sbom",
            "audit",
            "forget",
            "lock",
        ):
            assert f"make {target} " in said

    def test_writes_an_environment_with_secrets_of_its_own(self, configured: Path) -> None:
        example, written = variables(configured / ".env.example"), variables(configured / ".env")

        assert written.keys() == example.keys()
        secrets = [written[name] for name in ("SECRET_KEY", "JWT_SIGNING_KEY", "TELEGRAM_WEBHOOK_SECRET")]
        assert len(set(secrets)) == 3
        assert all(re.fullmatch(r"[A-Za-z0-9_-]{64}", secret) for secret in secrets)
        assert (configured / ".env").stat().st_mode & 0o777 == 0o600

    def test_leaves_an_existing_environment_alone(self, configured: Path) -> None:
        before = (configured / ".env").read_text()

        run(configured, "make", ".env")

        assert (configured / ".env").read_text() == before

    @pytest.mark.parametrize(
        ("python", "sentence"),
        [
            ("exit 1", "Starledger needs Python 3.11 or later"),
            ('case "$*" in *ensurepip*) exit 1;; esac', "has no venv module: install it first"),
        ],
    )
    def test_says_what_is_wrong_with_the_python(
        self, checkout: Path, tmp_path: Path, python: str, sentence: str
    ) -> None:
        (tmp_path / "python").write_text(f"#!/bin/sh\n{python}\n")
        (tmp_path / "python").chmod(0o755)

        made = run(checkout, "make", "install", f"PYTHON={tmp_path}/python", f"VENV={tmp_path}/venv")

        assert made.returncode != 0
        assert sentence in made.stderr


class TestManage:
    def test_gives_a_development_command_its_own_database(self, configured: Path) -> None:
        told = manage(
            configured, "shell", "-c", "from django.db import connection as c; c.cursor(); print(c.pg_version)"
        )

        assert told.returncode == 0, told.stderr
        assert int(told.stdout.split()[-1]) >= 140000

    def test_says_in_production_that_a_database_is_missing(self, configured: Path) -> None:
        told = manage(configured, "check", DEBUG="false", PUBLIC_URL="https://shop.example")

        assert told.returncode == 1
        assert told.stderr.startswith("DATABASE_URL is not set. Point it at a PostgreSQL")
        assert len(told.stderr.splitlines()) == 1

    def test_says_what_to_do_when_no_postgresql_is_there(self, configured: Path, tmp_path: Path) -> None:
        assert run(configured, "make", "forget").returncode == 0

        told = manage(configured, "check", STARLEDGER_POSTGRES_BIN=str(tmp_path))

        assert told.returncode == 1
        assert "apt-get install postgresql" in told.stderr
        assert len(told.stderr.splitlines()) == 1

    def test_names_a_missing_secret(self, configured: Path) -> None:
        told = manage(configured, "check", SECRET_KEY="", DATABASE_URL="postgresql:///unused")

        assert told.returncode == 1
        assert told.stderr.startswith("SECRET_KEY is not set.")
        assert len(told.stderr.splitlines()) == 1


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def soon(holds: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    return holds()


class Demo:
    """`manage.py demo`, running."""

    def __init__(self, checkout: Path) -> None:
        self.port, self.telegram_port = free_port(), free_port()
        self.process = subprocess.Popen(
            [
                sys.executable,
                "manage.py",
                "demo",
                f"--port={self.port}",
                f"--telegram-port={self.telegram_port}",
                f"--stripe-port={free_port()}",
            ],
            cwd=checkout,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=end_with_parent,
        )
        self.said = ""
        assert self.process.stdout
        for line in self.process.stdout:
            self.said += line
            if line.strip().startswith("Logs"):
                break
        self.family = psutil.Process(self.process.pid).children(recursive=True) if self.process.poll() is None else []

    def end(self) -> str:
        """Wait for the end, and tell what was said before it."""
        rest, _ = self.process.communicate(timeout=60)
        return rest

    def nobody_is_left(self) -> bool:
        return not any(map(lives, self.family)) and is_free(self.port) and is_free(self.telegram_port)


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # it ended between the two questions
        return False


class TestTheDemo:
    @pytest.fixture
    def demo(self, configured: Path) -> Iterator[Demo]:
        demo = Demo(configured)
        yield demo
        demo.process.kill()
        demo.process.communicate()

    def test_names_a_taken_port_and_starts_nothing(self, configured: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            told = manage(
                configured, "demo", f"--port={port}", f"--telegram-port={free_port()}", f"--stripe-port={free_port()}"
            )

        assert told.returncode == 1
        assert f"Port {port} cannot be used" in told.stderr
        assert "make run PORT=" in told.stderr
        assert not (configured / ".starledger" / "logs").exists()

    def test_prints_where_everything_is_lets_time_pass_and_leaves_nothing_behind(self, demo: Demo) -> None:
        addresses = re.findall(r"http://localhost:\d+/\S*", demo.said)
        assert len(demo.family) >= 3, demo.said
        key = re.search(r"Api-Key [a-z0-9]{8}\.[A-Za-z0-9_-]{43}", demo.said)
        assert key
        for address in addresses:
            fetched = httpx.get(address, headers={"Authorization": key[0]}, follow_redirects=True)
            assert fetched.status_code == 200, address
        [access] = [address for address in addresses if address.endswith("/entitlements")]
        before = datetime.fromisoformat(httpx.get(access, headers={"Authorization": key[0]}).json()["server_time"])

        passed = {"advance": 30 * 86_400}
        httpx.post(f"http://127.0.0.1:{demo.telegram_port}/local/clock", json=passed, timeout=60).raise_for_status()

        after = datetime.fromisoformat(httpx.get(access, headers={"Authorization": key[0]}).json()["server_time"])
        assert after - before >= timedelta(days=30)
        demo.process.send_signal(signal.SIGTERM)

        assert demo.end().strip().endswith("Stopped.")
        assert demo.process.returncode == 0
        assert demo.nobody_is_left()

    def test_keeps_its_data_and_leaves_nothing_behind_when_killed(self, demo: Demo, configured: Path) -> None:
        password = re.search(r"admin / (\S+)", demo.said)
        assert password
        check = (
            f"from django.contrib.auth import authenticate as a; print(a(username='admin', password='{password[1]}'))"
        )
        assert manage(configured, "shell", "-c", check).stdout.split()[-1] == "admin"

        demo.process.kill()

        assert soon(demo.nobody_is_left)

    def test_reports_a_part_that_dies_and_stops_the_others(self, demo: Demo) -> None:
        worker = next(one for one in demo.family if "worker" in one.cmdline())

        worker.kill()

        rest = demo.end()
        assert "The worker has ended" in rest
        assert "Its last lines" in rest
        assert demo.process.returncode == 1
        assert demo.nobody_is_left()


class TestTools:
    def test_are_told_of_the_oldest_python(self) -> None:
        tools = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]

        assert tools["ruff"]["target-version"] == "py311"
        assert tools["mypy"]["python_version"] == "3.11"


class TestMigrations:
    @pytest.mark.django_db
    def test_can_be_applied_while_the_code_before_them_serves(self) -> None:
        linter = MigrationLinter(
            str(CHECKOUT),
            include_apps=["entitlements", "payments", "telegram_bot"],
            # Make a unique index anew, on tables with a row for each refund ever asked for and each reconciliation.
            ignore_name=["0008_let_a_second_person_approve_refunds", "0019_compare_with_provider_reports"],
            no_cache=True,
        )

        linter.lint_all_migrations()

        assert linter.nb_valid >= 3
        assert not linter.has_errors
