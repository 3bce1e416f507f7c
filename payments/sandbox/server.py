"""The local Stripe as a server on 127.0.0.1, in a thread of its own for tests or as the whole program."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from payments.sandbox import pages
from payments.sandbox.account import Account, Json, Refused
from payments.sandbox.api import Answer, Api, Call
from payments.sandbox.delivery import Delivery
from payments.sandbox.faults import WITH_EFFECT, Fault, Faults

HOST = "127.0.0.1"
LOOPBACK = ("127.0.0.1", "localhost")


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, *, secret_key: str) -> None:
        super().__init__((HOST, port), Handler)
        self.account = Account(address=f"http://{HOST}:{self.server_port}")
        self.api = Api(self.account, secret_key=secret_key)
        self.faults = Faults()
        self.one_at_a_time = threading.RLock()
        self.ended = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """A shop that hangs up is nothing to tell of."""


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else the body waits 40 ms until the caller has confirmed the headers

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
        """Nothing."""

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        address = urlsplit(self.path)
        if address.path.startswith("/v1/"):
            self._call(address.path, body if self.command == "POST" else address.query)
        elif self.headers.get("Host", "").rpartition(":")[0] not in LOOPBACK:
            self._send(403, b"The local Stripe is for this machine only.", "text/plain")
        elif address.path == "/local/clock" and self.command == "POST":
            self._move_clock(body)
        else:
            self._page(address.path, address.query)

    # --- The shop -----------------------------------------------------------------------------------------------------

    def _call(self, path: str, encoded: str) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = (self.command, path, encoded, headers)
        with self.server.one_at_a_time:
            fault = self.server.faults.take(self.server.api.operation(self.command, path))
            answer = self._spoilt(fault) if fault else None
            if answer is None:
                answer = (
                    self.server.api.fail(*asked) if fault and fault.kind == "500" else self.server.api.answer(*asked)
                )
            if fault and fault.kind == "500_after_effect":
                answer = self.server.api.fail(*asked)
        self._give(answer, fault)

    def _spoilt(self, fault: Fault) -> Answer | None:
        """The answer where nothing is done, and it is not that something went wrong; None: it is done, or it did."""
        if fault.kind in WITH_EFFECT or fault.kind == "500":
            return None
        if fault.kind == "429":
            error = {"type": "invalid_request_error", "code": "rate_limit", "message": "Too many requests."}
            return Answer(429, {"error": error}, {"Retry-After": str(fault.retry_after)})
        return Answer(400, {"error": {"type": "invalid_request_error", "message": "refused by order"}})

    def _give(self, answer: Answer, fault: Fault | None) -> None:
        kind = fault.kind if fault else ""
        if fault and kind.startswith("hang"):
            self.server.ended.wait(fault.seconds)
        if kind.startswith(("hang", "cut")):
            self.close_connection = True
            return
        body = json.dumps(answer.body).encode()
        if kind == "half_json":
            body = body[: len(body) // 2]
        self._send(answer.status, body, "application/json", **answer.headers)

    # --- Time ---------------------------------------------------------------------------------------------------------

    def _move_clock(self, body: str) -> None:
        """`{"ahead": seconds}` before the machine's clock; what falls due until then is renewed."""
        with self.server.one_at_a_time:
            self.server.account.pass_time(float(json.loads(body)["ahead"]))
        self._send(200, b"{}", "application/json")

    # --- Buyers -------------------------------------------------------------------------------------------------------

    def _page(self, path: str, query: str) -> None:
        _, _, rest = path.partition("/c/pay/")
        _, _, customer = path.partition("/p/session/")
        wish = query.removeprefix("do=") if self.command == "POST" else ""
        try:
            with self.server.one_at_a_time:
                if rest:
                    self._checkout(rest, wish)
                elif customer:
                    self._portal(customer, wish)
                else:
                    self._send(404, b"There is nothing here.", "text/plain")
        except Refused as refusal:
            self._send(409, str(refusal).encode(), "text/plain")

    def _checkout(self, session_id: str, wish: str) -> None:
        account = self.server.account
        session = account.find(session_id, "checkout.session")
        if wish == "pay":
            account.pay(session_id)
            self._send(303, b"", "text/plain", Location=session["success_url"])
            return
        self._send(200, pages.checkout(session).encode(), "text/html; charset=utf-8")

    def _portal(self, customer_id: str, wish: str) -> None:
        what, _, subscription = wish.partition("/")
        if what in {"cancel", "keep"}:
            self.server.account.cancel_in_portal(subscription, cancel=what == "cancel")
        if what == "decline":
            self.server.account.decline_next(subscription)
        self._send(200, pages.portal(self.server.account, customer_id).encode(), "text/html; charset=utf-8")

    def _send(self, status: int, body: bytes, kind: str, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


class LocalStripe:
    """A running local Stripe: what a test can do there, and see of what the shop asked.

    >>> with LocalStripe.running(secret_key="sk_test_of_the_tests") as stripe:
    ...     session = stripe.account.pay(stripe.account.all("checkout.session")[0]["id"])
    """

    def __init__(self, *, secret_key: str, port: int = 0, webhook: str = "", webhook_secret: str = "") -> None:
        self._server = Server(port, secret_key=secret_key)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="local Stripe", daemon=True
        )
        self.address = self._server.account.address
        self.account = self._server.account
        self.faults = self._server.faults
        self._delivery: Delivery | None = None
        if webhook:
            self._delivery = Delivery(self.faults, url=webhook, secret=webhook_secret, clock=self.account.now)
            self.account.tell = self._delivery.take

    @classmethod
    @contextlib.contextmanager
    def running(
        cls, *, secret_key: str, port: int = 0, webhook: str = "", webhook_secret: str = ""
    ) -> Iterator[LocalStripe]:
        local = cls(secret_key=secret_key, port=port, webhook=webhook, webhook_secret=webhook_secret)
        local.start()
        try:
            yield local
        finally:
            local.stop()

    def start(self) -> None:
        self._thread.start()
        if self._delivery is not None:
            self._delivery.start()

    def stop(self) -> None:
        if self._delivery is not None:
            self._delivery.stop()
        self._server.ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def calls(self, operation: str) -> list[Call]:
        """What the shop asked of an operation, like `POST /v1/refunds`, oldest first."""
        return [call for call in self._server.api.calls if call.operation == operation]

    def events(self, kind: str = "") -> list[Json]:
        """The events of a type, or all, oldest first."""
        return [event for event in self.account.events if kind in {"", event["type"]}]
