"""Who is calling: a buyer with a token, or a program with an API key."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from time import monotonic
from typing import Any, cast

import structlog
from django.db import connection
from django.db.models import Q
from django.db.models.functions import Now
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request
from structlog.contextvars import bind_contextvars

from config.api import ratelimit, tokens
from config.api.problems import Code, Problem
from config.database import retried
from entitlements import identities
from entitlements.models import ApiClient, Customer, Scope

PREFIX_LENGTH = 8
SECRET_BYTES = 32
API_KEY = re.compile(r"([a-z0-9]{8})\.([A-Za-z0-9_-]{43})")
USE_NOTED_EVERY = timedelta(minutes=1)

log = structlog.get_logger(__name__)


# --- Buyers ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Buyer:
    """The bearer of a valid token. Who that is to us is looked up when it is asked for."""

    claims: tokens.Claims

    is_authenticated = True

    def is_known_as(self, customer: identities.Identity | None) -> bool:
        """Whether this is the customer the token names, with nothing to change about him and nothing against him."""
        return (
            customer is not None
            and customer.blocked_at is None
            and identities.agree(customer, self.claims.telegram_user_id)
        )

    @cached_property
    def customer(self) -> Customer:
        """:raises Problem: `invalid_token` when the token's ids disagree with what we know, `customer_blocked`"""
        try:
            customer = identities.customer_for_token(sub=self.claims.sub, telegram_user_id=self.claims.telegram_user_id)
        except identities.IdentityDisagrees as error:
            raise Problem(Code.INVALID_TOKEN) from error
        if customer.blocked_at is not None:
            raise Problem(Code.CUSTOMER_BLOCKED)
        return customer


class BearerAuthentication(BaseAuthentication):
    """`Authorization: Bearer <JWT>`; the user of the request is a `Buyer`."""

    def authenticate(self, request: Request) -> tuple[Buyer, None] | None:
        token = credentials(request, "bearer")
        if token is None:
            return None
        try:
            claims = tokens.read(token)
        except tokens.InvalidToken as error:
            log.info("token refused", reason=str(error))
            ratelimit.hit_by_stranger(request)
            raise Problem(Code.INVALID_TOKEN) from error
        except tokens.KeysUnavailable as error:
            raise Problem(Code.UNAVAILABLE) from error
        bind_contextvars(user_id=claims.sub)
        return Buyer(claims), None

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="starledger"'


# --- Programs -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Program:
    """A program that holds an API key."""

    client_id: int
    prefix: str
    scopes: frozenset[str]
    requests_per_minute: int | None

    is_authenticated = True


class ApiKeyAuthentication(BaseAuthentication):
    """`Authorization: Api-Key <prefix>.<secret>`; the user of the request is a `Program`."""

    def authenticate(self, request: Request) -> tuple[Program, None] | None:
        key = credentials(request, "api-key")
        if key is None:
            return None
        # One who is refused anyway need not be looked up: wrong keys beyond the limit do not reach the database. Nobody
        # suffers for what others at his address do: a good key is a good key.
        hopeless = ratelimit.strangers_wait(request) and not good_keys.may_hold(key)
        program = None if hopeless else _program_with(key)
        if program is None:
            ratelimit.hit_by_stranger(request)
            raise Problem(Code.INVALID_TOKEN, "This API key is unknown, expired or revoked.")
        bind_contextvars(api_client=program.client_id)
        if program.requests_per_minute is not None:
            ratelimit.hit(subject=f"api_client:{program.client_id}", limit=program.requests_per_minute)
        return program, None

    def authenticate_header(self, request: Request) -> str:
        return 'Api-Key realm="starledger"'


def credentials(request: Request, scheme: str) -> str | None:
    """What follows the scheme's name in the Authorization header; None when it names another scheme or is missing."""
    given, _, value = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    return value.strip() if given.lower() == scheme else None


def create_api_client(*, name: str, scopes: list[Scope], lifetime: timedelta | None, now: datetime) -> str:
    """Make an API client and return its key `<prefix>.<secret>`, which nobody can read again."""
    prefix = "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(PREFIX_LENGTH))
    secret = secrets.token_urlsafe(SECRET_BYTES)
    ApiClient.objects.create(
        name=name,
        prefix=prefix,
        secret_hash=_hash(secret),
        scopes=scopes,
        expires_at=None if lifetime is None else now + lifetime,
    )
    return f"{prefix}.{secret}"


# The key's owner while it is good, and whether it is time to note its use again.
CLIENT = """
    SELECT id, secret_hash, scopes, requests_per_minute,
        coalesce(last_used_at <= statement_timestamp() - %s, true)
    FROM entitlements_apiclient
    WHERE prefix = %s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > statement_timestamp())
"""


@retried
def _program_with(key: str) -> Program | None:
    parts = API_KEY.fullmatch(key)
    if parts is None:
        return None
    prefix, secret = parts.groups()
    with connection.cursor() as cursor:
        cursor.execute(CLIENT, [cast(Any, USE_NOTED_EVERY), prefix])
        found = cursor.fetchone()
    # A prefix is no secret: how soon its absence is answered tells nothing of worth.
    if found is None:
        return None
    client_id, secret_hash, scopes, requests_per_minute, unnoted = found
    if not hmac.compare_digest(_hash(secret), bytes(secret_hash)):
        return None
    if unnoted:
        # At most once a minute, so that reading does not become writing.
        ApiClient.objects.filter(pk=client_id).update(last_used_at=Now())
    return Program(client_id, prefix, frozenset(scopes), requests_per_minute)


class GoodKeys:
    """Which keys are good, as of the last second: enough to tell wrong ones without asking the database for each."""

    FRESH = 1.0  # seconds

    def __init__(self) -> None:
        self._lock = threading.Lock()  # of the two that follow
        self.forget()

    def forget(self) -> None:
        self._hashes: frozenset[bytes] = frozenset()
        self._read_at = float("-inf")

    def may_hold(self, key: str) -> bool:
        """False only of a key that was not good when they were read last."""
        if not self._lock.acquire(timeout=self.FRESH):
            return True  # somebody reads them and gets no answer: whoever asks will see
        try:
            if monotonic() - self._read_at > self.FRESH:
                read_at = monotonic()
                self._hashes = _hashes_of_good_keys()
                self._read_at = read_at
            return _hash(key.partition(".")[2]) in self._hashes
        finally:
            self._lock.release()


good_keys = GoodKeys()


@retried
def _hashes_of_good_keys() -> frozenset[bytes]:
    good = ApiClient.objects.filter(Q(expires_at=None) | Q(expires_at__gt=Now()), revoked_at=None)
    return frozenset(map(bytes, good.values_list("secret_hash", flat=True)))


def _hash(secret: str) -> bytes:
    """Plain SHA-256 is enough: the secret holds 256 random bits."""
    return hashlib.sha256(secret.encode()).digest()
