"""T19: a year of one subscription, in which everything happens that can; access is right at every hour of it."""

from datetime import UTC, datetime, timedelta

import pytest

from entitlements.models import Entitlement
from entitlements.selectors import has_access
from payments import reconciling, refunding, reminding, subscriptions
from payments.models import (
    Notice,
    NoticeKind,
    Origin,
    PaymentEvent,
    Refund,
    RunOutcome,
    Subscription,
    SubscriptionState,
)
from payments.money import Money
from payments.refunding import request_refund
from tests.books import faults_in_the_books
from tests.clock import a_clock_to_move
from tests.factories import PlanFactory

GRACE = timedelta(hours=24)
HOUR = timedelta(hours=1)


class Year:
    """Alice's subscription as Telegram has it, its clock, and ours beside it."""

    def __init__(self, telegram, shop, clock) -> None:
        self.telegram, self.shop, self.clock = telegram, shop, clock
        self.alice = telegram.person("Alice", language_code="en")
        self.alice.says("/buy club")
        self.works()
        self.alice.presses("Pay 500 ⭐")
        [link] = telegram.truth.links
        paying = self.alice.starts_paying(self.alice.opens(link))
        while not paying.done():
            self.works()
        self.works()

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(self.telegram.now(), UTC)

    @property
    def ours(self) -> Subscription:
        return Subscription.objects.get()

    @property
    def theirs(self):
        [subscription] = self.telegram.truth.subscriptions
        return subscription

    def paid_until(self) -> datetime:
        """The plain meaning of Telegram's own charges: to the end of the last period that was not given back."""
        kept = [charge for charge in self.telegram.truth.charges if charge.refunded_at is None]
        return datetime.fromtimestamp(max(charge.subscription_expiration_date for charge in kept), UTC)

    def passes(self, pause: timedelta, *, heard: bool = True) -> None:
        """Let time pass for Telegram and for us; unless `heard`, its updates wait."""
        self.telegram.advance(seconds=pause.total_seconds())
        self.clock.move_to(timedelta(seconds=self.telegram._world.clock.ahead))
        if heard:
            self.works()

    def works(self) -> None:
        """What workers do by the clock and what comes in."""
        self.shop.works()
        subscriptions.end_what_is_over()
        reminding.remind()
        self.shop.sends_notices()

    def passes_to(self, before_the_end: timedelta) -> None:
        """To so long before the next renewal; below zero it is after it."""
        end = datetime.fromtimestamp(self.theirs.expires_at, UTC)
        self.passes(end - before_the_end - self.now)

    def agrees(self) -> None:
        """Access and dates are Telegram's to the second."""
        assert Entitlement.objects.get().active_until == self.paid_until() + GRACE
        assert self.ours.current_period_end == datetime.fromtimestamp(self.theirs.expires_at, UTC)
        self.is_served()

    def is_served(self) -> None:
        assert has_access(str(self.alice.id), "club") == (self.now < self.paid_until() + GRACE)

    def renews(self) -> None:
        """The ordinary month: a reminder, then the renewal."""
        self.passes_to(timedelta(days=2))
        self.works()
        self.agrees()
        self.passes_to(-HOUR)
        self.agrees()


@pytest.fixture
def year(shop, local_telegram):
    PlanFactory(code="club", title="The club", entitlement="club", recurring=True, prices=[Money(500, "XTR")])
    with a_clock_to_move() as clock:
        yield Year(local_telegram, shop, clock)


def test_a_year_of_a_subscription_is_served_to_the_second(year):
    telegram, alice = year.telegram, year.alice
    year.agrees()
    year.renews()

    # One is lost: the list of Stars knows it, which is read twice an hour.
    year.passes_to(HOUR)
    telegram.faults.updates(lose=1, kind="successful_payment")
    due = year.theirs.expires_at
    year.passes(2 * HOUR)
    year.is_served()
    telegram._world.truth.transactions[-1]["date"] = due  # however busy this machine is
    reconciling.reconcile(asked_by="schedule")
    assert PaymentEvent.objects.filter(origin=Origin.RECONCILIATION).count() == 1
    year.agrees()

    # One is heard of 20 hours late.
    year.passes_to(HOUR)
    year.passes(HOUR, heard=False)
    for _ in range(4):
        year.passes(5 * HOUR, heard=False)
        year.is_served()
    year.works()
    year.agrees()

    # One is told twice, under two numbers.
    year.passes_to(-HOUR)
    [*_, told] = [update for update in telegram.truth.updates if update.kind == "successful_payment"]
    telegram.redelivers(told.update_id, under_new_id=True)
    year.works()
    year.agrees()

    # One is given back: the access ends, the subscription does not.
    year.renews()
    last = PaymentEvent.objects.payments().order_by("-occurred_at").first()
    refund = request_refund(payment_id=last.pk, reason="He was away.", requested_by="api:shop")
    refunding.pursue(refund_id=refund.pk)
    year.works()
    year.agrees()
    year.passes(2 * GRACE)
    year.agrees()
    assert not has_access(str(alice.id), "club")
    year.passes_to(-HOUR)
    year.agrees()

    # It is cancelled and turned on again.
    year.passes(timedelta(days=3))
    alice.cancels(year.theirs)
    year.works()
    assert year.ours.state == SubscriptionState.CANCELED
    year.passes(timedelta(days=20))
    alice.reenables(year.theirs)
    year.works()
    assert year.ours.state == SubscriptionState.ACTIVE

    while year.ours.renewals < 12:
        year.renews()

    # In the end it is not paid, and lapses.
    year.passes_to(HOUR)
    telegram.fails_to_renew(year.theirs)
    year.passes(2 * HOUR)
    assert year.ours.state == SubscriptionState.FAILED
    year.agrees()
    year.passes(GRACE)
    year.agrees()
    assert year.ours.state == SubscriptionState.ENDED
    assert not has_access(str(alice.id), "club")

    # The books are Telegram's truth, and the buyer was told everything once.
    charges = telegram.truth.charges
    assert {(charge.id, charge.amount) for charge in charges} == set(
        PaymentEvent.objects.payments().values_list("event_id", "amount")
    )
    assert {charge.id for charge in telegram.truth.refunds} == set(
        PaymentEvent.objects.refunds().values_list("event_id", flat=True)
    )
    assert (len(charges), year.ours.renewals, Refund.objects.count()) == (13, 12, 1)
    assert not Notice.objects.owed().exists()
    said = [message.get("text", "") for message in alice.messages()]
    assert (
        sum("is renewed on" in text for text in said)
        == Notice.objects.filter(kind=NoticeKind.SUBSCRIPTION_ENDING).count()
    )
    assert sum("could not be charged" in text for text in said) == 1
    assert sum(text.startswith("▫️ The club ended") for text in said) == 1
    assert reconciling.reconcile(asked_by="schedule", full=True).outcome == RunOutcome.CLEAN
    assert faults_in_the_books() == []
