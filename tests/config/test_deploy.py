"""The files of deploy/ and the guide that uses them: what they name exists, and they fit each other."""

import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from django.db import connection

from config import serving, worker
from config.embedded_postgres import find_binaries
from config.env import BASE_DIR
from tests.ports import free_port

DEPLOY = BASE_DIR / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
SERVICES = [unit for unit in UNITS if unit.stem != "starledger-backup"]
TIMERS = sorted((DEPLOY / "systemd").glob("*.timer"))
GUIDE = (BASE_DIR / "docs" / "operations.md").read_text()
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
FENCED = re.compile(r"^ *```\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
BLOCKS = [re.sub(r"^ *# ", "", block, flags=re.MULTILINE) for block in FENCED.findall(GUIDE) if "# " in block]
HERE = re.compile(r"<<'?END'?\n.*?^END$", re.MULTILINE | re.DOTALL)  # what a command is given to read
OURS = ("migrate", "web", "worker")
MOST_EXPOSED = 1.3  # of ten, as systemd-analyze counts

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None and not os.environ.get("REQUIRE_ALL"), reason="systemd is not installed"
)


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def options(unit: Path, name: str, port: str = "8000") -> list[str]:
    """What a unit sets an option to, each time that it does, when it is started for this port."""
    found = re.findall(rf"^{name}=(.*)$", unit.read_text(), re.MULTILINE)
    return [value.replace("%i", port).replace("%t", "/run") for value in found]


def environment(unit: Path, port: str = "8000") -> dict[str, str]:
    return dict(setting.split("=", 1) for setting in options(unit, "Environment", port))


@pytest.fixture
def installed(tmp_path) -> Path:
    """The units as they are, for this checkout in place of the installed version."""
    for unit in (*UNITS, *TIMERS):
        text = unit.read_text().replace("/opt/starledger/current", str(BASE_DIR))
        (tmp_path / unit.name.replace("@.", "@8000.")).write_text(text)
    return tmp_path


@pytest.fixture
def settings_file(tmp_path) -> Path:
    """The one that the guide makes, with a database that is not there."""
    [text] = re.findall(r"<<END\n(DATABASE_URL=postgres://starledger@.*?)END", GUIDE, re.DOTALL)
    text = re.sub(r"\$\(openssl rand -hex 32\)", lambda _: secrets.token_hex(32), text)
    text = re.sub(r"<the token .*>", "100000001:of-the-guide", text).replace("$name", "shop.example")
    path = tmp_path / "starledger.env"
    path.write_text(text.replace("host=/run/postgresql", "connect_timeout=2&host=/nowhere"))
    return path


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


class TestTheServices:
    @pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
    def test_run_what_there_is_with_the_settings_of_the_guide(self, unit, settings_file):
        [command] = options(unit, "ExecStart", port=str(free_port()))
        command = command.replace("/opt/starledger/current", str(BASE_DIR))
        for name, value in environment(unit).items():
            command = command.replace(f"${{{name}}}", value)

        ended = subprocess.run(
            command.split(),
            env={"PATH": os.environ["PATH"], "ENV_FILE": str(settings_file)},
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )

        assert ended.returncode == 1
        assert "CommandError: The database of DATABASE_URL does not answer" in ended.stderr

    def test_are_begun_again_however_often_they_end(self):
        assert len(SERVICES) == 2
        for unit in SERVICES:
            assert options(unit, "Restart") == ["always"]
            assert options(unit, "StartLimitIntervalSec") == ["0"]
            assert unit.read_text().index("StartLimitIntervalSec") < unit.read_text().index("[Service]")

    def test_add_up_what_they_count_in_a_directory_of_one_web_server(self):
        [web, worker] = sorted(SERVICES)
        ports = [target.rpartition(":")[2] for target in scraped("starledger")]
        shared = [environment(web, port)[serving.METRICS_DIRECTORY] for port in ports]

        assert len(set(shared)) == len(ports) == 2
        assert [f"/run/{options(web, 'RuntimeDirectory', port)[0]}" for port in ports] == shared
        assert environment(worker)[serving.METRICS_DIRECTORY] in shared
        assert f"/run/{options(worker, 'RuntimeDirectory')[0]}" in shared


def scraped(job: str) -> list[str]:
    config = yaml.safe_load((DEPLOY / "observability" / "prometheus.yml").read_text())
    return [
        target
        for scrape in config["scrape_configs"]
        if scrape["job_name"] == job
        for targets in scrape["static_configs"]
        for target in targets["targets"]
    ]


def test_each_web_server_of_the_guide_is_begun_served_and_watched():
    in_nginx = re.findall(r"^ +server 127\.0\.0\.1:(\d+)", (DEPLOY / "nginx.conf").read_text(), re.MULTILINE)
    [enabled] = re.findall(r"systemctl enable --now (starledger-web@8000 starledger-web.*) starledger-worker", GUIDE)

    assert [f"127.0.0.1:{port}" for port in in_nginx] == scraped("starledger")
    assert [unit.rpartition("@")[2] for unit in enabled.split()] == in_nginx


class TestAVersion:
    """What deploy/starledger starts."""

    @pytest.fixture
    def current(self, tmp_path) -> Path:
        """Leads to the first of two versions, each of which says its name when it is told to."""
        for version in ("one", "two"):
            directory = tmp_path / version
            (directory / "deploy").mkdir(parents=True)
            shutil.copy(DEPLOY / "starledger", directory / "deploy")
            (directory / ".venv" / "bin").mkdir(parents=True)
            (directory / ".venv" / "bin" / "python").symlink_to(sys.executable)
            (directory / "late.py").write_text(f"version = {version!r}")
            (directory / "manage.py").write_text("input()\nimport late, sys\nprint(late.version, *sys.argv[1:])")
        (tmp_path / "current").symlink_to("one")
        return tmp_path / "current"

    @staticmethod
    def begun(current: Path) -> subprocess.Popen[str]:
        """A process that has got as far as Python."""
        command = [current / "deploy" / "starledger", "a word", "another"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/")
        while "manage.py" not in Path(f"/proc/{process.pid}/cmdline").read_text():
            assert process.poll() is None
            time.sleep(0.02)
        return process

    def test_stays_the_same_for_a_process_when_another_becomes_the_current_one(self, current):
        with self.begun(current) as before:
            python = Path(f"/proc/{before.pid}/cmdline").read_text().partition("\0")[0]
            current.unlink()
            current.symlink_to("two")
            with self.begun(current) as after:
                said = [process.communicate("\n", timeout=60)[0] for process in (before, after)]

        assert python == f"{current.parent}/one/.venv/bin/python"  # its packages are beside it
        assert said == ["one a word another\n", "two a word another\n"]


def test_processes_have_the_time_to_end_by_themselves():
    longest = max(serving.STOP_SECONDS, worker.STOP_SECONDS)
    given = [int(seconds) for unit in SERVICES for seconds in options(unit, "TimeoutStopSec")]
    given += [int(COMPOSE["services"][name]["stop_grace_period"].rstrip("s")) for name in ("web", "worker")]

    assert len(given) == 4
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

    def test_take_nothing_of_this_machine_from_the_checkout_which_an_upgrade_replaces(self):
        files = [service["env_file"] for service in COMPOSE["services"].values() if "env_file" in service]
        mounted = [volume.partition(":")[0] for volume in COMPOSE["services"]["proxy"]["volumes"]]

        assert {Path(file).parent for file in files} == {Path("/etc/starledger")}
        assert "/etc/starledger/nginx.conf" in mounted
        assert all(Path(path).is_absolute() for path in mounted)
        assert "sed -i" not in GUIDE


def libpq() -> dict[str, str]:
    """The environment in which PostgreSQL's programs find the test's server."""
    parts = connection.get_connection_params()
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE"}
    told = {variable: str(parts[name]) for name, variable in names.items() if parts.get(name)}
    return {"PATH": f"{find_binaries()}:{os.environ['PATH']}"} | told


@pytest.mark.xdist_group("containers")  # all tests share one server, and there is one role of that name
class TestTheDatabaseOfTheContainers:
    @pytest.fixture(autouse=True)
    def made(self, transactional_db):
        """By the script that its image runs when it is new."""
        [script] = [volume for volume in COMPOSE["services"]["database"]["volumes"] if "initdb.d" in volume]
        environment = libpq() | {"STARLEDGER_PASSWORD": "it's a \\ password"}
        subprocess.run([DEPLOY / script.partition(":")[0]], env=environment, check=True)
        yield
        with connection.cursor() as cursor:
            cursor.execute("DROP DATABASE starledger")
            cursor.execute("DROP ROLE starledger")

    def test_has_an_ordinary_role(self):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls, rolpassword"
                " FROM pg_authid WHERE rolname = 'starledger'"
            )
            [(may_more, password)] = cursor.fetchall()

        assert not may_more
        assert password.startswith("SCRAM-SHA-256$")

    def test_takes_a_dump_that_this_role_then_owns(self, tmp_path, alice):
        environment = libpq()
        subprocess.run([DEPLOY / "backup", tmp_path], env=environment, check=True)
        [dump] = tmp_path.iterdir()
        [restoring] = re.findall(r"exec -T database (pg_restore .*) <", GUIDE)

        with dump.open() as file:
            subprocess.run(restoring.split(), env=environment, stdin=file, check=True)

        asked = (
            "SELECT tableowner, (SELECT count(*) FROM entitlements_customer) FROM pg_tables"
            " WHERE tablename LIKE 'payments_%'"
        )
        command = ["psql", "--dbname=starledger", "--tuples-only", "--no-align", "--command", asked]
        told = subprocess.run(command, env=environment | {"PGUSER": "starledger"}, capture_output=True, text=True)
        assert set(told.stdout.split()) == {"starledger|1"}


class TestTheBackup:
    @pytest.mark.parametrize("place", [(), ("env", "PGAPPNAME=elsewhere")])
    def test_can_be_restored_and_drops_old_ones(self, transactional_db, tmp_path, alice, place):
        old = tmp_path / "starledger-20200101T000000Z.dump"
        old.touch()
        os.utime(old, (0, 0))

        made = subprocess.run(
            [DEPLOY / "backup", tmp_path, *place], env=libpq(), capture_output=True, text=True, check=False
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
            env={"PATH": f"{find_binaries()}:{os.environ['PATH']}", "PGHOST": "127.0.0.1", "PGPORT": "1"},
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

    @pytest.mark.parametrize("number", range(len(BLOCKS)))
    def test_has_commands_that_the_shell_understands(self, number):
        block = re.sub(r"<[a-zA-Z@][^<>]*>", "something", BLOCKS[number])

        checked = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True, check=False)

        assert (checked.returncode, checked.stderr) == (0, "")

    def test_puts_no_password_where_everybody_can_read_it(self):
        """The arguments of a program are for all to read; what the shell does itself and what is piped are not."""
        commands = [line for block in BLOCKS for line in re.sub(HERE, "", block).splitlines()]
        telling = [line for line in commands if re.search(r"\$password|\$replica\b|postgres://", line)]

        assert all(line.startswith("echo ") for line in telling), telling
        assert any("$password" in block for block in BLOCKS)

    def test_installs_what_it_runs(self):
        installing = [line for block in BLOCKS for line in block.splitlines() if line.startswith("apt-get install")]
        systemd, containers = (set(line.split()) for line in installing[:2])

        for program in ("git", "openssl", "curl", "patch", "certbot"):
            assert any(re.search(rf"\b{program} ", block) for block in BLOCKS)
            assert program in systemd & containers
        assert {"nginx", "postgresql", "python3-venv"} <= systemd
        assert {"docker.io", "docker-compose", "docker-buildx"} <= containers

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
