import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx
import psutil
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from config import health
from config.env import BASE_DIR
from tests.ports import free_port
from tests.postgres_urls import test_database_url


@pytest.fixture
def port() -> int:
    return free_port()


@contextmanager
def serving(port: int, *options: str, **environment: str):
    """`manage.py serve` in production settings on the test's database, until the end of the block."""
    process = subprocess.Popen(
        [sys.executable, "manage.py", "serve", "--port", str(port), *options],
        cwd=BASE_DIR,
        env={
            **os.environ,
            "DATABASE_URL": test_database_url(),
            "METRICS_TOKEN": "the-token-of-the-tests",
            **environment,
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until_it_answers(process, port)
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=15)


def wait_until_it_answers(process: subprocess.Popen, port: int) -> None:
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        try:
            httpx.get(f"http://127.0.0.1:{port}/healthz")
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(process.communicate(timeout=1)[1] if process.poll() is not None else "it does not answer")


def refusal(port: int, **environment: str) -> str:
    """What `serve` says as it refuses to start."""
    ended = subprocess.run(
        [sys.executable, "manage.py", "serve", "--port", str(port)],
        cwd=BASE_DIR,
        env={**os.environ, "DATABASE_URL": test_database_url(), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 1
    assert ended.stdout == ""
    said = [line for line in ended.stderr.splitlines() if not line.startswith("{")]
    assert len(said) == 1
    return said[0]


@pytest.mark.django_db(transaction=True)
class TestServe:
    def test_answers_and_stops_when_told(self, port):
        with serving(port) as process:
            base = f"http://127.0.0.1:{port}"
            assert httpx.get(f"{base}/healthz").text == "ok\n"
            assert httpx.get(f"{base}/readyz").json() == {"status": "ready"}
            assert httpx.get(f"{base}/metrics").status_code == 401
            assert httpx.get(f"{base}/nothing", headers={"Host": "localhost"}).status_code == 404
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=10)

        assert process.returncode == 0
        lines = [json.loads(line) for line in said.splitlines()]
        assert [line["event"] for line in lines if line["logger"] == "config.management.commands.serve"] == ["serving"]
        assert [line["path"] for line in lines if line["event"] == "request"][-4:] == [
            "/healthz",
            "/readyz",
            "/metrics",
            "/nothing",
        ]

    def test_adds_up_the_counters_of_several_processes(self, port):
        with serving(port, "--workers", "2") as process:
            authorised = {"Authorization": "Bearer the-token-of-the-tests"}
            for _ in range(20):
                httpx.get(f"http://127.0.0.1:{port}/healthz")
            workers = [
                child for child in psutil.Process(process.pid).children() if "spawn_main" in str(child.cmdline())
            ]
            text = httpx.get(f"http://127.0.0.1:{port}/metrics", headers=authorised).text

        assert len(workers) == 2
        assert text.count("# TYPE telegram_payments_total counter\n") == 1
        assert text.count("# TYPE telegram_precheck_seconds histogram\n") == 1

    def test_leaves_no_process_behind_when_it_is_killed(self, port):
        with serving(port) as process:
            children = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            process.communicate(timeout=30)  # its children hold the pipe, and end by themselves

            _, alive = psutil.wait_procs(children, timeout=30)

        assert alive == []

    def test_refuses_a_taken_port_in_one_sentence(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]

            said = refusal(port)

        assert said == (
            f"CommandError: Cannot listen at 127.0.0.1 port {port}: Address already in use."
            " Choose another with --host and --port."
        )

    def test_refuses_a_database_that_lacks_migrations(self, port):
        health.require_current_schema.cache_clear()
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE django_migrations RENAME TO django_migrations_away")
        try:
            said = refusal(port)
        finally:
            with connection.cursor() as cursor:
                cursor.execute("ALTER TABLE django_migrations_away RENAME TO django_migrations")

        assert said.startswith("CommandError: The database lacks the migrations ")
        assert said.endswith(": run `manage.py migrate`.")

    def test_refuses_a_database_that_does_not_answer(self, port):
        said = refusal(port, DATABASE_URL="postgres://nobody:canary@127.0.0.1:9/nothing")

        assert said.startswith("CommandError: The database of DATABASE_URL does not answer")
        assert "canary" not in said


class TestOptions:
    @pytest.mark.parametrize("options", [{"workers": 0}, {"threads": 0}])
    def test_must_be_at_least_one(self, options):
        with pytest.raises(CommandError, match="must be 1 or more"):
            call_command("serve", **options)

    @pytest.mark.parametrize(
        ("options", "told"), [({"port": 70000}, "no port 70000"), ({"host": "no.such.host.invalid"}, "Cannot listen")]
    )
    def test_must_name_a_place_to_listen_at(self, options, told):
        with pytest.raises(CommandError, match=told):
            call_command("serve", **options)
