"""Our own side, run as in production, and the textbook that reads the same tables."""

import itertools
import json
import os
import random
import subprocess
import sys
import time
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path

import jwt

from benchmarks import telegram
from benchmarks.load import Call, Due, Outcome, closed_loop, http_request, open_loop
from benchmarks.processes import free_port
from benchmarks.sides import FIRST_USER, Rate, Side, Surroundings, WebhookSide, telegram_call

CHECKED_AT_ONCE = 100  # user_ids in one bulk check
PERIOD, SEEDED_OVER = 30, 60  # days: of access, and over which customers.sql spreads the purchases
MANAGE = Path(__file__).parent.parent / "manage.py"
SIGNING_KEY = "benchmark-signing-key-0123456789-0123456789"
PRODUCTION = {
    "ENV_FILE": "",
    "DEBUG": "false",
    "SECRET_KEY": "benchmark-secret-key-0123456789-0123456789-0123456789",
    "JWT_SIGNING_KEY": SIGNING_KEY,
    "PUBLIC_URL": "http://127.0.0.1",
    "METRICS_TOKEN": "benchmark-metrics-token",
    "TELEGRAM_BOT_TOKEN": telegram.TOKEN,
    "TELEGRAM_WEBHOOK_SECRET": telegram.SECRET,
}


def use_production_settings() -> None:
    """Set this process up like the servers, so that the payloads it makes are theirs."""
    os.environ.update(
        PRODUCTION, DATABASE_URL="postgresql://nobody@127.0.0.1/none", DJANGO_SETTINGS_MODULE="config.settings"
    )


class Reader(Side):
    """A server that says who may use what."""

    port: int

    @abstractmethod
    def my_entitlements(self, user_id: str) -> Call:
        """A customer's question what he may use."""

    @abstractmethod
    def check(self, user_ids: list[str], active: set[str]) -> Call:
        """A program's question which of these may use gold."""

    def answer_my_entitlements(self, *, seconds: float) -> Rate:
        return self._answer([self.my_entitlements(str(self.random_user())) for _ in range(2_000)], seconds)

    def answer_checks(self, *, seconds: float) -> Rate:
        return self._answer([self._random_check() for _ in range(500)], seconds)

    def _random_check(self) -> Call:
        numbers = random.sample(range(self.customers), CHECKED_AT_ONCE)
        active = {str(FIRST_USER + number) for number in numbers if number % SEEDED_OVER < PERIOD}
        return self.check([str(FIRST_USER + number) for number in numbers], active)

    def _answer(self, calls: list[Call], seconds: float) -> Rate:
        closed_loop(self.port, iter(calls), seconds=0.5).require_right()
        outcome = closed_loop(self.port, itertools.cycle(calls), seconds=seconds).require_right()
        return Rate(outcome.answered, outcome.seconds)


class Starledger(WebhookSide, Reader):
    """Two web processes with threads and one worker, in production settings, logs and metrics on."""

    name = "starledger"
    most_per_second = 5_000
    api_key: str

    def environment(self) -> Mapping[str, str]:
        return {**PRODUCTION, **super().environment()}

    def prepare(self) -> None:
        self.around.cluster.create(self.database)
        self._manage("migrate", "-v0")
        with self.around.cluster.connect(self.database) as connection:
            connection.execute(
                "SELECT set_config('benchmark.customers', %s, false), set_config('benchmark.first_user', %s, false)",
                [str(self.customers), str(FIRST_USER)],
            )
            connection.execute((Path(__file__).parent / "customers.sql").read_bytes())
        self.settle()
        self.api_key = self._manage("create_api_key", "benchmark", "--scope", "entitlements:read").strip()
        self.port = free_port()
        self.start("web", str(MANAGE), "serve", "--workers", "2", "--port", str(self.port)).wait_for(self.port)
        self.worker = self.start("worker", str(MANAGE), "worker")

    def record_payments(self, *, seconds: float) -> Rate:
        """As the peers do: what is owed to the buyer is written down, and nobody takes it up meanwhile."""
        with self.worker.resting():
            return super().record_payments(seconds=seconds)

    def _manage(self, *command: str) -> str:
        return subprocess.run(
            [sys.executable, MANAGE, *command],
            env={**os.environ, **self.environment()},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout

    def committed(self) -> int:
        """Payments processed: each has given a grant in its transaction, and so have those of the seed."""
        return self.count("entitlements_grant") - self.customers

    def payments(self, count: int) -> list[Call]:
        return [
            telegram_call(telegram.payment_update(telegram_user_id=user, payload=payload))
            for user, payload in self._send_invoices(count)
        ]

    def answer_checkouts(self, *, per_second: int, seconds: float) -> Outcome:
        """Steady pre-checkouts, and as many payments between them; latencies by series: `checkout` and `payment`."""
        count = round(per_second * seconds)
        checkouts = [
            self._checkout(user, payload, number) for number, (user, payload) in enumerate(self._send_invoices(count))
        ]
        payments = self.payments(count)
        self.settle()
        before = self.committed()
        schedule = [
            due
            for number, (checkout, payment) in enumerate(zip(checkouts, payments, strict=True))
            for due in (
                Due(number / per_second, "checkout", checkout),
                Due((number + 0.5) / per_second, "payment", payment),
            )
        ]
        outcome = open_loop(self.port, schedule).require_right()
        self.require_committed(before + count, answered_at=outcome.finished_at)
        return outcome

    def _checkout(self, user: int, payload: str, number: int) -> Call:
        query_id = f"{time.time_ns()}{number}"
        update = telegram.checkout_update(telegram_user_id=user, payload=payload, query_id=query_id)
        answer = {"method": "answerPreCheckoutQuery", "pre_checkout_query_id": query_id, "ok": True}
        return telegram_call(update, answer=answer)

    def _send_invoices(self, count: int) -> list[tuple[int, str]]:
        """As many new invoices of random customers, as if sent this minute: each customer with his payload."""
        from payments import payloads
        from payments.identifiers import uuid7
        from payments.money import Money

        price = Money(telegram.PRICE, "XTR")
        sent = []
        with self.around.cluster.connect(self.database) as connection, connection.cursor() as cursor:
            cursor.execute("CREATE TEMPORARY TABLE quote (id uuid, customer_id bigint, payload text)")
            with cursor.copy("COPY quote FROM STDIN") as copy:
                for _ in range(count):
                    invoice_id, user = uuid7(), self.random_user()
                    payload = payloads.encode(
                        invoice_id=invoice_id, plan_code=telegram.PLAN_CODE, payer=user, price=price
                    )
                    copy.write_row((invoice_id, user - FIRST_USER + 1, payload))
                    sent.append((user, payload))
            cursor.execute((Path(__file__).parent / "invoices.sql").read_bytes())
        return sent

    def my_entitlements(self, user_id: str) -> Call:
        return Call(
            http_request("GET", "/api/v1/me/entitlements", Authorization=_bearer(user_id)),
            lambda body: f'"user_id":"{user_id}"'.encode() in body and b'"entitlement":"gold"' in body,
        )

    def check(self, user_ids: list[str], active: set[str]) -> Call:
        body = json.dumps({"entitlement": "gold", "user_ids": user_ids}).encode()
        return Call(
            http_request("POST", "/api/v1/entitlements/check", body, Authorization=f"Api-Key {self.api_key}"),
            lambda answer: set(json.loads(answer)["active"]) == active,
        )


class Textbook(Reader):
    """ModelSerializers and simplejwt on the tables of our side, served alike."""

    name = "textbook"

    def __init__(self, around: Surroundings, *, customers: int, tables_of: Starledger) -> None:
        super().__init__(around, customers=customers)
        self.owner = tables_of

    def environment(self) -> Mapping[str, str]:
        return {**self.owner.environment(), "DJANGO_SETTINGS_MODULE": "benchmarks.peers.textbook_settings"}

    def prepare(self) -> None:
        self.port = free_port()
        self.start("web", str(MANAGE), "serve", "--workers", "2", "--port", str(self.port)).wait_for(self.port)

    def my_entitlements(self, user_id: str) -> Call:
        return Call(
            http_request("GET", "/api/v1/me/entitlements", Authorization=_bearer(user_id)),
            lambda body: b'"code":"gold"' in body,
        )

    def check(self, user_ids: list[str], active: set[str]) -> Call:
        body = json.dumps({"entitlement": "gold", "user_ids": user_ids}).encode()
        return Call(
            http_request("POST", "/api/v1/entitlements/check", body, Authorization=_bearer(user_ids[0])),
            lambda answer: {row["user_id"] for row in json.loads(answer)} == active,
        )


def _bearer(user_id: str) -> str:
    """A token that both our side and simplejwt accept."""
    now = int(time.time())
    claims = {
        "iss": "starledger",
        "aud": "starledger",
        "sub": user_id,
        "telegram_user_id": int(user_id),
        "iat": now,
        "exp": now + 3600,
        "token_type": "access",
        "jti": f"{random.getrandbits(128):032x}",
    }
    return f"Bearer {jwt.encode(claims, SIGNING_KEY, algorithm='HS256')}"
