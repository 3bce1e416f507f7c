"""Callers of the API: buyers with tokens, programs with keys, and the local Telegram behind send-invoice."""

import json
import time
from datetime import UTC, datetime

import jwt
import pytest
from django.conf import settings as configured
from django.test import Client

from config.api.authentication import create_api_client
from entitlements.models import Scope
from telegram_bot.gateway import gateway
from telegram_bot.sandbox.server import LocalTelegram


class Caller:
    """Speaks JSON to the API, always with the same credentials."""

    def __init__(self, authorization: str | None = None) -> None:
        self.client = Client()
        self.credentials = {} if authorization is None else {"Authorization": authorization}

    def get(self, path: str, **headers):
        return self.client.get(path, headers=self.credentials | spelled(headers))

    def post(self, path: str, body, **headers):
        raw = body if isinstance(body, (bytes, str)) else json.dumps(body)
        return self.client.post(path, raw, content_type="application/json", headers=self.credentials | spelled(headers))


def spelled(headers: dict) -> dict:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def claims_of(customer=None, **changed) -> dict:
    """What a good token of ours says; a claim given as None is left out."""
    now = int(time.time())
    claims = {
        "iss": configured.JWT_ISSUER,
        "aud": configured.JWT_AUDIENCE,
        "iat": now,
        "exp": now + 900,
        "sub": customer.user_id if customer else "somebody",
        "telegram_user_id": customer.telegram_user_id if customer else None,
    } | changed
    return {name: value for name, value in claims.items() if value is not None}


def signed(claims: dict, *, key: str | None = None, algorithm: str = "HS256", **headers) -> str:
    return jwt.encode(claims, key or configured.JWT_SIGNING_KEY, algorithm=algorithm, headers=headers)


def buyer(customer=None, **claims) -> Caller:
    return Caller(f"Bearer {signed(claims_of(customer, **claims))}")


def program(*scopes: Scope, **options) -> Caller:
    key = create_api_client(
        name="a product", scopes=list(scopes), lifetime=options.get("lifetime"), now=datetime.now(UTC)
    )
    return Caller(f"Api-Key {key}")


def problem_of(response) -> tuple[int, str]:
    """The status and code of an answer that is a well-formed problem."""
    assert response["Content-Type"] == "application/problem+json", response.content
    problem = response.json()
    assert problem["status"] == response.status_code
    assert {"type", "title", "detail"} <= set(problem)
    if response.status_code in {429, 503}:
        assert int(response["Retry-After"]) >= 1
    if response.status_code == 401:
        assert response["WWW-Authenticate"]
    return response.status_code, problem["code"]


@pytest.fixture
def nobody() -> Caller:
    return Caller()


@pytest.fixture
def as_alice(alice) -> Caller:
    return buyer(alice)


@pytest.fixture
def as_bob(bob) -> Caller:
    return buyer(bob)


@pytest.fixture
def telegram(settings):
    """A Telegram that the gateway calls."""
    with LocalTelegram.running(token=settings.TELEGRAM_BOT_TOKEN) as running:
        settings.TELEGRAM_API_BASE_URL = running.base_url
        yield running
        gateway.close()
