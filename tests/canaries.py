"""T50, a pytest plugin: all that the tests and their processes log, at DEBUG, is searched for secrets in the end.

Loaded with `-p` behind tests.postgres, whose secrets are the canaries. Each process of a run searches what it logged;
what is found is an error of its last test.
"""

import base64
import json
import logging
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import pytest

from config import logging as house_logging
from tests.postgres import DATABASE_PASSWORD, ENVIRONMENT

SECRETS = {"the database's password": DATABASE_PASSWORD} | {
    name: value for name, value in ENVIRONMENT.items() if house_logging.SETTINGS_OF_SECRETS.search(name)
}


def leaks_in(text: bytes, secrets: Mapping[str, str]) -> Iterator[str]:
    """A line for each secret that is told, and for each spelling of it: which, how, and among which words."""
    for name, secret in secrets.items():
        for spelling, spelled in sorted(spellings_of(secret.encode()).items()):
            found = text.find(spelled)
            if found >= 0:
                around = text[max(0, found - 60) : found + len(spelled) + 60].decode(errors="replace")
                yield f"{name}, {spelling}: …{around}…"


def spellings_of(secret: bytes) -> dict[str, bytes]:
    """A secret as logs, addresses and dumps may have it. A longer text in base64 holds it in one of three ways."""
    plain = secret.decode()
    spelled = {
        "plain": secret,
        "in JSON": json.dumps(plain)[1:-1].encode(),
        "in an address": quote(plain, safe="").encode(),
        "in hex": secret.hex().encode(),
        "in upper-case hex": secret.hex().upper().encode(),
    }
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + secret)
        # The characters that depend on nothing but the secret.
        inner = encoded[(before * 8 + 5) // 6 : (before + len(secret)) * 8 // 6]
        spelled[f"in base64, {before} behind"] = inner
        spelled[f"in base64 for addresses, {before} behind"] = inner.translate(bytes.maketrans(b"+/", b"-_"))
    return spelled


class Sink:
    """All lines that were logged in this process, whatever became of them then."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - open to the end of the process
        self._write = house_logging.write

    def __call__(self, line: str) -> None:
        self._file.write(f"{line}\n".encode(errors="backslashreplace"))
        self._write(line)

    def read(self) -> bytes:
        self._file.seek(0)
        text = self._file.read()
        self._file.seek(0, os.SEEK_END)
        return text


sink = Sink()


def pytest_configure() -> None:
    house_logging.write = sink
    for library in ("factory", "faker"):  # they tell of each attribute they make up
        logging.getLogger(library).setLevel(logging.INFO)


@pytest.fixture(scope="session", autouse=True)
def no_secret_is_logged(tmp_path_factory):
    yield
    logs = [("what the tests logged", sink.read()), *processes_logs(tmp_path_factory.getbasetemp())]
    found = [f"{place}: {leak}" for place, text in logs for leak in leaks_in(text, SECRETS)]
    assert not found, "\n".join(["secrets were told", *found])


def processes_logs(directory: Path) -> Iterable[tuple[str, bytes]]:
    """Of processes that the tests started, and of the database."""
    paths = [*directory.rglob("*.log")]
    if "TEST_POSTGRES_LOG" in os.environ:
        paths.append(Path(os.environ["TEST_POSTGRES_LOG"]))
    return ((path.name, path.read_bytes()) for path in paths if path.is_file())
