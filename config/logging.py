"""Logs: one line per event, as JSON or for the console, without secrets and without a way to forge a line."""

import json
import logging
import re
import sys
import threading
import time
from collections.abc import Iterator, MutableMapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlsplit

import structlog
from django.conf import settings
from django.utils.html import escape
from structlog.contextvars import get_contextvars

from config.lines import Gatherer, put

EventDict = MutableMapping[str, Any]

# Libraries that say more than we want to know. At INFO httpx writes the bot's token with each address it calls.
QUIET = {
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "telegram": logging.WARNING,
    "asyncio": logging.WARNING,
    "urllib3": logging.WARNING,
    "stripe": logging.WARNING,
    "psycopg": logging.WARNING,
    "django.db.backends": logging.WARNING,  # statements and their parameters
    "django.template": logging.WARNING,  # each variable that a template may lack, with a stack trace
    "procrastinate": logging.WARNING,
}

PROCESSORS: list[structlog.typing.Processor] = []  # always this list: loggers that are cached hold on to it


def configure(config: dict[str, Any]) -> None:
    """Set up structlog and the standard library's logging alike.

    :param config: `level` (a name), `format` (`json` or `console`), `sentry_dsn` (empty: no Sentry)
    """
    redact = Redactor(configured_secrets())
    last: list[structlog.typing.Processor] = [*RENDERERS[config["format"]], redact.line]
    PROCESSORS[:] = [describe, *last]
    structlog.configure(
        processors=PROCESSORS,
        wrapper_class=structlog.make_filtering_bound_logger(config["level"]),
        logger_factory=Output,
        cache_logger_on_first_use=True,
    )
    handler = OutputHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[describe],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(level=config["level"], handlers=[handler], force=True)
    for name, level in QUIET.items():
        logging.getLogger(name).setLevel(max(level, logging.getLogger().level))
    logging.getLogger("django.request").addFilter(has_a_stack_trace)
    logging.captureWarnings(True)
    sys.excepthook = log_uncaught
    threading.excepthook = log_uncaught_in_thread
    if config["sentry_dsn"]:
        report_to_sentry(config["sentry_dsn"], redact)


def has_a_stack_trace(record: logging.LogRecord) -> bool:
    """For what Django says of requests: config.requests has told of every 4xx and 5xx, but not why."""
    return record.exc_info is not None


def milliseconds_since(began: float) -> float:
    """For a line's `duration_ms`, from a moment of `time.perf_counter`."""
    return round((time.perf_counter() - began) * 1000, 1)


# --- Where lines go -------------------------------------------------------------------------------------------------


_gatherer: Gatherer | None = None


def gather_lines() -> None:
    """From now on this process, which has many threads, writes lines a few at a time; errors at once."""
    global _gatherer
    _gatherer = _gatherer or Gatherer()


def write(line: str) -> None:
    if _gatherer:
        _gatherer(line)
    else:
        put(f"{line}\n")


def flush() -> None:
    if _gatherer:
        _gatherer.flush()


class Output:
    """What structlog's loggers write to."""

    def __init__(self, name: str = "starledger") -> None:
        self.name = name

    def msg(self, line: str) -> None:
        write(line)

    def msg_at_once(self, line: str) -> None:
        write(line)
        flush()

    debug = info = warning = msg
    error = critical = exception = msg_at_once


class OutputHandler(logging.Handler):
    """The same place for the standard library's records."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            write(self.format(record))
            if record.levelno >= logging.ERROR:
                flush()
        except Exception:
            self.handleError(record)


# --- How lines look -------------------------------------------------------------------------------------------------


encode = json.JSONEncoder(default=str).encode


def describe(logger: Any, method: str, event: EventDict) -> EventDict:
    """When, how grave and by whom it was said, and what is bound: structlog's four processors for it in one, since
    each payment waits for this.
    """
    record = event.get("_record")
    return {
        "timestamp": f"{datetime.now(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z",
        "level": method,
        "event": event.pop("event"),
        "logger": record.name if record else logger.name,
        **get_contextvars(),
        **event,
    }


def as_json(_logger: object, _method: str, event: EventDict) -> str:
    """One line of ASCII: whatever is in the values, newlines and terminal escapes are escaped."""
    return encode(event)


def escape_controls(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Keep a value on its line and a terminal unharmed; a stack trace keeps its lines, moved in from the margin."""
    for key, value in event.items():
        if key in {"exception", "stack"}:
            event[key] = "\n".join(f"    {escaped(line)}" for line in value.splitlines())
        elif isinstance(value, str):
            event[key] = escaped(value)
    return event


def escaped(text: str) -> str:
    return text if text.isprintable() else repr(text)[1:-1]


RENDERERS: dict[str, list[structlog.typing.Processor]] = {
    "json": [structlog.processors.format_exc_info, as_json],
    "console": [
        structlog.processors.format_exc_info,
        escape_controls,
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0),
    ],
}


# --- What must not be in them ---------------------------------------------------------------------------------------

REDACTED = "[redacted]"
SETTINGS_OF_SECRETS = re.compile(r"(KEY|KEY_FALLBACKS|TOKEN|SECRETS?|PASSWORD|DSN)$")
SHORTEST_SECRET = 8  # a shorter one would black out ordinary words, and protects nothing

# A word that the line must hold, what to look for then, and what to write instead. The words keep the hot path cheap:
# most lines hold few of them, and finding that out costs next to nothing.
PATTERNS = [
    (word, re.compile(pattern), replacement)
    for word, pattern, replacement in [
        # 123456:AA…, the bot's token, also in /bot123456:AA…/getMe; 123456:TEST:…, a payment provider's
        (":", r":(?<=\d{6}:)(?:[A-Za-z0-9_-]{30,}|(?:TEST|LIVE):[A-Za-z0-9:_-]+)", f":{REDACTED}"),
        ("%3A", r"%3A(?<=\d{6}%3A)[A-Za-z0-9_-]{30,}", f"%3A{REDACTED}"),
        # Our API keys: prefix.secret
        (".", r"\.(?<=[a-z0-9]{8}\.)[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])", f".{REDACTED}"),
        # JSON Web Tokens
        ("eyJ", r"eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?", REDACTED),
        # The proof in a Mini App's init data
        ("hash", r"(hash(?:=|%3D|\W{1,6}))[0-9a-f]{64}", rf"\1{REDACTED}"),
        ("signature", r"(signature(?:=|%3D|\W{1,6}))[A-Za-z0-9_-]{86}(?:==)?", rf"\1{REDACTED}"),
        # Passwords in addresses and in the connection strings of libpq
        ("://", r"://([^\s:/@\"'\\]*):[^\s/@\"'\\]+@", rf"://\1:{REDACTED}@"),
        ("password=", r"password=[^\s\"'\\]+", f"password={REDACTED}"),
        # Headers, as a client, a server and WSGI spell them
        *(
            (word, rf"({word}\W{{1,6}})[^\s\"'\\,}}]+(?: +[^\s\"'\\,}}]+)?", rf"\1{REDACTED}")
            for word in ("uthorization", "UTHORIZATION", "ecret-Token", "ecret-token", "ECRET_TOKEN")
        ),
        *(
            (word, rf"{word}[A-Za-z0-9._~+/=-]{{16,}}", f"{word}{REDACTED}")
            for word in ("Bearer ", "bearer ", "Basic ", "Api-Key ")
        ),
    ]
]


def configured_secrets() -> list[str]:
    """The values of every setting whose name says that it is secret, and the databases' passwords."""
    values = [getattr(settings, name) for name in dir(settings) if SETTINGS_OF_SECRETS.search(name)]
    values += [database.get("PASSWORD") for database in settings.DATABASES.values()]
    values += [urlsplit(getattr(settings, name, "")).password for name in ("WORKER_DATABASE_URL", "REDIS_URL")]
    return [secret for value in values for secret in texts(value)]


def texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from texts(each)


class Redactor:
    """Takes secrets out of text: those it was given, in every spelling a line may have, and whatever looks like one."""

    def __init__(self, known: list[str]) -> None:
        spellings = {
            spelling
            for secret in known
            if len(secret) >= SHORTEST_SECRET
            for spelling in (secret, json.dumps(secret)[1:-1], quote(secret, safe=""), escape(secret))
        }
        self.known = sorted(spellings, key=len, reverse=True)  # one may be part of another

    def __call__(self, text: str) -> str:
        for secret in self.known:
            if secret in text:
                text = text.replace(secret, REDACTED)
        for word, pattern, replacement in PATTERNS:
            if word in text:
                text = pattern.sub(replacement, text)
        return text

    def line(self, _logger: object, _method: str, line: Any) -> str:
        """As structlog's last processor."""
        return self(line)

    def report(self, report: Any, _hint: Any) -> Any:
        """As Sentry's `before_send`: the same over the whole report."""
        return json.loads(self(json.dumps(report, default=str)))


def report_to_sentry(dsn: str, redact: Redactor) -> None:
    import sentry_sdk

    sentry_sdk.init(
        dsn=dsn,
        send_default_pii=False,
        include_local_variables=False,
        max_request_body_size="never",
        before_send=redact.report,
        before_send_transaction=redact.report,
    )


# --- What nobody caught ---------------------------------------------------------------------------------------------


def log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """An exception that ends the process goes the way of all lines, so that secrets in its words are taken out."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    structlog.get_logger("uncaught").critical(str(error) or kind.__name__, exc_info=(kind, error, trace))


def log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value and not issubclass(args.exc_type, SystemExit):
        log_uncaught(args.exc_type, args.exc_value, args.exc_traceback)
