"""What production may not have: Django's checks of deployment, and beside them ours, each with what to set.

`manage.py check --deploy --database default` makes them all. Nothing that takes money starts while one is not met, and
`manage.py doctor` tells of each. Who knows better, as with a database that is durable without fsync, says so in
SILENCED_SYSTEM_CHECKS.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address, ip_network
from itertools import combinations
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import WARNING, CheckMessage, Error, Tags, register, run_checks
from django.db import connections
from django.http.request import validate_host

from config.addresses import UNIX

SHORTEST_TOKEN = 16  # characters of METRICS_TOKEN
FEWEST_DIFFERENT = 5  # characters of any secret, as Django asks of SECRET_KEY
WIDEST = {4: 8, 6: 16}  # the prefix of the largest network that proxies could have, by the version of IP
REDIS = {"redis", "rediss", "redis+unix"}
DURABLE = ("fsync", "synchronous_commit", "full_page_writes")
OPEN_SOURCES = ("*", "http:", "https:", "'unsafe-inline'", "'unsafe-eval'")  # of scripts and styles, in a policy


def faults(tag: str, *, host: str = "localhost") -> list[CheckMessage]:
    """What is not as production needs it, warnings included; nothing in development that only this machine reaches.

    :param tag: `Tags.security` for the settings; `Tags.database` for the server, which is asked
    :param host: where the process will listen, if it does
    """
    if settings.DEBUG and settings.LOOPBACK and is_loopback(host):
        return []
    found = run_checks(tags=[tag], include_deployment_checks=True, databases=["default"])
    return [fault for fault in found if fault.is_serious(WARNING) and not fault.is_silenced()]


def is_loopback(host: str) -> bool:
    """Whether nobody reaches it but this machine itself."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def goes_in_the_clear(url: str) -> bool:
    """Whether strangers on the way can read and change it: plain http beyond this machine and its own network."""
    address = urlsplit(url)
    host = address.hostname or ""
    try:
        is_near = ip_address(host).is_private
    except ValueError:
        is_near = "." not in host
    return address.scheme == "http" and not is_near


def can_be_guessed(secret: str) -> bool:
    """Whether it is long perhaps, but no random characters."""
    return len(set(secret)) < FEWEST_DIFFERENT


# --- Settings -----------------------------------------------------------------------------------------------------


@register(Tags.security, deploy=True)
def secrets_are_different(**_: Any) -> Iterator[Error]:
    """Those of different purposes; while one is rotated, nothing is lost by naming it twice."""
    named = [
        ("SECRET_KEY", settings.SECRET_KEY),
        *(("SECRET_KEY_FALLBACKS", secret) for secret in settings.SECRET_KEY_FALLBACKS),
        ("JWT_SIGNING_KEY", settings.JWT_SIGNING_KEY),
        *(("JWT_SIGNING_KEY_FALLBACKS", secret) for secret in settings.JWT_SIGNING_KEY_FALLBACKS),
        ("METRICS_TOKEN", settings.METRICS_TOKEN),
        *(("TELEGRAM_WEBHOOK_SECRET", secret) for secret in settings.TELEGRAM_WEBHOOK_SECRETS),
        *(("STRIPE_WEBHOOK_SECRET", secret) for secret in settings.STRIPE_WEBHOOK_SECRETS),
    ]
    for (name, secret), (other, same) in combinations(named, 2):
        if secret and secret == same and name.removesuffix("_FALLBACKS") != other.removesuffix("_FALLBACKS"):
            yield Error(
                f"{name} and {other} are the same secret: whoever is given the one has the other.",
                hint=f"Set {other} to random characters of its own.",
                id="starledger.E005",
            )


@register(Tags.security, deploy=True)
def tokens_cannot_be_forged(**_: Any) -> Iterator[Error]:
    named = {
        "JWT_SIGNING_KEY": [settings.JWT_SIGNING_KEY],
        "JWT_SIGNING_KEY_FALLBACKS": settings.JWT_SIGNING_KEY_FALLBACKS,
    }
    for name, keys in named.items():
        if any(map(can_be_guessed, keys)):
            yield Error(
                f"{name} can be guessed: whoever does so signs in as anybody.",
                hint=f"Set {name} to 32 or more random characters.",
                id="starledger.E014",
            )


@register(Tags.security, deploy=True)
def addresses_are_told_by_proxies_alone(**_: Any) -> Iterator[Error]:
    for name in settings.TRUSTED_PROXIES:
        if name == UNIX:
            continue
        network = ip_network(name)
        if network.prefixlen < WIDEST[network.version]:
            yield Error(
                f"TRUSTED_PROXIES holds {name}: anybody could say that he comes from anywhere, and no limit holds.",
                hint="Set TRUSTED_PROXIES to the addresses of your proxies, like 127.0.0.1.",
                id="starledger.E015",
            )


@register(Tags.security, deploy=True)
def keys_come_unaltered(**_: Any) -> Iterator[Error]:
    if goes_in_the_clear(settings.JWT_JWKS_URL):
        yield Error(
            "JWT_JWKS_URL is plain http: whoever is on the way can hand out keys of his own and sign in as anybody.",
            hint="Set JWT_JWKS_URL to an address of https.",
            id="starledger.E006",
        )


@register(Tags.security, deploy=True)
def hosts_are_named(**_: Any) -> Iterator[Error]:
    host = urlsplit(settings.PUBLIC_URL).hostname or ""
    if "*" in settings.ALLOWED_HOSTS:
        yield Error(
            "ALLOWED_HOSTS takes any name: links can be made to lead to somebody else's.",
            hint=f"Leave ALLOWED_HOSTS out, which means {host}, or name each host.",
            id="starledger.E007",
        )
    elif not validate_host(host, settings.ALLOWED_HOSTS):
        yield Error(
            f"ALLOWED_HOSTS lacks {host}, the host of PUBLIC_URL: every request would be refused.",
            hint=f"Leave ALLOWED_HOSTS out, which means {host}, or add it.",
            id="starledger.E007",
        )


@register(Tags.security, deploy=True)
def metrics_are_closed(**_: Any) -> Iterator[Error]:
    """Without a token they are closed to everybody, which harms nobody."""
    token = settings.METRICS_TOKEN
    if token and (len(token) < SHORTEST_TOKEN or can_be_guessed(token)):
        yield Error(
            "METRICS_TOKEN can be guessed, and /metrics tells the revenue.",
            hint=f"Set METRICS_TOKEN to {SHORTEST_TOKEN} or more random characters, or leave it out.",
            id="starledger.E008",
        )


@register(Tags.security, deploy=True)
def pages_have_a_policy(**_: Any) -> Iterator[Error]:
    policy = settings.CONTENT_SECURITY_POLICY.get("DIRECTIVES", {})
    open_directives = [
        name for name in ("script-src", "style-src") if set(OPEN_SOURCES).intersection(policy.get(name, ["*"]))
    ]
    if "config.csp.ScopedCSPMiddleware" not in settings.MIDDLEWARE:
        seen = "Pages are sent without a Content-Security-Policy."
    elif policy.get("default-src") != ["'none'"] or policy.get("frame-ancestors") != ["'none'"]:
        seen = "CONTENT_SECURITY_POLICY does not begin with nothing: default-src and frame-ancestors of 'none'."
    elif open_directives:
        seen = f"CONTENT_SECURITY_POLICY lets pages take what strangers wrote: {', '.join(open_directives)}."
    else:
        return
    yield Error(
        seen,
        hint="Keep MIDDLEWARE and CONTENT_SECURITY_POLICY as they were shipped; what one page needs, its view adds.",
        id="starledger.E009",
    )


@register(Tags.security, deploy=True)
def staff_have_two_factors(**_: Any) -> Iterator[Error]:
    if not settings.STAFF_SECOND_FACTOR:
        yield Error(
            "STAFF_SECOND_FACTOR is off: a password alone gives money back.",
            hint="Set STAFF_SECOND_FACTOR = True.",
            id="starledger.E010",
        )


@register(Tags.security, deploy=True)
def processes_share_what_they_count(**_: Any) -> Iterator[Error]:
    """Attempts are counted, and sessions kept, where every process sees them."""
    if settings.REDIS_URL and urlsplit(settings.REDIS_URL).scheme not in REDIS:
        yield Error(
            "REDIS_URL names no Redis, so no attempt would be counted for all processes.",
            hint="Set REDIS_URL to an address like redis://127.0.0.1:6379/0, or leave it out: PostgreSQL counts then.",
            id="starledger.E011",
        )
    if settings.SESSION_ENGINE != "django.contrib.sessions.backends.db":
        yield Error(
            "SESSION_ENGINE keeps sessions elsewhere than in the database: processes may not share them.",
            hint='Set SESSION_ENGINE = "django.contrib.sessions.backends.db", Django\'s own choice.',
            id="starledger.E012",
        )


# --- The database server ------------------------------------------------------------------------------------------


@register(Tags.database, deploy=True)
def databases_keep_what_they_say(databases: Iterable[str] | None, **_: Any) -> Iterator[Error]:
    for alias in databases or ():
        off = [name for name in DURABLE if setting_of(alias, name) == "off"]
        if off:
            yield Error(
                f"The database has {', '.join(off)} off: a crash loses payments that were answered with 200.",
                hint="Set them to on in postgresql.conf, and for the role and the database too.",
                id="starledger.E013",
            )


@register(Tags.database, deploy=True)
def databases_isolate_as_our_locks_expect(databases: Iterable[str] | None, **_: Any) -> Iterator[Error]:
    for alias in databases or ():
        level = setting_of(alias, "transaction_isolation")
        if level != "read committed":
            yield Error(
                f"The database isolates transactions as {level}; our locks are made for read committed.",
                hint="Take default_transaction_isolation out of the server, the role and DATABASE_URL.",
                id="starledger.E004",
            )


def setting_of(alias: str, name: str) -> str:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT current_setting(%s)", [name])
        (value,) = cursor.fetchone()
    return str(value)
