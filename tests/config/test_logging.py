import gzip
import json
import logging
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import quote

import httpx
import pytest
import structlog
from django.conf import settings
from django.test import Client
from django.urls import clear_url_caches, path
from structlog.contextvars import bound_contextvars, get_contextvars

from config import logging as house_logging
from config.env import BASE_DIR

BOT_TOKEN = "123456789:AAF-canary_canary_canary_canary_canary"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.canarycanarycanary"
API_KEY = f"abcd1234.{'canary_' * 6}c"

log = structlog.get_logger("tests")


@pytest.fixture
def console(capsys):
    """Writes for people while the test runs."""
    house_logging.configure({**settings.LOGGING, "format": "console"})
    yield lambda: capsys.readouterr().err
    house_logging.configure(settings.LOGGING)


@pytest.fixture
def at_info():
    """Logs as it does unless told otherwise; the other tests log everything."""
    house_logging.configure({**settings.LOGGING, "level": "INFO"})
    yield
    house_logging.configure(settings.LOGGING)


def say(text: str) -> None:
    """The same by every way that leads into the log."""
    log.warning(text, detail=text, nested={"list": [text]})
    logging.getLogger("library").warning("said %s", text)
    try:
        raise ValueError(text)
    except ValueError:
        log.exception("failed")
        logging.getLogger("library").exception("failed")


class TestALine:
    def test_6_6_is_one_json_object_with_what_was_said_and_bound(self, lines):
        with bound_contextvars(request_id="r-1", user_id="7"):
            log.info("payment recorded", plan_code="gold_1m", amount=500, currency="XTR")

        (line,) = lines()
        timestamp = line.pop("timestamp")
        assert timestamp.endswith("Z")
        assert line == {
            "level": "info",
            "event": "payment recorded",
            "logger": "tests",
            "request_id": "r-1",
            "user_id": "7",
            "plan_code": "gold_1m",
            "amount": 500,
            "currency": "XTR",
        }

    def test_of_a_library_looks_the_same(self, lines):
        with bound_contextvars(request_id="r-1"):
            logging.getLogger("library").warning("took %s s", 3)

        (line,) = lines()
        assert line["timestamp"].endswith("Z")
        assert (line["level"], line["event"], line["logger"]) == ("warning", "took 3 s", "library")
        assert line["request_id"] == "r-1"

    def test_6_8_of_an_error_carries_its_stack_trace_and_context(self, lines):
        try:
            {}["missing"]
        except KeyError:
            log.exception("payment not recorded", user_id="7", plan_code="gold_1m")

        (line,) = lines()
        assert (line["level"], line["user_id"], line["plan_code"]) == ("error", "7", "gold_1m")
        assert line["exception"].startswith("Traceback (most recent call last):")
        assert "test_logging.py" in line["exception"]
        assert line["exception"].endswith("KeyError: 'missing'")

    def test_cannot_be_forged_by_what_is_said(self, lines, capsys):
        say('x\n{"event": "payment recorded"}\r\n\x1b[2J\u2028\x9b\u202e')

        assert len(lines()) == 4  # and each was valid JSON
        say("x\n\x1b[2J\x9b\u202e")
        assert capsys.readouterr().err.isascii()

    def test_for_people_cannot_be_forged_either(self, console):
        say("x\npayment recorded\x1b[2J\x9b\u202etxt\u2066\u2028payment recorded\rpayment recorded")

        said = console()
        assert all(letter == "\n" or letter.isprintable() for letter in said)
        assert not any(line.startswith("payment recorded") for line in said.splitlines())

    def test_with_a_value_that_is_no_json_is_written_all_the_same(self, lines):
        log.info("odd", value=object(), surrogate="\ud800")

        (line,) = lines()
        assert line["value"].startswith("<object object")

    def test_below_the_level_costs_nothing_and_says_nothing(self, lines, at_info):
        structlog.get_logger("another").debug("whisper")  # which is made by the rules of this moment
        logging.getLogger("library").debug("whisper")

        assert lines() == []


class TestSecrets:
    @pytest.mark.parametrize(
        ("said", "canary"),
        [
            (f"POST https://api.telegram.org/bot{BOT_TOKEN}/getMe", "canary"),
            (quote(f"/bot{BOT_TOKEN}/getMe", safe=""), "canary"),
            ("284685063:TEST:canary0canary", "canary"),
            (f"Authorization: Bearer {JWT}", "canary"),
            (f"token {JWT} is not valid", "eyJ"),
            (f"Authorization: Api-Key {API_KEY}", "canary"),
            (f"key {API_KEY} is not known", "canary"),
            ("{'HTTP_AUTHORIZATION': 'Basic Y2FuYXJ5OmNhbmFyeQ=='}", "Y2Fu"),
            ("{'authorization': 'canary'}", "canary"),
            ("{'HTTP_AUTHORIZATION': 'canary'}", "canary"),
            ("with Bearer canary-canary-canary", "canary"),
            ("with bearer canary-canary-canary", "canary"),
            ("with Basic Y2FuYXJ5OmNhbmFyeQ==", "Y2Fu"),
            ("with Api-Key canary-canary-canary", "canary"),
            ("X-Telegram-Bot-Api-Secret-Token: canary-canary", "canary"),
            ("x-telegram-bot-api-secret-token: canary-canary", "canary"),
            ("{'HTTP_X_TELEGRAM_BOT_API_SECRET_TOKEN': 'canary-canary'}", "canary"),
            (f"user=%7B%7D&auth_date=1&hash={'ca' * 32}", "caca"),
            (f"user=%7B%7D&hash%3D{'ca' * 32}", "caca"),
            (json.dumps({"signature": "canary" * 14 + "ca"}), "canary"),
            ("postgres://starledger:canary@localhost:5432/starledger", "canary"),
            ("host=localhost password=canary dbname=x", "canary"),
            (settings.SECRET_KEY, settings.SECRET_KEY),
            (settings.JWT_SIGNING_KEY, settings.JWT_SIGNING_KEY),
            (settings.TELEGRAM_BOT_TOKEN, settings.TELEGRAM_BOT_TOKEN[-20:]),
            (settings.TELEGRAM_WEBHOOK_SECRETS[0], settings.TELEGRAM_WEBHOOK_SECRETS[0]),
        ],
    )
    def test_6_7_are_in_no_line_whoever_says_them(self, capsys, console, said, canary):
        house_logging.configure(settings.LOGGING)
        say(said)
        as_json = capsys.readouterr().err
        house_logging.configure({**settings.LOGGING, "format": "console"})
        say(said)

        assert canary not in as_json
        assert canary not in console()
        assert as_json.count("[redacted]") >= 6
        assert len([json.loads(line) for line in as_json.splitlines()]) == 4

    def test_6_7_would_be_seen_without_the_redaction(self, monkeypatch, capsys):
        monkeypatch.setattr(house_logging.Redactor, "__call__", lambda self, text: text)

        say(f"bot{BOT_TOKEN}")

        assert "canary" in capsys.readouterr().err

    def test_6_7_of_httpx_are_caught_though_it_writes_them_at_info(self, capsys, lines):
        """httpx writes each address it calls, and the Bot API's hold the token."""
        library = logging.getLogger("httpx")
        assert not library.isEnabledFor(logging.INFO)
        library.setLevel(logging.INFO)
        try:
            with httpx.Client(transport=httpx.MockTransport(lambda request: httpx.Response(200))) as client:
                client.get(f"https://api.telegram.org/bot{BOT_TOKEN}/getMe")
        finally:
            library.setLevel(logging.WARNING)

        (line,) = lines()
        assert line["event"] == (
            'HTTP Request: GET https://api.telegram.org/bot123456789:[redacted]/getMe "HTTP/1.1 200 OK"'
        )

    @pytest.mark.parametrize(
        "harmless",
        [
            "2026-11-21T03:50:15.984407Z",
            "invoice 0190b5b1-3a4e-7000-8000-000000000000 of 123456789",
            "https://shop.example:8000/a?b=c:d",
            "hash of the body differs",
            "Basic English",
            "stxYp8LbC1s6zEXa_a-charge-id-of-telegram",
        ],
    )
    def test_are_not_seen_where_there_are_none(self, lines, harmless):
        log.info(harmless)

        assert lines()[0]["event"] == harmless

    def test_are_known_by_the_names_of_their_settings(self):
        known = house_logging.configured_secrets()

        for name in ("SECRET_KEY", "JWT_SIGNING_KEY", "TELEGRAM_BOT_TOKEN"):
            assert getattr(settings, name) in known
        assert settings.TELEGRAM_WEBHOOK_SECRETS[0] in known

    def test_are_found_however_they_are_spelled(self):
        redact = house_logging.Redactor(['pass"word/ü1'])

        for spelling in ('pass"word/ü1', json.dumps('pass"word/ü1')[1:-1], quote('pass"word/ü1', safe="")):
            assert redact(f"it is {spelling}!") == "it is [redacted]!"

    def test_are_not_told_by_an_error_that_ends_the_process(self):
        program = f"""
import django, threading
django.setup()
def fail():
    raise RuntimeError("the token {BOT_TOKEN} was rejected")
thread = threading.Thread(target=fail)
thread.start()
thread.join()
fail()
"""
        ended = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings", "LOG_FORMAT": "json"},
            cwd=BASE_DIR,
            capture_output=True,
            text=True,
        )

        assert ended.returncode == 1
        said = [json.loads(line) for line in ended.stderr.splitlines()]
        assert [line["event"] for line in said if line["level"] == "critical"] == [
            "the token 123456789:[redacted] was rejected"
        ] * 2
        assert "canary" not in ended.stderr


class TestSentry:
    def test_gets_the_error_and_no_secret(self):
        with Collector() as collector:
            program = f"""
import django, logging, sentry_sdk
django.setup()
secret = "{BOT_TOKEN}"
logging.getLogger("payments").error("the token %s was rejected", secret)
sentry_sdk.flush(5)
"""
            subprocess.run(
                [sys.executable, "-c", program],
                env={
                    **os.environ,
                    "DJANGO_SETTINGS_MODULE": "config.settings",
                    "SENTRY_DSN": f"http://public@127.0.0.1:{collector.port}/1",
                },
                cwd=BASE_DIR,
                check=True,
                capture_output=True,
            )

        report = b"".join(collector.bodies).decode()
        assert "the token" in report
        assert "[redacted]" in report
        assert "canary" not in report


class Collector:
    """An HTTP server that takes reports as Sentry does."""

    def __enter__(self) -> "Collector":
        bodies = self.bodies = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                bodies.append(gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class TestARequest:
    def test_is_told_in_one_line_without_its_query_string(self, lines):
        Client().get("/healthz?token=canary", headers={"Cookie": "sessionid=canary"})

        (line,) = lines()
        assert (line["event"], line["method"], line["path"], line["status"]) == ("request", "GET", "/healthz", 200)
        assert line["duration_ms"] >= 0
        assert "canary" not in json.dumps(line)

    def test_says_where_it_comes_from_also_through_a_proxy(self, lines, settings):
        settings.TRUSTED_PROXIES = ["127.0.0.1"]
        Client(REMOTE_ADDR="127.0.0.1").get("/healthz", headers={"X-Forwarded-For": "192.0.2.1, 203.0.113.9"})
        Client(REMOTE_ADDR="198.51.100.7").get("/healthz", headers={"X-Forwarded-For": "192.0.2.1"})

        assert [line["address"] for line in lines()] == ["203.0.113.9", "198.51.100.7"]

    def test_has_an_id_that_its_lines_and_its_answer_carry(self, lines):
        first, second = Client().get("/healthz"), Client().get("/healthz")

        ids = [line["request_id"] for line in lines()]
        assert ids == [first["X-Request-ID"], second["X-Request-ID"]]
        assert len(set(ids)) == 2
        assert get_contextvars() == {}

    def test_is_told_once_when_it_finds_nothing_and_with_the_stack_trace_when_it_fails(self, lines, monkeypatch):
        def fail(request):
            raise RuntimeError("the view broke")

        monkeypatch.setattr("config.urls.urlpatterns", [path("fails", fail)])
        clear_url_caches()
        client = Client(raise_request_exception=False)
        try:
            client.get("/nothing")
            client.get("/fails")
        finally:
            clear_url_caches()

        missing, error, failed = lines()
        assert (missing["event"], missing["status"]) == ("request", 404)
        assert "RuntimeError: the view broke" in error["exception"]
        assert (failed["event"], failed["status"]) == ("request", 500)
        assert error["request_id"] == failed["request_id"]

    def test_keeps_the_id_its_caller_gave_it(self, lines):
        answer = Client().get("/healthz", headers={"X-Request-ID": "job-17_of-Dana"})

        assert answer["X-Request-ID"] == "job-17_of-Dana"
        assert lines()[0]["request_id"] == "job-17_of-Dana"

    @pytest.mark.parametrize("given", ["short", "x" * 65, "two words!", 'quote"quote', "trailing\n", "ünïcödé-id"])
    def test_gets_another_id_when_the_given_one_is_no_plain_word(self, lines, given):
        answer = Client().get("/healthz", headers={"X-Request-ID": given})

        assert answer["X-Request-ID"] != given
        assert len(answer["X-Request-ID"]) == 32
