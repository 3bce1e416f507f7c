"""HTTP for the shop: who asks with the key is let in, a key of idempotency repeats its answer, `expand` opens names."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from payments.sandbox import forms
from payments.sandbox.account import Account, Json, Refused, shown

ID = r"([A-Za-z0-9_:-]+)"
PAGE = 10


@dataclass(frozen=True)
class Answer:
    status: int
    body: Json
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """What the shop asked, kept for tests to look at."""

    operation: str
    params: Json
    key: str


class Api:
    def __init__(self, account: Account, *, secret_key: str) -> None:
        self.account = account
        self.secret_key = secret_key
        self.calls: list[Call] = []
        self._kept: dict[str, tuple[str, Answer]] = {}
        find, lists = self._find, self._list
        self.routes: list[tuple[str, str, Callable[..., Json]]] = [
            ("POST", "/v1/customers", account.create_customer),
            ("POST", "/v1/prices", account.create_price),
            ("POST", "/v1/checkout/sessions", account.create_session),
            ("GET", "/v1/checkout/sessions", lists(account.list_sessions)),
            ("GET", f"/v1/checkout/sessions/{ID}", find("checkout.session")),
            ("POST", f"/v1/checkout/sessions/{ID}/expire", lambda given, name: account.expire_session(name, given)),
            ("GET", f"/v1/payment_intents/{ID}", find("payment_intent")),
            ("POST", "/v1/refunds", account.create_refund),
            ("GET", "/v1/refunds", lists(account.list_refunds)),
            ("GET", f"/v1/invoices/{ID}", find("invoice")),
            ("GET", "/v1/invoice_payments", lists(account.list_invoice_payments)),
            ("GET", f"/v1/subscriptions/{ID}", find("subscription")),
            ("POST", f"/v1/subscriptions/{ID}", lambda given, name: account.update_subscription(name, given)),
            ("GET", f"/v1/disputes/{ID}", find("dispute")),
            ("POST", "/v1/billing_portal/sessions", account.create_portal),
            ("GET", "/v1/events", lists(account.list_events)),
            ("GET", "/v1/balance_transactions", lists(lambda given: account.all("balance_transaction"))),
            ("GET", "/v1/balance", lambda given: {"object": "balance", "livemode": False}),
        ]

    def operation(self, method: str, path: str) -> str:
        """The name of a call, for orders of faults: `POST /v1/refunds`, `GET /v1/invoices/:id`."""
        for verb, pattern, _ in self.routes:
            if verb == method and re.fullmatch(pattern, path):
                return f"{verb} {pattern.replace(ID, ':id')}"
        return f"{method} {path}"

    def answer(self, method: str, path: str, encoded: str, headers: dict[str, str]) -> Answer:
        """Do what is asked, once for each key of idempotency."""
        if headers.get("authorization") != f"Bearer {self.secret_key}":
            return _error(401, {"type": "invalid_request_error", "message": "Invalid API Key provided."})
        try:
            given = forms.read(encoded)
        except ValueError:
            return _error(400, {"type": "invalid_request_error", "message": "Invalid request."})
        key = headers.get("idempotency-key", "") if method == "POST" else ""
        self.calls.append(Call(self.operation(method, path), given, key))
        asked = hashlib.sha256(f"{method} {path} {encoded}".encode()).hexdigest()
        if key in self._kept:
            before, answer = self._kept[key]
            if before != asked:
                words = "Keys for idempotent requests can only be used with the same parameters."
                return _error(400, {"type": "idempotency_error", "message": words})
            return Answer(answer.status, answer.body, {"Idempotent-Replayed": "true"})
        answer = self._answer(method, path, given)
        if key:
            self.remember(key, asked, answer)
        return answer

    def remember(self, key: str, asked: str, answer: Answer) -> None:
        """Stripe repeats what it answered first under a key, errors of its own included."""
        self._kept[key] = (asked, answer)

    def fail(self, method: str, path: str, encoded: str, headers: dict[str, str]) -> Answer:
        """Answer that something went wrong; under the same key it stays so."""
        answer = _error(500, {"type": "api_error", "message": "An unknown error occurred."})
        if key := headers.get("idempotency-key", ""):
            self.remember(key, hashlib.sha256(f"{method} {path} {encoded}".encode()).hexdigest(), answer)
        return answer

    def _answer(self, method: str, path: str, given: Json) -> Answer:
        expand = given.pop("expand", [])
        for verb, pattern, act in self.routes:
            matched = re.fullmatch(pattern, path)
            if verb == method and matched:
                try:
                    return Answer(200, self._expanded(act(given, *matched.groups()), expand))
                except Refused as refusal:
                    return _error(refusal.status, refusal.error)
                except KeyError as missing:
                    words = f"Missing required param: {missing.args[0]}."
                    return _error(400, {"type": "invalid_request_error", "message": words, "code": "parameter_missing"})
        words = f"Unrecognized request URL ({method}: {path})."
        return _error(404, {"type": "invalid_request_error", "message": words})

    def _find(self, kind: str) -> Callable[[Json, str], Json]:
        return lambda given, name: self.account.find(name, kind)

    def _list(self, of: Callable[[Json], list[Json]]) -> Callable[[Json], Json]:
        def page(given: Json) -> Json:
            limit = int(given.pop("limit", PAGE))
            after = given.pop("starting_after", None)
            found = of(given)
            if after:
                names = [each["id"] for each in found]
                found = found[names.index(after) + 1 :]
            return {"object": "list", "data": found[:limit], "has_more": len(found) > limit, "url": "/v1"}

        return page

    # --- Expanding ----------------------------------------------------------------------------------------------------

    def _expanded(self, thing: Json, paths: list[str]) -> Json:
        told: Json = json.loads(json.dumps(self._shown(thing)))
        for path in paths:
            if path.count(".") > 3:
                raise Refused("You cannot expand more than 4 levels of a property.", param="expand")
            self._expand(told, path.split("."))
        return told

    def _expand(self, thing: Json, path: list[str]) -> None:
        head, *rest = path
        if head == "data" and isinstance(thing.get("data"), list):
            for each in thing["data"]:
                self._expand(each, rest)
            return
        if head == "payments" and thing.get("object") == "invoice":
            paid = [each for each in self.account.all("invoice_payment") if each["invoice"] == thing["id"]]
            thing["payments"] = {"object": "list", "data": [shown(each) for each in paid], "has_more": False}
        elif isinstance(thing.get(head), str):
            thing[head] = json.loads(json.dumps(shown(self.account.objects[thing[head]])))
        if rest and isinstance(thing.get(head), dict):
            self._expand(thing[head], rest)

    def _shown(self, thing: Json) -> Json:
        if thing.get("object") == "list":
            return {**thing, "data": [shown(each) for each in thing["data"]]}
        return shown(thing)


def _error(status: int, error: dict[str, Any]) -> Answer:
    return Answer(status, {"error": error})
