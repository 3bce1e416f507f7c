"""The whole house as it runs: web server, worker and database as processes, and a local Telegram before them."""

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg

from config.env import BASE_DIR
from telegram_bot.sandbox.server import LocalTelegram
from tests.ports import free_port

PATH, SECRET_HEADER = "/api/v1/telegram/webhook", "X-Telegram-Bot-Api-Secret-Token"
PATIENCE = 60.0  # seconds; far more than anything here takes, also where three tests share two slow processors


class House:
    """Starledger with a migrated database of its own. Tests keep apart by using people of their own."""

    def __init__(self, telegram: LocalTelegram, database_url: str, logs: Path) -> None:
        self.telegram = telegram
        self.url = f"http://127.0.0.1:{free_port()}"
        self.database_url = database_url
        self.logs = logs
        self.environment = {
            **os.environ,
            "DATABASE_URL": database_url,
            "PUBLIC_URL": self.url,
            "TELEGRAM_API_BASE_URL": telegram.base_url,
            "TELEGRAM_PAYMENT_PROVIDER_TOKEN": "284685063:TEST:flows",
            "METRICS_TOKEN": "the-metrics-token-of-the-tests",
            "LOG_LEVEL": "DEBUG",
            "OPEN_CALLS_PER_MINUTE": "100000",  # all people of the tests have one address
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.clients: list[httpx.Client] = []

    def manage(self, *words: str) -> str:
        """Run a command of manage.py to its end and return what it printed."""
        done = subprocess.run(
            [sys.executable, "manage.py", *words],
            cwd=BASE_DIR,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def open(self) -> None:
        self.manage("load_catalog", "payments/demo_catalog.toml")
        self.start("serve", "--port", str(urlsplit(self.url).port))
        self.start("worker")
        self.wait_for(lambda: httpx.get(f"{self.url}/healthz").status_code == 200, "the web server")
        self.manage("set_webhook")

    def start(self, name: str, *words: str) -> None:
        with (self.logs / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "manage.py", name, *words],
                cwd=BASE_DIR,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self, name: str) -> None:
        """End a process and its children without a last word, as a power cut does."""
        process = self.processes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def restart(self) -> None:
        """Stop everything in order, and start it with the environment of now."""
        for name in ("serve", "worker"):
            process = self.processes.pop(name)
            process.terminate()
            process.wait(timeout=PATIENCE)
        self.start("worker")
        self.restart_web()

    def restart_web(self) -> None:
        self.start("serve", "--port", str(urlsplit(self.url).port))
        self.wait_for(lambda: httpx.get(f"{self.url}/healthz").status_code == 200, "the web server")

    def close(self) -> None:
        for client in self.clients:
            client.close()
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait(timeout=PATIENCE)

    def wait_for(self, condition: Any, what: str) -> None:
        """Wait until a condition holds, connection errors counting as not yet.

        :raises AssertionError: it did not, or a process of the house has ended meanwhile; with its last lines
        """
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                if condition():
                    return
            except httpx.TransportError:
                pass
            for name, process in self.processes.items():
                assert process.poll() is None, f"{name} has ended with {process.returncode}:\n{self.log(name)[-4000:]}"
            time.sleep(0.05)
        raise AssertionError(f"{what} did not come in {PATIENCE} s:\n{self.log('serve')[-4000:]}")

    def log(self, name: str) -> str:
        return (self.logs / f"{name}.log").read_text()

    def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with closing(psycopg.connect(self.database_url, autocommit=True)) as connection:
            return connection.execute(sql, parameters).fetchall()

    def sign_in(self, person: Any) -> httpx.Client:
        """A client of the API with the token that a Mini App of this person gets."""
        return self.client_of(person.init_data())

    def client_of(self, init_data: str) -> httpx.Client:
        exchange = f"{self.url}/api/v1/miniapp/exchange-initdata"
        answer = httpx.post(exchange, json={"init_data": init_data}, timeout=PATIENCE).raise_for_status()
        return self.client({"Authorization": f"Bearer {answer.json()['access']}"})

    def post_update(self, body: bytes, *, secret: str = "") -> httpx.Response:
        """Post an update as Telegram does, or with another secret."""
        headers = {SECRET_HEADER: secret or self.environment["TELEGRAM_WEBHOOK_SECRET"].partition(",")[0]}
        return httpx.post(f"{self.url}{PATH}", content=body, headers=headers, timeout=PATIENCE)

    def program(self, *scopes: str) -> httpx.Client:
        """A client with an API key of these scopes."""
        key = self.manage("create_api_key", "flows", *(f"--scope={scope}" for scope in scopes))
        return self.client({"Authorization": f"Api-Key {key}"})

    def client(self, headers: dict[str, str]) -> httpx.Client:
        client = httpx.Client(base_url=self.url, headers=headers, timeout=PATIENCE)
        self.clients.append(client)
        return client

    def metric(self, name: str, **labels: str) -> float:
        """One sample of /metrics; 0 when it is not there yet."""
        text = (
            httpx.get(f"{self.url}/metrics", headers={"Authorization": "Bearer the-metrics-token-of-the-tests"})
            .raise_for_status()
            .text
        )
        for line in text.splitlines():
            series, _, value = line.rpartition(" ")
            if series.partition("{")[0] == name and all(f'{key}="{word}"' in series for key, word in labels.items()):
                return float(value)
        return 0.0
