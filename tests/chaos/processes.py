"""The web server and the workers: real processes in production settings, killed whole and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from config.env import BASE_DIR

PASSED_ON = (
    "PATH",
    "HOME",
    "LANG",
    "TMPDIR",
    "VIRTUAL_ENV",
    "PYTHONPATH",
    "LD_LIBRARY_PATH",
    "STARLEDGER_POSTGRES_BIN",
)
SECRET = "the-webhook-secret-of-the-chaos-0000"
TOKEN = "100000003:the-bot-token-of-the-chaos-0000000"
STOP_LIMIT = 15  # seconds


def production(*, database_url: str, public_url: str, telegram_url: str) -> dict[str, str]:
    """The environment of every process of the house; nothing of the person's own settings gets in."""
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ} | {
        "ENV_FILE": "",
        "DEBUG": "false",
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "SECRET_KEY": "the-secret-key-of-the-chaos-" + "x" * 30,
        "JWT_SIGNING_KEY": "the-jwt-signing-key-of-the-chaos-" + "x" * 30,
        "METRICS_TOKEN": "the-metrics-token-of-the-chaos",
        "TELEGRAM_BOT_TOKEN": TOKEN,
        "TELEGRAM_WEBHOOK_SECRET": SECRET,
        "TELEGRAM_API_BASE_URL": telegram_url,
        "PUBLIC_URL": public_url,
        "DATABASE_URL": database_url,
    }


class CommandFailed(Exception):
    """A command of manage.py ended with an error; the message is what it said."""


def manage(environment: Mapping[str, str], *words: str) -> str:
    """Run a command to its end and return what it printed. :raises CommandFailed:"""
    done = subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=BASE_DIR,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CommandFailed(f"{' '.join(words)}: {done.stdout}{done.stderr}")
    return done.stdout.strip()


class Child:
    """A process with its descendants, in a process group of its own, that is started as often as it dies."""

    def __init__(self, name: str, words: tuple[str, ...], environment: Mapping[str, str], logs: Path) -> None:
        self.name = name
        self._command = [sys.executable, "manage.py", *words]
        self._environment = environment
        self._log = logs / f"{name.replace(' ', '_')}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=BASE_DIR,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def said(self, words: bytes = b"") -> str:
        """The end of its log since it was started; with `words`, nothing unless they are in it."""
        said = self._log.read_bytes()
        return said[-2000:].decode(errors="replace") if words in said else ""

    def kill(self) -> bool:
        """End the whole family without a last word, as a power cut does. False when there was nothing to kill.

        It is a child of ours that nobody has waited for, so that its pid is nobody else's, and leads its group.
        """
        process = self._process
        if process is None or process.poll() is not None or os.getpgid(process.pid) != process.pid:
            return False
        os.killpg(process.pid, signal.SIGKILL)
        return process.wait() == -signal.SIGKILL

    def end(self) -> int | None:
        """Ask it to stop, and return what it ended with; None when it was never there, or had to be killed."""
        process = self._process
        if process is None:
            return None
        process.terminate()
        try:
            return process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self.kill()
            return None
