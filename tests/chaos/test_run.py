"""The rig in small: real processes, really killed, and a verdict that says so."""

import json
import subprocess
import sys

import pytest

from config.env import BASE_DIR
from tests.chaos.database import MARKER, CrashingPostgres, NotOurs
from tests.chaos.plan import Way


def test_a_small_run_kills_and_loses_nothing(tmp_path):
    verdict = tmp_path / "verdict.json"
    arguments = ["--payments=60", "--kills=3", "--crashes=1", "--seed=35", "--workers=1", f"--json={verdict}"]

    run = subprocess.run(
        [sys.executable, "-m", "tests.chaos", *arguments], cwd=BASE_DIR, capture_output=True, text=True, check=False
    )

    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.splitlines()[-1] == "PASSED (seed 35): nothing lost, nothing doubled, nothing wrong."
    told = json.loads(verdict.read_text())
    assert (told["verdict"], told["facts"]["payments made"]) == ("PASSED", 60)
    assert (told["injected"]["processes killed"], told["injected"]["database crashes"]) == (3, 1)


@pytest.fixture(scope="module")
def database():
    with CrashingPostgres() as database:
        yield database


class TestTheDatabase:
    @pytest.mark.parametrize("way", Way)
    def test_keeps_what_was_committed_when_it_crashes(self, database, way):
        with database.connect() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS kept (way text)")
            connection.execute("INSERT INTO kept VALUES (%s)", [way])
        before = database.own_postmaster()

        assert database.crash(way)

        assert database.own_postmaster() != before
        with database.connect() as connection:
            assert (way,) in connection.execute("SELECT way FROM kept").fetchall()

    def test_is_left_alone_without_the_mark_of_its_run(self, database):
        marker = database._data / MARKER
        mark = marker.read_text()
        before = database.own_postmaster()
        marker.write_text("another run's")
        try:
            with pytest.raises(NotOurs):
                database.crash(Way.KILL)
        finally:
            marker.write_text(mark)

        assert database.own_postmaster() == before
