"""Everybody who may call: with good credentials, with bad ones, with those of others, and with none."""

import base64
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import jwt
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpResponse
from django.test import Client

from config.staff import Role, group_of
from entitlements.models import ApiClient, Customer, Scope
from telegram_bot.webhook import SECRET_HEADER
from tests.api.conftest import Caller, claims_of, program, signed
from tests.api.test_tokens import Issuer, segment
from tests.staff import signed_in


@dataclass
class Somebody:
    """Who calls. `kind` is his column in matrix.txt; a program's `scope` decides between two of them."""

    name: str
    kind: str
    headers: dict[str, str] = field(default_factory=dict)
    scope: Scope | None = None
    client: Client = field(default_factory=lambda: Client(enforce_csrf_checks=True))

    def asks(self, method: str, path: str, body: bytes = b"", **headers: str) -> HttpResponse:
        """Ask, and undo what came of it."""
        with transaction.atomic():
            answer = self.client.generic(
                method, path, body, content_type="application/json", headers={**self.headers, **headers}
            )
            transaction.set_rollback(True)
        return answer


def bearing(name: str, kind: str, token: str) -> Somebody:
    return Somebody(name, kind, {"Authorization": f"Bearer {token}"})


def everybody(alice: Customer, bob: Customer, blocked: Customer, host: Issuer) -> list[Somebody]:
    """Each caller once. `host` is the other issuer of tokens, whose public keys we accept."""
    return [
        Somebody("nobody", "nobody"),
        bearing("alice", "buyer", signed(claims_of(alice))),
        bearing("bob", "buyer", signed(claims_of(bob))),
        bearing("carol of the host", "buyer", host.token(sub="carol", telegram_user_id=7_500_000_000)),
        bearing("a blocked customer", "blocked", signed(claims_of(blocked))),
        *(bearing(name, "forged", token) for name, token in forged_tokens(alice, bob, host).items()),
        *(key_with(scope) for scope in Scope),
        *dead_keys(),
        *staff(),
        Somebody("telegram", "telegram", {SECRET_HEADER: settings.TELEGRAM_WEBHOOK_SECRETS[0]}),
        Somebody("prometheus", "prometheus", {"Authorization": f"Bearer {settings.METRICS_TOKEN}"}),
    ]


def forged_tokens(alice: Customer, bob: Customer, host: Issuer) -> dict[str, str]:
    """Tokens that would let Alice in, but for one fault each."""
    now = int(time.time())
    hosts = {"iss": settings.JWT_JWKS_ISSUER, "sub": alice.user_id}
    header, _, signature = signed(claims_of(alice)).split(".")
    return {
        "a token that has expired": signed(claims_of(alice, iat=now - 100, exp=now - 31)),
        "a token that is not valid yet": signed(claims_of(alice, nbf=now + 600)),
        "a token from the future": signed(claims_of(alice, iat=now + 600, exp=now + 900)),
        "a token that lives too long": signed(claims_of(alice, iat=now, exp=now + 24 * 3600 + 1)),
        "a token for another audience": signed(claims_of(alice, aud="another")),
        "a token of an unknown issuer": signed(claims_of(alice, iss="https://evil.example")),
        "a token of our key in the host's name": signed(claims_of(alice, iss=settings.JWT_JWKS_ISSUER)),
        "a token of the host's key in our name": host.token(iss=settings.JWT_ISSUER, sub=alice.user_id),
        "a token without a signature": f"{segment({'alg': 'none', 'typ': 'JWT'})}.{segment(claims_of(alice))}.",
        "a token whose claims were exchanged": f"{header}.{segment(claims_of(bob))}.{signature}",
        "a token of another key": signed(claims_of(alice), key="another key of more than thirty-two bytes"),
        "a token that names a foreign key": signed(claims_of(alice), kid="foreign"),
        "a token that names an unknown key of the host": jwt.encode(
            claims_of(**hosts), host.private["rsa"], algorithm="RS256", headers={"kid": "unknown"}
        ),
        "the host's public key as a shared secret": signed_with_public_key(claims_of(**hosts), host),
        "the host's public key as our secret": signed_with_public_key(claims_of(alice), host),
        "an API key as a token": program(*Scope).credentials["Authorization"].removeprefix("Api-Key "),
    }


def signed_with_public_key(claims: dict, host: Issuer) -> str:
    """HS256 with what everybody can read: taken by who lets the token choose how it is checked."""
    public = host.private["rsa"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed_part = f"{segment({'alg': 'HS256', 'kid': 'rsa'})}.{segment(claims)}"
    hs256 = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    signature = base64.urlsafe_b64encode(hs256.sign(signed_part.encode(), public)).rstrip(b"=").decode()
    return f"{signed_part}.{signature}"


def key_with(scope: Scope) -> Somebody:
    return Somebody(f"a key with {scope}", "key", program(scope).credentials, scope)


def dead_keys() -> Iterator[Somebody]:
    """Keys with every scope that open nothing."""
    expired = program(*Scope, lifetime=timedelta(seconds=-1))
    revoked = program(*Scope)
    ApiClient.objects.filter(prefix=prefix_of(revoked)).update(revoked_at=datetime.now(UTC))
    guessed = Caller(f"Api-Key {prefix_of(program(*Scope))}.{'A' * 43}")
    bare = Caller("Api-Key ")
    for name, key in {"an expired": expired, "a revoked": revoked, "a guessed": guessed, "an empty": bare}.items():
        yield Somebody(f"{name} key", "dead", key.credentials)


def prefix_of(key: Caller) -> str:
    return key.credentials["Authorization"].removeprefix("Api-Key ").partition(".")[0]


def staff() -> Iterator[Somebody]:
    """Signed in with both factors: with no permission, with those to look, with those to refund, with all."""
    for role in (None, Role.SUPPORT, Role.FINANCE, "superuser"):
        user = User.objects.create_user(role or "staff", is_staff=True, is_superuser=role == "superuser")
        if isinstance(role, Role):
            user.groups.add(group_of(role))
        yield Somebody(role or "staff", "staff", client=signed_in(user, enforce_csrf_checks=True))
