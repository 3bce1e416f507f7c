"""What the revenue page says about some days: money from the rollup, customers by indexes, access as last counted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

from django.core.exceptions import PermissionDenied
from django.db import connection

from entitlements.models import SAMPLED, AccessCount
from payments.recurring import Recurring, recurring
from payments.revenue import Group, Revenue, revenue

if TYPE_CHECKING:
    from django.contrib.auth.models import User

PERMISSION = "payments.view_revenue"
MOST_DAYS = 3_660  # ten years
MOST_DAYS_BY_DAY = 92  # more of them are told by month
MOST_COUNTED = 50_000  # rows; of more, a sample is counted


# --- Days -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Days:
    """Some UTC days in a row, first and last included."""

    first: date
    last: date

    @property
    def length(self) -> int:
        return (self.last - self.first).days + 1

    def before(self) -> Days:
        """As many days, up to the day before."""
        return Days(self.first - timedelta(days=self.length), self.first - timedelta(days=1))

    def moments(self) -> tuple[datetime, datetime]:
        """The first moment, and the first one after them."""
        after = self.last + timedelta(days=1)
        return datetime.combine(self.first, time.min, UTC), datetime.combine(after, time.min, UTC)

    def months(self) -> list[Days]:
        """The same days by month; the first and the last may be cut."""
        months, first = [], self.first
        while first <= self.last:
            next_month = (first.replace(day=1) + timedelta(days=31)).replace(day=1)
            months.append(Days(first, min(next_month - timedelta(days=1), self.last)))
            first = next_month
        return months

    def each(self) -> list[Days]:
        days = (self.first + timedelta(days=number) for number in range(self.length))
        return [Days(day, day) for day in days]


class Range(StrEnum):
    """The days that are asked for most, up to a `today`."""

    LAST_7_DAYS = "last_7_days"
    LAST_30_DAYS = "last_30_days"
    LAST_90_DAYS = "last_90_days"
    THIS_MONTH = "this_month"
    LAST_MONTH = "last_month"
    THIS_YEAR = "this_year"

    @property
    def words(self) -> str:
        return self.value.replace("_", " ").capitalize()

    def days(self, today: date) -> Days:
        match self:
            case Range.LAST_7_DAYS:
                return Days(today - timedelta(days=6), today)
            case Range.LAST_30_DAYS:
                return Days(today - timedelta(days=29), today)
            case Range.LAST_90_DAYS:
                return Days(today - timedelta(days=89), today)
            case Range.THIS_MONTH:
                return Days(today.replace(day=1), today)
            case Range.LAST_MONTH:
                last = today.replace(day=1) - timedelta(days=1)
                return Days(last.replace(day=1), last)
            case Range.THIS_YEAR:
                return Days(today.replace(month=1, day=1), today)


# --- Money ----------------------------------------------------------------------------------------------------------

Key: TypeAlias = str | date


@dataclass(frozen=True, slots=True)
class InCurrency:
    """One currency: these days and those before, then these by plan (most first) and by day or month (oldest first)."""

    currency: str
    now: Revenue
    before: Revenue
    by_plan: list[Revenue]
    over_time: list[tuple[Days, Revenue]]


def money(*, staff: User, days: Days) -> list[InCurrency]:
    """The revenue of each currency that had some in these days or in those before, by number of payments.

    :raises PermissionDenied: this person may not see revenue
    """
    _authorised(staff)
    now, before = _of_days(days), _of_days(days.before())
    by_plan = _of_days(days, Group.PLAN_CODE)
    step = Group.DAY if days.length <= MOST_DAYS_BY_DAY else Group.MONTH
    over_time = _of_days(days, step)
    currencies = sorted(
        {str(row.by[Group.CURRENCY]) for row in (*now, *before, *by_plan, *over_time)},
        key=lambda currency: (-_of(now, currency).payments, currency),
    )
    return [
        InCurrency(
            currency,
            _of(now, currency),
            _of(before, currency),
            sorted(_all_of(by_plan, currency), key=lambda row: (-row.gross, row.by[Group.PLAN_CODE])),
            _over_time(days, step, _all_of(over_time, currency)),
        )
        for currency in currencies
    ]


def summary(*, staff: User, days: Days) -> list[tuple[str, Revenue, Revenue]]:
    """Each currency with its revenue in these days and in as many before.

    :raises PermissionDenied: this person may not see revenue
    """
    _authorised(staff)
    now, before = _of_days(days), _of_days(days.before())
    currencies = {str(row.by[Group.CURRENCY]) for row in (*now, *before)}
    known = [(currency, _of(now, currency), _of(before, currency)) for currency in currencies]
    return sorted(known, key=lambda each: (-each[1].payments, each[0]))


def _authorised(staff: User) -> None:
    if not staff.has_perm(PERMISSION):
        raise PermissionDenied


def _of_days(days: Days, *group_by: Group) -> list[Revenue]:
    return revenue(first_day=days.first, last_day=days.last, group_by=group_by)


def _all_of(rows: Iterable[Revenue], currency: str) -> list[Revenue]:
    return [row for row in rows if row.by[Group.CURRENCY] == currency]


def _of(rows: Iterable[Revenue], currency: str) -> Revenue:
    """The one row of a currency, or nothing earned."""
    return next(iter(_all_of(rows, currency)), Revenue({Group.CURRENCY: currency}, 0, 0, 0, 0))


def _over_time(days: Days, step: Group, rows: list[Revenue]) -> list[tuple[Days, Revenue]]:
    """A row for each day or month, those without revenue included."""
    known: dict[Key, Revenue] = {row.by[step]: row for row in rows}
    if step is Group.DAY:
        return [(day, known.get(day.first, Revenue({}, 0, 0, 0, 0))) for day in days.each()]
    return [(month, known.get(f"{month.first:%Y-%m}", Revenue({}, 0, 0, 0, 0))) for month in days.months()]


# --- Subscriptions --------------------------------------------------------------------------------------------------


def subscriptions(*, staff: User, days: Days) -> list[tuple[str, Recurring, Recurring]]:
    """Each currency in which there are subscriptions, with those of these days and of as many before; the most first.

    :raises PermissionDenied: this person may not see revenue
    """
    _authorised(staff)
    now, before = (recurring(first_day=each.first, last_day=each.last) for each in (days, days.before()))
    known = {each.currency: each for each in before}
    return [(each.currency, each, known.get(each.currency, Recurring(each.currency))) for each in now]


# --- Customers ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Counted:
    """How many there are: exactly, or about as many as a sample of every hundredth customer says."""

    number: int
    exactly: bool = True

    def __str__(self) -> str:
        return f"{self.number:,}" if self.exactly else f"≈ {self.number:,}"


@dataclass(frozen=True, slots=True)
class Customers:
    """Those first met in these days, and those with at least one payment that counts as revenue in them."""

    new: Counted
    paying: Counted


NEW = """
    SELECT count(*) FROM (
        SELECT FROM entitlements_customer
        WHERE created_at >= %(first)s AND created_at < %(after)s {sampled}
        LIMIT {most}
    ) AS new
"""
PAYING = """
    SELECT count(DISTINCT customer_id) FROM payments_paymentevent AS payment
    WHERE occurred_at >= %(first)s AND occurred_at < %(after)s
      AND split_part(event_type, '.', 2) = 'successful_payment' {sampled}
      AND (status = 'processed' OR (SELECT resolution = 'granted' FROM payments_hold WHERE event_id = payment.id))
"""
# The words of the partial indexes, so that the planner knows them again.
SAMPLE_OF_NEW, SAMPLE_OF_PAYING = f"AND mod(id, {SAMPLED}) = 0", f"AND mod(customer_id, {SAMPLED}) = 0"


def customers(*, staff: User, days: Days) -> Customers:
    """Exact up to fifty thousand rows; beyond, estimated from one customer in a hundred, so that no range is slow.

    :raises PermissionDenied: this person may not see revenue
    """
    _authorised(staff)
    return Customers(_new(days), _paying(days))


def _new(days: Days) -> Counted:
    exactly = _count(NEW.format(sampled="", most=MOST_COUNTED + 1), days)
    if exactly <= MOST_COUNTED:
        return Counted(exactly)
    return Counted(SAMPLED * _count(NEW.format(sampled=SAMPLE_OF_NEW, most="ALL"), days), exactly=False)


def _paying(days: Days) -> Counted:
    """How many payments there are to read is known from the rollup."""
    if sum(row.payments for row in _of_days(days)) <= MOST_COUNTED:
        return Counted(_count(PAYING.format(sampled=""), days))
    return Counted(SAMPLED * _count(PAYING.format(sampled=SAMPLE_OF_PAYING), days), exactly=False)


def _count(question: str, days: Days) -> int:
    first, after = days.moments()
    with connection.cursor() as cursor:
        cursor.execute(question, {"first": first, "after": after})
        (count,) = cursor.fetchone()
    return int(count)


# --- Access ---------------------------------------------------------------------------------------------------------


def access_by_plan(*, staff: User) -> list[AccessCount]:
    """Who has access by which plan, when it was last counted; the most first.

    :raises PermissionDenied: this person may not see revenue
    """
    _authorised(staff)
    return list(AccessCount.objects.order_by("-customers", "entitlement", "plan_code"))
