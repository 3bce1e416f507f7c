"""The search for secrets finds them: in whatever spelling, in whichever test they were told."""

import base64
import logging
import subprocess
import sys
from urllib.parse import quote

import httpx
import pytest
from django.conf import settings

from config import logging as house_logging
from config.env import BASE_DIR
from tests.canaries import SECRETS, leaks_in, spellings_of

SECRET = 'a secret of "odd" signs/+ü0'
LEAKING_RUN = """
import base64, os
import django
django.setup()
import structlog

def test_that_tells_nothing():
    structlog.get_logger().debug("all is well", token=os.environ["TELEGRAM_BOT_TOKEN"])

def test_that_tells_a_secret():
    structlog.get_logger().debug("odd", value=base64.b64encode(b"x" + os.environ["SECRET_KEY"].encode()).decode())
"""


class TestASecret:
    @pytest.mark.parametrize(
        "told",
        [
            SECRET,
            f'{{"secret": "{SECRET.replace(chr(34), chr(92) + chr(34)).replace("ü", chr(92) + "u00fc")}"}}',
            f"https://shop.example/?a={quote(SECRET, safe='')}&b",
            f"\\x00{SECRET.encode().hex()}ff",
            SECRET.encode().hex().upper(),
            *(
                encode(f"{'<>?'[:before]}{SECRET}{'~' * behind}".encode()).decode()
                for encode in (base64.b64encode, base64.urlsafe_b64encode)
                for before in range(4)
                for behind in range(3)
            ),
        ],
    )
    def test_is_found_in_every_spelling(self, told):
        assert [*leaks_in(f"many words before {told} and after".encode(), {"it": SECRET})]

    @pytest.mark.parametrize("told", ["", SECRET[1:], SECRET[:-1], base64.b64encode(SECRET[:-1].encode()).decode()])
    def test_is_not_found_where_it_is_not(self, told):
        assert not [*leaks_in(told.encode(), {"it": SECRET})]

    @pytest.mark.parametrize("name", sorted(SECRETS))
    def test_of_the_tests_is_long_enough_to_be_nothing_else(self, name):
        assert min(len(spelled) for spelled in spellings_of(SECRETS[name].encode()).values()) >= 20


def test_httpx_would_be_caught_telling_the_token_if_it_were_not_hidden(monkeypatch, capsys):
    """The control: at INFO httpx writes each address it calls, and those of the Bot API hold the token."""
    told = []
    monkeypatch.setattr(house_logging, "write", told.append)  # not into the sink of this run
    monkeypatch.setattr(house_logging.Redactor, "__call__", lambda self, text: text)
    library = logging.getLogger("httpx")
    library.setLevel(logging.INFO)
    try:
        with httpx.Client(transport=httpx.MockTransport(lambda request: httpx.Response(200))) as client:
            client.get(f"https://api.telegram.org/bot{settings.TELEGRAM_BOT_TOKEN}/getMe")
    finally:
        library.setLevel(logging.WARNING)

    found = [*leaks_in("\n".join(told).encode(), SECRETS)]

    assert [leak.partition(",")[0] for leak in found] == ["TELEGRAM_BOT_TOKEN"] * len(found) != []


def test_a_run_in_which_a_test_tells_a_secret_fails(tmp_path):
    (tmp_path / "test_leaking.py").write_text(LEAKING_RUN)

    options = f"-o addopts= -p tests.canaries -p no:django -q --rootdir {tmp_path} --basetemp {tmp_path}/temporary"
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options.split(), str(tmp_path)],
        cwd=BASE_DIR,
        capture_output=True,
        text=True,
    )

    assert run.returncode == 1, run.stdout + run.stderr
    assert "2 passed, 1 error" in run.stdout
    assert "what the tests logged: SECRET_KEY, in base64" in run.stdout
    assert "TELEGRAM_BOT_TOKEN," not in run.stdout
