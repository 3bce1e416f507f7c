"""Who may use what, and why. Every answer is true at one moment of the database's clock."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import connection
from django.db.models.functions import Now

from config.database import database_now, retried
from entitlements.models import Customer, Entitlement
from entitlements.periods import Access, Step, fold, furthest


@retried
def has_access(user_id: str, entitlement: str, *, now: datetime | None = None) -> bool:
    """Whether the user may use it at this moment, or at another `now`."""
    if "\x00" in user_id:
        return False
    held = Entitlement.objects.filter(customer__user_id=user_id, code=entitlement)
    return held.active_at(now or Now()).exists()


# --- What one customer has ------------------------------------------------------------------------------------------


class KnownAs(NamedTuple):
    """An `entitlements.identities.Identity`."""

    user_id_origin: str
    telegram_user_id: int | None
    blocked_at: datetime | None


class Source(NamedTuple):
    """A grant, as far as the fold and the reader need it."""

    source: str
    plan_code: str
    features: dict[str, Any]
    granted_at: datetime
    duration: timedelta | None
    ends_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Held:
    """An entitlement of a customer, and the grants it follows from in the order of the fold."""

    code: str
    access: Access
    version: int
    will_renew: bool  # it is paid on by itself
    sources: list[Source] = field(default_factory=list)

    def leading(self) -> Source:
        """The surviving source that reaches furthest; when none survives, the last one."""
        return furthest(self.sources) or self.sources[-1]

    def steps(self) -> list[Step[Source]]:
        return fold(self.sources)


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a user_id has at one moment, expired entitlements included; nothing when nobody has that user_id."""

    user_id: str
    now: datetime
    identity: KnownAs | None
    entitlements: list[Held]

    @property
    def version(self) -> int:
        """Grows with every grant and revocation of the customer."""
        return sum(held.version for held in self.entitlements)


# One statement, because this is what products ask thousands of times a minute: the customer, his entitlements and
# their grants as of one snapshot; a single row with nothing but the clock when nobody has the user_id.
HOLDINGS = """
    SELECT clock.now, customer.user_id_origin, customer.telegram_user_id, customer.blocked_at,
        entitlement.code, entitlement.active_until, entitlement.version, entitlement.renews,
        given.source, given.plan_code, given.features,
        given.granted_at, given.duration, given.ends_at, given.revoked_at
    FROM (SELECT statement_timestamp() AS now) AS clock
    LEFT JOIN entitlements_customer AS customer ON customer.user_id = %s
    LEFT JOIN entitlements_entitlement AS entitlement ON entitlement.customer_id = customer.id
    LEFT JOIN entitlements_grant AS given
        ON given.customer_id = entitlement.customer_id AND given.entitlement = entitlement.code
    ORDER BY entitlement.code, given.granted_at, given.id
"""


@retried
def holdings(user_id: str) -> Holdings:
    """Everything a user_id has and had, by one query."""
    if "\x00" in user_id:
        return Holdings(user_id, database_now(), None, [])
    with connection.cursor() as cursor:
        cursor.execute(HOLDINGS, [user_id])
        rows = cursor.fetchall()
    now, *identity = rows[0][:4]
    if identity[0] is None:
        return Holdings(user_id, now, None, [])
    held: dict[str, Held] = {}
    for _, _, _, _, code, active_until, version, renews, source, plan_code, features, *times in rows:
        if code is None:
            break
        if code not in held:
            held[code] = Held(code, Access(active_until), version, renews)
        held[code].sources.append(Source(source, plan_code, json.loads(features), *times))
    return Holdings(user_id, now, KnownAs(*identity), list(held.values()))


def entitlements_of(customer: Customer) -> list[Held]:
    """What a customer has and had, by code."""
    return holdings(customer.user_id).entitlements


# --- What would be left ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Loss:
    """What an entitlement would lose at the moment `now`: it ends as in `after` instead of as in `before`."""

    code: str
    now: datetime
    before: Access
    after: Access


def losses(customer: Customer, source: str, *, gone: Collection[str] = ()) -> list[Loss]:
    """What taking back all that one source gave would cost the customer now; nothing that he no longer has.

    :param gone: sources that will have been taken back before
    """
    known = holdings(customer.user_id)
    found = []
    for held in known.entitlements:
        before = _without(held, gone, known.now)
        after = _without(held, {*gone, source}, known.now)
        if before != after and before.active_at(known.now):
            found.append(Loss(held.code, known.now, before, after))
    return found


def _without(held: Held, gone: Collection[str], now: datetime) -> Access:
    left = (each._replace(revoked_at=now) if each.source in gone else each for each in held.sources)
    return fold(left)[-1].access


# --- Many customers at once -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Checked:
    """Those of the users asked for who have access at the moment `now`, and until when: RFC 3339, None for life.

    The ends are text as the database writes it: to make a thousand datetimes of it, and text of them again, would
    cost more than the question.
    """

    now: datetime
    active: dict[str, str | None]


# One row for any number of users, true at one moment.
CHECK = """
    SELECT statement_timestamp(), coalesce(json_object_agg(
        customer.user_id,
        replace(to_char(entitlement.active_until AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '.000000Z', 'Z')
    ), '{}')::text
    FROM entitlements_customer AS customer
    JOIN entitlements_entitlement AS entitlement ON entitlement.customer_id = customer.id
    WHERE customer.user_id = ANY(%s) AND entitlement.code = %s
        AND (entitlement.active_until IS NULL OR entitlement.active_until > statement_timestamp())
"""


@retried
def check_many(entitlement: str, user_ids: Collection[str]) -> Checked:
    """Which of these users may use it, by one query."""
    with connection.cursor() as cursor:
        cursor.execute(CHECK, [list(user_ids), entitlement])
        now, active = cursor.fetchone()
    return Checked(now, json.loads(active))


# --- Why ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reason:
    """Something that happened to an entitlement, and the access after it."""

    at: datetime
    what: str  # granted or revoked
    source: str
    access: Access


@dataclass(frozen=True, slots=True)
class Explanation:
    """How an entitlement came to be as it is; `access` is None for one the user never had."""

    access: Access | None
    active: bool
    reasons: list[Reason]


def explain(user_id: str, code: str) -> Explanation:
    """What gave and took the entitlement, oldest first, and what each changed."""
    return explain_all(user_id).get(code) or Explanation(None, False, [])


def explain_all(user_id: str) -> dict[str, Explanation]:
    """The same of every entitlement the user has or had, by code, by one query."""
    held_by_user = holdings(user_id)
    return {
        held.code: Explanation(held.access, held.access.active_at(held_by_user.now), _reasons(held.sources))
        for held in held_by_user.entitlements
    }


def _reasons(sources: list[Source]) -> list[Reason]:
    """Replay the grants and revocations in the order of their times; each access is the fold of what was true then."""
    events = [(source.granted_at, "granted", position) for position, source in enumerate(sources)]
    events += [(source.revoked_at, "revoked", position) for position, source in enumerate(sources) if source.revoked_at]
    known: dict[int, Source] = {}
    reasons = []
    for at, what, position in sorted(events):
        revoked_at = at if what == "revoked" else None
        known[position] = sources[position]._replace(revoked_at=revoked_at)
        access = fold(known[place] for place in sorted(known))[-1].access
        reasons.append(Reason(at, what, sources[position].source, access))
    return reasons
