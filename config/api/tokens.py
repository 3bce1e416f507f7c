"""Buyers' tokens: JWTs of our own key, and those of another issuer by its public keys."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import threading
import time
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

import httpx
import jwt
import structlog
from django.conf import settings

LIFETIME = timedelta(minutes=15)
LONGEST_LIFETIME = timedelta(hours=24)
LEEWAY = timedelta(seconds=30)
LONGEST_TOKEN = 8192  # characters
REQUIRED = ["exp", "iat", "sub", "aud", "iss"]
SYMMETRIC = frozenset({"HS256", "HS384", "HS512"})
ASYMMETRIC = ["RS256", "ES256", "EdDSA"]

log = structlog.get_logger(__name__)


class InvalidToken(Exception):
    """Forged, expired, of another audience or issuer, or not a token at all."""


class KeysUnavailable(Exception):
    """The other issuer's keys could not be fetched, and none are known from before."""


@dataclass(frozen=True, slots=True)
class Claims:
    """Whom a token names: the host's or our `user_id`, and the Telegram account beside it when known."""

    sub: str
    telegram_user_id: int | None


def issue(*, user_id: str, telegram_user_id: int | None) -> str:
    """A token of our own for one customer, valid for `LIFETIME`."""
    now = int(time.time())
    claims = {
        "iss": settings.JWT_ISSUER,
        "aud": settings.JWT_AUDIENCE,
        "sub": user_id,
        "iat": now,
        "exp": now + int(LIFETIME.total_seconds()),
        **({"telegram_user_id": telegram_user_id} if telegram_user_id is not None else {}),
    }
    key = settings.JWT_SIGNING_KEY
    return jwt.encode(claims, key, algorithm=settings.JWT_ALGORITHMS[0], headers={"kid": key_id(key)})


def read(token: str) -> Claims:
    """Check a token and read whom it names.

    The token's own header chooses which of two closed lists it is held against, each with its own kind of key, so
    that a public key is never taken for a shared secret.

    :raises InvalidToken: with the reason, for the log
    :raises KeysUnavailable: when nobody can say whether it is valid
    """
    if len(token) > LONGEST_TOKEN:
        raise InvalidToken("too long")
    try:
        if settings.JWT_JWKS_URL and (header := jwt.get_unverified_header(token))["alg"] not in SYMMETRIC:
            key = key_set(settings.JWT_JWKS_URL).key(header.get("kid", ""))
            return _claims(_decode(token, key, ASYMMETRIC, settings.JWT_JWKS_ISSUER)["payload"])
        return _claims(_signed_by_us(token))
    except (jwt.PyJWTError, KeyError, ValueError, TypeError, OverflowError) as error:
        raise InvalidToken(str(error)) from error


def _signed_by_us(token: str) -> dict[str, Any]:
    """The payload of a token of our key, or of one that is being rotated."""
    for key in (settings.JWT_SIGNING_KEY, *settings.JWT_SIGNING_KEY_FALLBACKS):
        try:
            decoded = _decode(token, key, settings.JWT_ALGORITHMS, settings.JWT_ISSUER)
        except jwt.InvalidSignatureError:
            continue
        # A host that shares our key may leave the key's name out.
        if decoded["header"].get("kid", key_id(key)) != key_id(key):
            raise InvalidToken("names another key")
        payload: dict[str, Any] = decoded["payload"]
        return payload
    raise InvalidToken("not signed by a key of ours")


@cache
def key_id(key: str) -> str:
    """A name for our key that tells nothing of it."""
    return hashlib.blake2b(b"key id", key=hashlib.sha256(key.encode()).digest(), digest_size=8).hexdigest()


def _decode(token: str, key: str | jwt.PyJWK, algorithms: list[str], issuer: str) -> dict[str, Any]:
    return jwt.decode_complete(
        token,
        key,
        algorithms=algorithms,
        audience=settings.JWT_AUDIENCE,
        issuer=issuer,
        leeway=LEEWAY,
        options={"require": REQUIRED},
    )


def _claims(payload: dict[str, Any]) -> Claims:
    if not 0 < int(payload["exp"]) - int(payload["iat"]) <= LONGEST_LIFETIME.total_seconds():
        raise InvalidToken("valid for too long")
    sub, telegram_user_id = payload["sub"], payload.get("telegram_user_id")
    if not 1 <= len(sub) <= 255 or "\x00" in sub:
        raise InvalidToken("its sub cannot be a user_id")
    sub.encode()  # lone surrogates
    if telegram_user_id is not None and (type(telegram_user_id) is not int or not 0 < telegram_user_id < 2**52):
        raise InvalidToken("its telegram_user_id is not one")
    return Claims(sub, telegram_user_id)


class KeyClient(jwt.PyJWKClient):
    """PyJWT's, but its time limit is for the whole answer: a host that says a little every second has no more time."""

    def fetch_data(self) -> Any:
        """
        :raises httpx.HTTPError, OSError, ValueError: no answer in time, an error, or no JSON
        """
        return asyncio.run(self._answer()).json()

    async def _answer(self) -> httpx.Response:
        # The system's certificates, among which operators put those of their own networks.
        async with asyncio.timeout(self.timeout), httpx.AsyncClient(verify=ssl.create_default_context()) as client:
            return (await client.get(self.uri)).raise_for_status()


class KeySet:
    """Another issuer's public keys (JWKS), fetched when they are needed and kept.

    They are fetched again when a token names an unknown key, and after an hour, but never more than once a minute,
    so that forged names of keys are no way to keep us busy. Keys stay known while their issuer is out of reach.
    """

    TIME_LIMIT = 3.0  # seconds, of a fetch and of waiting for one
    A_MOMENT = 0.1  # seconds, until whoever fetches has noted when he began
    PAUSE = timedelta(minutes=1).total_seconds()
    FRESH = timedelta(hours=1).total_seconds()

    def __init__(self, url: str) -> None:
        self._client = KeyClient(url, cache_jwk_set=False, timeout=self.TIME_LIMIT)
        self._keys: dict[str, jwt.PyJWK] = {}
        self._tried_at = self._fetched_at = float("-inf")
        self._lock = threading.Lock()

    def key(self, kid: str) -> jwt.PyJWK:
        """:raises InvalidToken, KeysUnavailable:"""
        key = self._keys.get(kid)
        if key is None or time.monotonic() - self._fetched_at > self.FRESH:
            self._fetch()
            key = self._keys.get(kid)
        if key is None and not self._keys:
            raise KeysUnavailable
        if key is None:
            raise InvalidToken("names an unknown key")
        return key

    def _fetch(self) -> None:
        # Whoever knows keys goes on with them while another thread fetches newer ones. Who knows none waits, but not
        # beyond the limit of that fetch: it may take longer, for the system looks up the host's name as it likes.
        patience = 0.0 if self._keys else max(self.A_MOMENT, self._tried_at + self.TIME_LIMIT - time.monotonic())
        if not self._lock.acquire(timeout=patience):
            return
        try:
            if time.monotonic() - self._tried_at >= self.PAUSE:
                self._tried_at = time.monotonic()
                self._take(self._client.get_signing_keys())
        except (jwt.PyJWTError, httpx.HTTPError, ValueError, OSError) as error:
            log.warning("public keys of the other issuer not fetched", error=repr(error))
        finally:
            self._lock.release()

    def _take(self, keys: list[jwt.PyJWK]) -> None:
        self._keys = {key.key_id: key for key in keys if key.key_id}
        self._fetched_at = time.monotonic()


@cache
def key_set(url: str) -> KeySet:
    return KeySet(url)
