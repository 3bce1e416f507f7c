"""Stars subscriptions after the first payment: renewals, their end, and time passing."""

import asyncio
from collections.abc import Callable

from telegram_bot.sandbox import shapes
from telegram_bot.sandbox.checkout import Checkout
from telegram_bot.sandbox.clock import Clock
from telegram_bot.sandbox.delivery import Deliveries
from telegram_bot.sandbox.errors import BadRequest, NotPossible
from telegram_bot.sandbox.truth import Charge, Person, Subscription, Truth

PATIENCE = 1.0


class Subscriptions:
    def __init__(
        self,
        truth: Truth,
        clock: Clock,
        deliveries: Deliveries,
        checkout: Checkout,
        *,
        follow: Callable[[float], None] | None = None,
    ) -> None:
        self._follow = follow
        self._truth = truth
        self._clock = clock
        self._deliveries = deliveries
        self._checkout = checkout

    def renew(self, subscription: Subscription) -> Charge:
        """Charge for the next period now, without a pre-checkout: Telegram asks nobody about renewals."""
        if not subscription.renews:
            raise NotPossible("this subscription is not renewed any more")
        invoice = self._truth.invoices[subscription.invoice_id]
        return self._checkout.charge(invoice, self._person(subscription), subscription=subscription)

    def fail(self, subscription: Subscription) -> None:
        """The person's balance does not pay for the next period."""
        if not subscription.renews:
            raise NotPossible("this subscription is not renewed any more")
        subscription.state, subscription.next_fails = "failed", False
        self._tell(subscription)

    def let_next_fail(self, subscription: Subscription, *, fails: bool = True) -> None:
        """Have it fail when it falls due, or not after all."""
        if not subscription.renews:
            raise NotPossible("this subscription is not renewed any more")
        subscription.next_fails = fails
        self._truth.touch()

    def cancel(self, subscription: Subscription) -> None:
        if subscription.state != "active":
            raise NotPossible("this subscription is not active")
        subscription.state = "canceled"
        self._tell(subscription)

    def reenable(self, subscription: Subscription) -> None:
        if subscription.state != "canceled" or subscription.canceled_by_bot:
            raise NotPossible("only a subscription the person has cancelled can be re-enabled by them")
        if subscription.expires_at <= self._clock.now():
            raise NotPossible("this subscription has ended")
        subscription.state = "active"
        self._tell(subscription)

    def edit_by_bot(self, person: Person, charge_id: str, *, is_canceled: bool) -> None:
        """``editUserStarSubscription``: the bot stops the renewals, or lets the person have them again.

        :raises BadRequest: no subscription of this person began with this charge, or it has ended
        """
        charge = self._truth.charges.get(charge_id)
        if charge is None or charge.person_id != person.id or not charge.subscription_id:
            raise BadRequest("CHARGE_NOT_FOUND")
        subscription = self._truth.subscriptions[charge.subscription_id]
        if subscription.expires_at <= self._clock.now():
            raise BadRequest("SUBSCRIPTION_NOT_ACTIVE")
        if subscription.canceled_by_bot and not is_canceled and subscription.state == "active":
            subscription.state = "canceled"  # the person may re-enable it now, and has to do so
        subscription.canceled_by_bot = is_canceled
        self._truth.touch()

    async def pass_time(self, seconds: float) -> None:
        """Move the clock on, renewing what falls due on the way, each on its own day, or failing to.

        Before each step a webhook gets a moment to be told what is pending; what it does not take grows old.
        """
        end = self._clock.now() + seconds
        while due := min((one for one in self._due_until(end)), key=lambda one: one.expires_at, default=None):
            await self._move_to(due.expires_at)
            if due.next_fails:
                self.fail(due)
            else:
                self.renew(due)
        await self._move_to(end)

    async def _move_to(self, moment: float) -> None:
        """Others first: what happens then must not be in their future."""
        await self._deliveries.settled(within=PATIENCE)
        if self._follow is not None:
            await asyncio.to_thread(self._follow, self._clock.ahead + max(0.0, moment - self._clock.now()))
        self._clock.move_to(moment)
        self._truth.ahead = self._clock.ahead
        self._truth.touch()

    def _due_until(self, end: float) -> list[Subscription]:
        return [one for one in self._truth.subscriptions.values() if one.renews and one.expires_at <= end]

    def _person(self, subscription: Subscription) -> Person:
        return self._truth.people[subscription.person_id]

    def _tell(self, subscription: Subscription) -> None:
        person = self._person(subscription)
        content = shapes.subscription_update(subscription, person)
        self._deliveries.send("subscription", content, lane=f"subscription:{person.id}")
        self._truth.touch()
