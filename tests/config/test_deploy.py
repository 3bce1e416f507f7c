"""The files of deploy/ and the guide that uses them: what they name exists, and they fit each other."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from config import serving, worker
from config.embedded_postgres import find_binaries
from config.env import BASE_DIR
from tests.postgres_urls import test_database_url

DEPLOY = BASE_DIR / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
TIMERS = sorted((DEPLOY / "systemd").glob("*.timer"))
GUIDE = (BASE_DIR / "docs" / "operations.md").read_text()
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
OURS = ("migrate", "web", "worker")
MOST_EXPOSED = 1.3  # of ten, as systemd-analyze counts

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None and not os.environ.get("REQUIRE_ALL"), reason="systemd is not installed"
)


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def installed(tmp_path) -> Path:
    """The units where their programs are: this checkout and its Python in place of /opt/starledger."""
    checkout = tmp_path / "opt" / "starledger"
    (checkout / ".venv" / "bin").mkdir(parents=True)
    for program in (".venv/bin/python", "deploy/backup"):
        (checkout / program).parent.mkdir(exist_ok=True)
        (checkout / program).touch(0o755)
    units = tmp_path / "units"
    units.mkdir()
    for unit in (*UNITS, *TIMERS):
        text = unit.read_text().replace("/opt/starledger", str(checkout))
        (units / unit.name.replace("@.", "@8000.")).write_text(text)
    return units


@needs_systemd
class TestTheUnits:
    def test_are_understood_by_systemd(self, installed):
        checked = run("systemd-analyze", "verify", *sorted(installed.iterdir()))

        assert (checked.returncode, checked.stderr) == (0, "")

    @pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
    def test_give_next_to_no_rights(self, installed, unit):
        threshold = f"--threshold={round(10 * MOST_EXPOSED)}"

        checked = run(
            "systemd-analyze", "security", "--offline=true", threshold, installed / unit.name.replace("@.", "@8000.")
        )

        assert checked.returncode == 0, checked.stdout.splitlines()[-1]


def test_processes_have_the_time_to_end_by_themselves():
    longest = max(serving.STOP_SECONDS, worker.STOP_SECONDS)
    units = [unit for unit in UNITS if "ExecStart=/opt/starledger/.venv" in unit.read_text()]
    given = [int(re.search(r"TimeoutStopSec=(\d+)", unit.read_text())[1]) for unit in units]
    given += [int(COMPOSE["services"][name]["stop_grace_period"].rstrip("s")) for name in ("web", "worker")]

    assert len(units) == 2
    assert min(given) > longest + 1


class TestTheContainers:
    @pytest.mark.parametrize("name", OURS)
    def test_of_ours_can_write_nothing_and_become_nobody(self, name):
        service = COMPOSE["services"][name]

        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert "privileged" not in service

    def test_run_as_a_user_without_rights(self):
        lines = (DEPLOY / "Dockerfile").read_text().splitlines()
        users = [line.removeprefix("USER ") for line in lines if line.startswith("USER ")]

        assert users == ["10001:10001"]

    def test_install_by_hashes_alone(self):
        assert "--require-hashes --only-binary :all:" in (DEPLOY / "Dockerfile").read_text()

    def test_wait_for_the_database_and_the_migrations(self):
        for name in ("web", "worker"):
            assert COMPOSE["services"][name]["depends_on"] == {
                "database": {"condition": "service_healthy"},
                "migrate": {"condition": "service_completed_successfully"},
            }
        assert "healthcheck" in COMPOSE["services"]["database"]
        assert "healthcheck" in COMPOSE["services"]["web"]

    def test_leave_nothing_open_but_the_proxy(self):
        published = {name: service.get("ports", []) for name, service in COMPOSE["services"].items()}

        assert published.pop("web") == ["127.0.0.1:8000:8000"]
        assert not any(published.values())
        assert [name for name, service in COMPOSE["services"].items() if "network_mode" in service] == ["proxy"]

    def test_get_every_part_of_the_code_and_no_secret(self):
        taken = set((DEPLOY / "Dockerfile.dockerignore").read_text().splitlines())
        copied = re.findall(r"^COPY (?!--from)(\S+)", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)

        assert "*" in taken
        assert {f"!{each}" for each in copied} <= taken
        assert {"manage.py", "config", "entitlements", "payments", "telegram_bot", "templates"} <= set(copied)
        assert "deploy/*.env" in (BASE_DIR / ".gitignore").read_text()


class TestTheBackup:
    def test_can_be_restored_and_drops_old_ones(self, transactional_db, tmp_path, alice):
        old = tmp_path / "starledger-20200101T000000Z.dump"
        old.touch()
        os.utime(old, (0, 0))

        made = subprocess.run(
            [DEPLOY / "backup", tmp_path],
            env={"PATH": f"{find_binaries()}:{os.environ['PATH']}", "DATABASE_URL": test_database_url()},
            capture_output=True,
            text=True,
            check=False,
        )

        assert made.returncode == 0, made.stderr
        [dump] = tmp_path.iterdir()
        assert made.stdout == f"{dump}\n"
        assert re.fullmatch(r"starledger-\d{8}T\d{6}Z\.dump", dump.name)
        assert dump.stat().st_mode & 0o777 == 0o600
        restored = run(find_binaries() / "pg_restore", "--data-only", "--table=entitlements_customer", "--file=-", dump)
        assert "Alice" in restored.stdout

    def test_that_fails_leaves_nothing_behind_and_says_so(self, tmp_path):
        kept = tmp_path / "starledger-20200101T000000Z.dump"
        kept.touch()
        os.utime(kept, (0, 0))

        made = subprocess.run(
            [DEPLOY / "backup", tmp_path],
            env={
                "PATH": f"{find_binaries()}:{os.environ['PATH']}",
                "DATABASE_URL": "postgres://nobody@127.0.0.1:1/none",
            },
            capture_output=True,
            check=False,
        )

        assert made.returncode != 0
        assert list(tmp_path.iterdir()) == [kept]


class TestTheGuide:
    def test_names_files_that_exist(self):
        linked = set(re.findall(r"\]\((\.\./[^)#]+)\)", GUIDE))

        assert "../deploy/pgbouncer.ini" in linked
        assert [link for link in linked if not (BASE_DIR / "docs" / link).exists()] == []

    def test_names_commands_that_exist(self):
        commands = {
            file.stem
            for app in ("config", "entitlements", "payments", "telegram_bot")
            for file in (BASE_DIR / app / "management" / "commands").glob("[a-z]*.py")
        } | {"migrate"}
        used = set(re.findall(r"^# starledger (\w+)", GUIDE, re.MULTILINE))

        assert {"migrate", "reconcile", "recheck_ledger", "doctor"} <= used <= commands

    def test_names_units_that_exist(self):
        units = {unit.stem.replace("@", "") for unit in UNITS}

        assert set(re.findall(r"\b(starledger-[a-z]+)\b(?!\.env)", GUIDE)) <= units

    def test_names_targets_that_exist(self):
        makefile = (BASE_DIR / "Makefile").read_text()

        for target in re.findall(r"`make (\w+)", GUIDE):
            assert f"\n{target}:" in makefile
