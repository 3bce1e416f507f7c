"""What may be answered, written down from contract.md by itself: nothing here is imported from the server's code."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.fuzz.bodies import LARGEST, MARK

CODES = {
    400: {"malformed"},
    401: {"not_authenticated", "invalid_token"},
    403: {"forbidden", "entitlement_required", "customer_blocked"},
    404: {"not_found"},
    405: {"method_not_allowed"},
    409: {
        "already_active", "already_refunded", "refund_pending", "chat_unavailable", "idempotency_conflict",
        "idempotency_in_progress",
    },
    413: {"too_large"},
    415: {"unsupported_media_type"},
    422: {"unknown_plan", "currency_not_offered", "not_refundable", "invalid"},
    429: {"rate_limited"},
    503: {"unavailable", "payments_disabled"},
}  # fmt: skip
MEMBERS = {"type", "title", "status", "detail", "code", "errors", "refund_id", "entitlement"}
MEMBERS |= {"expires_at"}  # of what is active already; the contract leaves further members free
CHECKOUT = {"method", "pre_checkout_query_id", "ok"}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]  # names in small letters
    body: bytes


def faults_of_webhook(answer: Answer, *, body: bytes, is_telegram: bool) -> Iterator[str]:
    """What is wrong with what Telegram, or a stranger, was told."""
    if not is_telegram:
        yield from _unless(answer.status == 401, f"a stranger was answered {answer.status}")
        yield from faults_of_problem(answer)
    elif len(body) > LARGEST:
        yield from _unless(answer.status == 413, f"{len(body)} bytes were answered {answer.status}")
    elif answer.status != 200:
        yield f"{answer.status} for what must be taken"
    elif answer.body:
        yield from _faults_of_checkout(answer.body)


def _faults_of_checkout(body: bytes) -> Iterator[str]:
    told = _object(body)
    expected = CHECKOUT if told.get("ok") is True else CHECKOUT | {"error_message"}
    if told.keys() != expected or told["method"] != "answerPreCheckoutQuery" or type(told["ok"]) is not bool:
        yield f"an answer that is not one to a checkout: {body[:200]!r}"
    elif MARK in str(told.get("error_message")):
        yield "a refused checkout repeats what was sent"


def faults_of_api(answer: Answer, *, statuses: set[int], is_let_in: bool) -> Iterator[str]:
    """What is wrong with what a caller of the API was told; `statuses` are those of the endpoint."""
    if answer.status in {413, 415, 404} and answer.status in statuses:
        yield from faults_of_problem(answer)
    elif not is_let_in:
        yield from _unless(answer.status == 401, f"without credentials: {answer.status}")
        yield from faults_of_problem(answer)
    elif answer.status not in statuses:
        yield f"{answer.status} is none of {sorted(statuses)}"
    elif answer.status >= 400:
        yield from faults_of_problem(answer)
    elif answer.headers.get("content-type") != "application/json" or not _object(answer.body):
        yield f"{answer.status} without a JSON object"


def faults_of_problem(answer: Answer) -> Iterator[str]:
    """What keeps an answer from being a problem of the contract that tells nothing of what was sent."""
    told = _object(answer.body)
    if answer.headers.get("content-type") != "application/problem+json" or not told:
        yield f"{answer.status} that is no problem+json: {answer.body[:200]!r}"
        return
    yield from _unless(told.keys() <= MEMBERS, f"unknown members {sorted(told.keys() - MEMBERS)}")
    yield from _unless(told.get("status") == answer.status, f"{told.get('status')} in the body of {answer.status}")
    yield from _unless(
        told.get("code") in CODES.get(answer.status, ()), f"{answer.status} with the code {told.get('code')}"
    )
    yield from _unless(MARK.encode() not in answer.body, f"it repeats what was sent: {answer.body[:300]!r}")
    if answer.status in {429, 503}:
        yield from _unless(answer.headers.get("retry-after", "").isdecimal(), "no Retry-After")
    if answer.status == 401:
        yield from _unless("www-authenticate" in answer.headers, "no WWW-Authenticate")


def _object(body: bytes) -> dict[str, Any]:
    try:
        told = json.loads(body)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _unless(holds: bool, fault: str) -> Iterator[str]:
    if not holds:
        yield fault
