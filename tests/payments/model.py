"""What must come of it, whatever people, channels, banks and staff do: a plain model in Python that the books are held
against (T14).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from entitlements.models import Customer
from payments.models import Invoice, WhenActive

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
PERIOD, GRACE = 30 * DAY, 24 * HOUR


@dataclass(eq=False)
class Given:
    """A grant. What has a grace lasts to its end at the least, and nothing is laid behind that."""

    at: datetime
    lasts: timedelta | None
    until: datetime | None = None
    grace: datetime | None = None
    revoked: bool = False

    @classmethod
    def for_a_period(cls, at: datetime, ends_at: datetime) -> Given:
        grace = ends_at + GRACE
        return cls(at, min(PERIOD, ends_at - at), grace=grace) if at < ends_at else cls(at, None, until=grace)


class Line(NamedTuple):
    """A line of the ledger, of which a person may have several that are alike."""

    what: str
    status: str
    amount: int


@dataclass(eq=False)
class Subscribed:
    """A subscription; the books know it from the first of its payments that reaches them. `name` is Stripe's."""

    quote: Quote
    name: str = ""
    end: datetime | None = None
    changed: datetime | None = None
    state: str = "active"
    stopped: bool = False
    payments: list[Charge] = field(default_factory=list)

    @property
    def is_known(self) -> bool:
        return self.payments != []

    @property
    def last(self) -> Charge:
        """The payment of its last period."""
        return max(self.payments, key=lambda payment: payment.period_ends_at)

    def is_paid(self, payment: Charge, now: datetime) -> None:
        """One that is younger than what was told of it overrules that; what has ended runs on if it is paid for now."""
        self.payments.append(payment)
        end = payment.period_ends_at
        if len(self.payments) == 1:
            self.end, self.changed = end, payment.at
        elif end > self.end:
            self.end = end
            if (end + GRACE > now) if self.state == "ended" else (payment.at >= self.changed):
                self.enters("active", payment.at)

    def is_told(self, state: str, at: datetime) -> bool:
        """A channel says how it stands. What is older than we know is no news, nor is a failure before its time."""
        news = self.state != state and at >= self.changed and (state != "failed" or self.end <= at + DAY)
        if news:
            self.enters(state, at)
        return news

    def is_stopped(self, now: datetime) -> None:
        """We had the channel renew it no more."""
        if self.state != "ended":
            self.enters("canceled", now)
        self.stopped = True

    def is_over(self, now: datetime) -> bool:
        return self.state != "ended" and (self.end if self.state == "canceled" else self.end + GRACE) <= now

    def enters(self, state: str, at: datetime) -> None:
        self.state, self.changed = state, at
        if state == "active":
            self.stopped = False


@dataclass(eq=False)
class Quote:
    """An invoice."""

    invoice: Invoice
    buyer: Person
    paid: bool = False
    subscriptions: list[Subscribed] = field(default_factory=list)

    def of(self, payer: Person) -> list[Subscribed]:
        """What he has begun by it, whoever it was quoted to, and however often."""
        return [each for each in self.subscriptions if each.last.payer is payer]


@dataclass(eq=False)
class Charge:
    """A payment by the channel's `name` of it: there from the beginning, and in the books when it `is_recorded`."""

    name: str
    quote: Quote
    payer: Person
    amount: int
    at: datetime
    period_ends_at: datetime | None = None
    renewal: bool = False
    subscription: Subscribed | None = None
    report: object = None
    is_known: bool = False
    given: Given | None = None
    returned: dict[str, int] = field(default_factory=dict)

    @property
    def left(self) -> int:
        return self.amount - sum(self.returned.values())

    def is_recorded(self, now: datetime) -> None:
        """It gives what was bought, unless it was not bought so or was active already; a period is told in any case."""
        invoice, payer = self.quote.invoice, self.payer
        kept = self.subscription
        continues = self.renewal or (kept is not None and kept.is_known)
        twice = invoice.when_active == WhenActive.REJECT and not continues and payer.has(invoice.entitlement, self.at)
        if self.period_ends_at is not None:
            kept = self.subscription = kept or Subscribed(self.quote)
            if not kept.is_known:
                self.quote.subscriptions.append(kept)
                payer.subscribed.setdefault(invoice.entitlement, []).append(kept)
            kept.is_paid(self, now)
        differs = payer is not self.quote.buyer or self.amount != invoice.amount
        if not differs:
            self.quote.paid = True
        if not (differs or twice):
            ends_at = self.period_ends_at
            self.given = Given.for_a_period(self.at, ends_at) if ends_at else Given(self.at, invoice.duration)
            payer.grants.setdefault(invoice.entitlement, []).append(self.given)
        self.is_known = True
        self.is_booked("successful_payment", self.amount, status="processed" if self.given else "held")

    def is_given_back(self, refund: str, amount: int) -> None:
        """Of access nothing is taken before all of the money is back."""
        self.returned[refund] = amount
        if self.left == 0 and self.given:
            self.given.revoked = True
        self.is_booked("refunded_payment", amount)

    def came_back(self, refund: str) -> None:
        """A refund did not arrive: the access that it took stays taken, until staff decide."""
        self.is_booked("failed_refund", self.returned.pop(refund))

    def is_booked(self, what: str, amount: int, *, status: str = "processed") -> None:
        self.payer.ledger[Line(f"{self.quote.invoice.payment_method}.{what}", status, amount)] += 1


@dataclass(eq=False)
class Person:
    customer: Customer
    grants: dict[str, list[Given]] = field(default_factory=dict)
    subscribed: dict[str, list[Subscribed]] = field(default_factory=dict)
    ledger: Counter[Line] = field(default_factory=Counter)
    reminded: set[tuple[Charge, str]] = field(default_factory=set)

    def end(self, code: str) -> datetime | str | None:
        """When access ends by the plain rules: a moment, None for life, or "never had"."""
        grants = self.grants.get(code)
        if not grants:
            return "never had"
        end: datetime | None = min(given.at for given in grants)
        graces = [given.grace for given in grants if given.grace and not given.revoked]
        for given in sorted(grants, key=lambda given: given.at):  # sorted keeps the order of equal dates
            if given.revoked or end is None:
                continue
            if given.until is not None:
                end = max(end, given.until)
            else:
                end = None if given.lasts is None else max(end, given.at) + given.lasts
        return end if end is None else max([end, *graces])

    def has(self, code: str, now: datetime) -> bool:
        """What is no more than the grace of a subscription that nobody has paid on may be bought anew."""
        end = self.end(code)
        if end is None or end == "never had":
            return end is None
        lapsed = [each.end + GRACE for each in self.subscribed.get(code, []) if each.end <= now < each.end + GRACE]
        return now < end and not any(grace >= end for grace in lapsed)
