"""Time of access: the pure fold of grants into one end.

Nothing here reads a clock or a database; `now` and the grants are passed in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Generic, Protocol, TypeVar

# The last moment that Python and readers of JSON know; what would reach beyond it ends then.
LAST_MOMENT = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Access:
    """Access until a moment that is no longer part of it; `None` means for life."""

    ends_at: datetime | None

    def active_at(self, now: datetime) -> bool:
        return self.ends_at is None or now < self.ends_at

    def reaches_beyond(self, other: Access) -> bool:
        """Whether this ends later; a life reaches beyond everything but another life."""
        return other.ends_at is not None and (self.ends_at is None or self.ends_at > other.ends_at)

    def at_least_until(self, end: datetime | None) -> Access:
        if self.ends_at is None or end is None:
            return self
        return Access(max(self.ends_at, end))

    def extended_by(self, grant: Period) -> Access:
        """What is paid for after one more grant: periods stack, a fixed end only moves forward, a life stays one."""
        if self.ends_at is None:
            return self
        if grant.duration is not None:
            begins = max(self.ends_at, grant.granted_at)
            return Access(begins + min(grant.duration, LAST_MOMENT - begins))
        if grant.ends_at is not None:
            return Access(max(self.ends_at, grant.ends_at))
        return Access(None)


class Period(Protocol):
    """What the fold needs of a grant."""

    @property
    def granted_at(self) -> datetime: ...
    @property
    def duration(self) -> timedelta | None: ...
    @property
    def ends_at(self) -> datetime | None: ...
    @property
    def revoked_at(self) -> datetime | None: ...


P = TypeVar("P", bound=Period)


@dataclass(frozen=True, slots=True)
class Step(Generic[P]):
    """One grant in the fold and the access after it."""

    grant: P
    access: Access


def fold(grants: Iterable[P]) -> list[Step[P]]:
    """Each grant with the access after it, for grants in order of granted_at, then id.

    A revoked grant changes nothing, as if it had never been: the access before the first grant is the empty
    one, over at the very moment that grant was made. Nothing is stacked on a grace: whoever pays within it does not
    gain by having paid late.
    """
    steps: list[Step[P]] = []
    paid: Access | None = None
    grace: datetime | None = None
    for grant in grants:
        paid = paid or Access(grant.granted_at)
        if grant.revoked_at is None:
            paid = paid.extended_by(grant)
            grace = max(filter(None, (grace, grace_of(grant))), default=None)
        steps.append(Step(grant, paid.at_least_until(grace)))
    return steps


def grace_of(grant: Period) -> datetime | None:
    """Until when a period of a subscription gives access at the least; None for any other grant."""
    return grant.ends_at if grant.duration is not None else None


def furthest(grants: Iterable[P]) -> P | None:
    """The surviving grant that reaches furthest: one for life first, then the one that last moved the end."""
    best: P | None = None
    reached: Access | None = None
    for step in fold(grants):
        if step.grant.revoked_at is None and (reached is None or step.access.reaches_beyond(reached)):
            best, reached = step.grant, step.access
    return best
