"""The catalogue: the terms of the plans, compared with what is on sale and put into force at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from payments.models import Plan, Price
from payments.money import Money


@dataclass(frozen=True, slots=True)
class PriceTerms:
    payment_method: str
    currency: str
    amount: int
    stripe_price_id: str

    def __str__(self) -> str:
        with_id = f" ({self.stripe_price_id})" if self.stripe_price_id else ""
        return f"{Money(self.amount, self.currency)} by {self.payment_method}{with_id}"


@dataclass(frozen=True, slots=True)
class PlanTerms:
    """A plan as the file has it; prices in the order of the file."""

    code: str
    title: str
    description: str
    entitlement: str
    features: dict[str, Any]
    duration_days: int | None
    recurring: bool
    when_active: str
    need_name: bool
    need_phone_number: bool
    need_email: bool
    position: int
    prices: tuple[PriceTerms, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """What must be done about one plan, and that in words. `terms` None: it is withdrawn."""

    code: str
    terms: PlanTerms | None
    words: tuple[str, ...]


@transaction.atomic
def compare(catalog: Sequence[PlanTerms]) -> list[Change]:
    """What would change if the catalogue came into force; nothing, when it is in force already."""
    return _changes(catalog)


@transaction.atomic
def put_into_force(catalog: Sequence[PlanTerms], *, now: datetime) -> list[Change]:
    """Make what is on sale equal to the catalogue, in one transaction, and return what that changed.

    A plan that is not in the catalogue is withdrawn, never deleted; one that returns is on sale again. Invoices that
    were sent keep their own copy of the terms.
    """
    with connection.cursor() as cursor:
        cursor.execute("LOCK TABLE payments_plan IN SHARE ROW EXCLUSIVE MODE")  # one catalogue at a time; sales go on
    changes = _changes(catalog)
    for change in changes:
        if change.terms is None:
            Plan.objects.filter(code=change.code).update(withdrawn_at=now)
        else:
            _write(change.terms)
    return changes


def _changes(catalog: Sequence[PlanTerms]) -> list[Change]:
    known = {plan.code: plan for plan in Plan.objects.prefetch_related("prices")}
    coming = {terms.code for terms in catalog}
    compared = [Change(terms.code, terms, _difference(terms, known.get(terms.code))) for terms in catalog]
    gone = [
        Change(code, None, ("withdrawn",))
        for code, plan in known.items()
        if code not in coming and plan.withdrawn_at is None
    ]
    return [change for change in compared + gone if change.words]


def _difference(coming: PlanTerms, plan: Plan | None) -> tuple[str, ...]:
    if plan is None:
        return ("new", *(f"{name}: {_shown(name, getattr(coming, name))}" for name in _NAMES))
    standing = _terms_of(plan)
    words = [
        f"{name}: {_shown(name, old)} → {_shown(name, new)}"
        for name in _NAMES
        if (old := getattr(standing, name)) != (new := getattr(coming, name))
    ]
    return ("on sale again", *words) if plan.withdrawn_at else tuple(words)


_NAMES = [field.name for field in fields(PlanTerms) if field.name != "code"]


def _shown(name: str, value: Any) -> str:
    match name, value:
        case "prices", prices:
            return ", ".join(map(str, prices)) or "none"
        case "duration_days", None:
            return "for life"
        case _, bool():
            return "yes" if value else "no"
        case _:
            return str(value) if value not in ("", {}) else "none"


def _terms_of(plan: Plan) -> PlanTerms:
    copied = {name: getattr(plan, name) for name in _NAMES if name != "prices"}
    return PlanTerms(code=plan.code, prices=tuple(_price_terms(price) for price in plan.prices.all()), **copied)


def _price_terms(price: Price) -> PriceTerms:
    return PriceTerms(price.payment_method, price.currency, price.amount, price.stripe_price_id)


def _write(terms: PlanTerms) -> None:
    """Prices are written anew around their plan: on what a plan may cost, the database has a rule about both."""
    Price.objects.filter(plan_id=terms.code).delete()
    values = {name: getattr(terms, name) for name in _NAMES if name != "prices"}
    Plan.objects.update_or_create(code=terms.code, defaults={**values, "withdrawn_at": None})
    Price.objects.bulk_create(
        Price(
            plan_id=terms.code,
            payment_method=price.payment_method,
            currency=price.currency,
            amount=price.amount,
            stripe_price_id=price.stripe_price_id,
            position=position,
        )
        for position, price in enumerate(terms.prices)
    )
