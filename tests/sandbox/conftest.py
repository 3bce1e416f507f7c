"""A local Telegram for each test, a bot that asks over HTTP, and a webhook that answers as told."""

import json
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from telegram_bot.sandbox.schema import Schema
from telegram_bot.sandbox.server import LocalTelegram

TLS = ssl.create_default_context()
"""Made once: clients that never use it would each spend longer on it than on all their requests."""


@pytest.fixture
def telegram():
    """Pauses between attempts are a thousandth of Telegram's."""
    with LocalTelegram.running(pace=0.001, checkout_seconds=3) as running:
        yield running


@pytest.fixture
def alice(telegram):
    person = telegram.person("Alice", username="alice", language_code="ru")
    person.says("/start")
    return person


@pytest.fixture
def bob(telegram):
    person = telegram.person("Bob")
    person.says("/start")
    return person


class Api:
    """Bot API calls; the answer is the whole body, as JSON."""

    def __init__(self, base_url: str, token: str) -> None:
        self.client = httpx.Client(base_url=f"{base_url}/bot{token}/", timeout=20, verify=TLS)

    def __call__(self, method: str, **parameters):
        return self.client.post(method, json=parameters).json()

    def result(self, method: str, **parameters):
        answer = self(method, **parameters)
        assert answer["ok"], answer
        return answer["result"]

    def refusal(self, method: str, **parameters) -> str:
        answer = self(method, **parameters)
        assert not answer["ok"], answer
        return answer["description"]

    def invoice(self, person, *, amount: int = 500, payload: str = "order 1", **more):
        """Send an invoice in Stars, and see it in the person's chat."""
        message = self.result("sendInvoice", chat_id=person.id, **stars(amount=amount, payload=payload), **more)
        return person.opens(message_id=message["message_id"])

    def invoice_to(self, chat_id: int) -> None:
        self.result("sendInvoice", chat_id=chat_id, **stars())

    def link(self, person, *, amount: int = 500, payload: str = "order 1", **more):
        return person.opens(self.result("createInvoiceLink", **stars(amount=amount, payload=payload), **more))

    def updates(self, offset: int = 0) -> list[dict]:
        return self.result("getUpdates", offset=offset)


def stars(*, amount: int = 500, payload: str = "order 1") -> dict:
    prices = [{"label": "Gold", "amount": amount}]
    return {"title": "Gold", "description": "A month", "payload": payload, "currency": "XTR", "prices": prices}


@pytest.fixture
def api(telegram):
    api = Api(telegram.base_url, telegram.token)
    yield api
    api.client.close()


@dataclass
class Reply:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def agree(update: dict) -> Reply:
    """A shop that lets every checkout go on, in the webhook's answer."""
    query = update.get("pre_checkout_query")
    return called("answerPreCheckoutQuery", pre_checkout_query_id=query["id"], ok=True) if query else Reply()


def called(method: str, **parameters) -> Reply:
    body = json.dumps({"method": method, **parameters}).encode()
    return Reply(body=body, headers={"Content-Type": "application/json"})


@dataclass
class Received:
    body: bytes
    headers: dict[str, str]

    @property
    def update(self) -> dict:
        return json.loads(self.body)


class Receiver:
    """A webhook. ``answer`` decides on each update, in a thread of its own."""

    def __init__(self) -> None:
        self.answer: Callable[[dict], Reply] = agree
        self.received: list[Received] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.received.append(Received(body, dict(self.headers)))
                try:
                    update = json.loads(body)
                except ValueError:
                    update = {}
                reply = receiver.answer(update)
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self._server.handle_error = lambda *_: None  # Telegram hanging up is not this test's business
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def updates(self, kind: str = "message") -> list[dict]:
        return [one.update for one in self.received if kind in one.update]

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def hooked(api, receiver):
    """The receiver, with the local Telegram's updates coming to it."""
    api.result("setWebhook", url=receiver.url, secret_token="the-secret", allowed_updates=ALLOWED)
    return receiver


ALLOWED = ["message", "callback_query", "pre_checkout_query", "subscription", "my_chat_member"]


def eventually(holds: Callable[[], object], *, seconds: float = 5) -> None:
    """Wait until something is so, and fail when it is not."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


def assert_shape(kind: str, value: object) -> None:
    problem = Schema.load().problem(kind, value)
    assert problem is None, f"{problem}: {value}"
