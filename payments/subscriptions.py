"""What becomes of a subscription: it begins with a payment, is renewed by others, is cancelled, fails and ends.

Dates are truth and states are hints: a channel's word that it was cancelled or failed changes no access, and a payment
that is younger than such a word overrules it. Every change is made under the customer's lock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypedDict
from uuid import UUID

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef

from config.database import database_now, retried
from entitlements import services as access
from entitlements.models import Customer, Entitlement, EntitlementQuerySet
from payments.models import (
    PaymentEvent,
    PaymentMethod,
    Subscription,
    SubscriptionPayment,
    SubscriptionState,
)
from payments.models.catalogue import RECURRING_DAYS

if TYPE_CHECKING:
    from payments.models import Invoice, Plan
    from payments.recording import ReceivedPayment

PERIOD = timedelta(days=RECURRING_DAYS)
# A renewal may be charged a little before the period that it follows has ended.
OVERLAP = timedelta(days=1)
BATCH = 100

logger = structlog.get_logger(__name__)


# --- Paid ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Period:
    """What a payment bought of a subscription: of this one, or of one that it begins.

    `is_first` is False of a renewal, also of one whose subscription we have never heard of.
    """

    reference: str
    ends_at: datetime
    subscription: Subscription | None
    is_first: bool

    @property
    def continues(self) -> bool:
        """Whether it belongs to what the customer has bought before, so that he cannot have bought that twice."""
        return self.subscription is not None or not self.is_first


def period_paid(
    payment: ReceivedPayment, *, paid_at: datetime, customer: Customer, invoice: Invoice | None, plan: Plan | None
) -> Period | None:
    """What a payment that is about to be recorded bought of a subscription; None when it belongs to none.

    The caller holds the customer's lock. A program that reports payments, and Telegram's list of them, tell neither the
    period's end nor its place: then it renews what was over by then, or nearly so, and begins where that ended. What is
    paid twice at once is no renewal.
    """
    bought = invoice or plan
    recurring = payment.period_ends_at is not None or payment.recurring or (bought is not None and bought.recurring)
    if payment.method == PaymentMethod.TELEGRAM_PROVIDER or not recurring:
        return None
    reference = payment.subscription or payment.payload or (invoice.payload if invoice else "") or payment.charge_id
    of_customer = Subscription.objects.filter(customer=customer, payment_method=payment.method, reference=reference)
    known = list(of_customer.order_by("started_at"))
    ends_at = payment.period_ends_at
    if ends_at is None:
        if followed := _followed(known, paid_at):
            subscription, ended_at = followed
            return Period(reference, max(paid_at, ended_at) + PERIOD, subscription, is_first=False)
        ends_at = paid_at + PERIOD
    if payment.subscription:  # its name is its own, whatever came before it
        return Period(reference, ends_at, known[0] if known else None, is_first=not payment.renewal)
    if payment.renewal:
        return Period(reference, ends_at, _nearest(known, ends_at), is_first=False)
    headless = (each for each in known if not each.first_charge_known and paid_at < each.started_at)
    return Period(reference, ends_at, next(headless, None), is_first=True)


def _followed(known: list[Subscription], paid_at: datetime) -> tuple[Subscription, datetime] | None:
    """The subscription of which a period, paid before, was over then or nearly so, and that period's end.

    Of several, that of which one ended nearest to the payment.
    """
    paid = SubscriptionPayment.objects.select_related("subscription__customer").filter(
        subscription__in=known, event__occurred_at__lt=paid_at, period_ends_at__lte=paid_at + OVERLAP
    )
    before = min(paid, key=lambda each: (abs(each.period_ends_at - paid_at), each.pk), default=None)
    return (before.subscription, before.period_ends_at) if before else None


def _nearest(known: list[Subscription], ends_at: datetime) -> Subscription | None:
    """The subscription that the renewal belongs to.

    An invoice that was paid twice began two: the periods of each follow one another to the second or nearly so. Of two
    that began in the same second either will do, they are alike.
    """

    def apart(subscription: Subscription) -> timedelta:
        off = (ends_at - subscription.current_period_end) % PERIOD
        return min(off, PERIOD - off)

    return min(known, key=lambda each: (apart(each), each.current_period_end, each.pk), default=None)


class Terms(TypedDict):
    """How long a grant lasts (entitlements.services.grant)."""

    duration: timedelta | None
    ends_at: datetime | None


def terms(*, bought: timedelta | None, granted_at: datetime, period_ends_at: datetime | None) -> Terms:
    """How long a payment gives access: for what was bought; of a subscription, to the end of its period and the grace.

    What the customer had besides is kept, as with every purchase: the period is stacked upon it. One that was charged
    late is shorter than others.
    """
    if period_ends_at is None:
        return Terms(duration=bought, ends_at=None)
    grace_ends_at = period_ends_at + settings.SUBSCRIPTION_GRACE
    left = period_ends_at - granted_at
    if bought is None or left <= timedelta():
        return Terms(duration=None, ends_at=grace_ends_at)
    return Terms(duration=min(bought, left), ends_at=grace_ends_at)


def note_payment(event: PaymentEvent, period: Period) -> Subscription:
    """Begin the subscription with its first payment, or renew it: part of the transaction that records the payment."""
    subscription = period.subscription
    if subscription is None:
        subscription = _begin(event, period)
    else:
        _continue(subscription, event, period)
    SubscriptionPayment.objects.create(
        event=event, subscription=subscription, period_ends_at=period.ends_at, is_renewal=not period.is_first
    )
    tell_access(subscription)
    return subscription


def _begin(event: PaymentEvent, period: Period) -> Subscription:
    subscription = Subscription.objects.create(
        customer=event.customer,
        plan=event.plan,
        entitlement=bought.entitlement if (bought := event.invoice or event.plan) else "",
        payment_method=event.payment_method,
        reference=period.reference,
        first_charge_id=event.event_id,
        first_charge_known=period.is_first,
        amount=event.amount,
        currency=event.currency,
        state_changed_at=event.occurred_at,
        started_at=event.occurred_at,
        current_period_end=period.ends_at,
        grace_ends_at=period.ends_at + settings.SUBSCRIPTION_GRACE,
    )
    why = "The first payment." if period.is_first else "A renewal of what we had not heard of."
    subscription.changes.create(state=subscription.state, at=event.occurred_at, why=why)
    log_of(subscription).info("subscription began", first_charge_known=period.is_first)
    return subscription


def _continue(subscription: Subscription, event: PaymentEvent, period: Period) -> None:
    if period.is_first:
        subscription.first_charge_id, subscription.first_charge_known = event.event_id, True
    subscription.renewals += 1
    subscription.started_at = min(subscription.started_at, event.occurred_at)
    if period.ends_at > subscription.current_period_end:
        subscription.current_period_end = period.ends_at
        subscription.reminded_of = ""
        subscription.grace_ends_at = period.ends_at + settings.SUBSCRIPTION_GRACE
        subscription.amount, subscription.currency = event.amount, event.currency
        subscription.plan = event.plan or subscription.plan
        if _overrules(event, subscription):
            _enter(subscription, SubscriptionState.ACTIVE, at=event.occurred_at, why=f"Renewed for {event.money}.")
    subscription.save()


def _overrules(event: PaymentEvent, subscription: Subscription) -> bool:
    """Whether this payment tells that it renews, whatever we have heard."""
    if subscription.state == SubscriptionState.ENDED:
        return subscription.grace_ends_at > event.received_at
    return event.occurred_at >= subscription.state_changed_at


# --- What the channel tells ---------------------------------------------------------------------------------------

TOLD = {
    "canceled": SubscriptionState.CANCELED,
    "active": SubscriptionState.ACTIVE,
    "failed": SubscriptionState.FAILED,
}
WORDS = {
    SubscriptionState.CANCELED: "The customer cancelled it.",
    SubscriptionState.ACTIVE: "The customer lets it renew again.",
    SubscriptionState.FAILED: "The renewal was not paid.",
}


@retried
@transaction.atomic
def note_state(*, payer: int, reference: str, state: str, at: datetime) -> Subscription | None:
    """Keep what Telegram says of a buyer's subscription; repeating it changes nothing.

    :param payer: the Telegram account
    :param at: when it said so
    :return: the subscription that changed; None where there is none for which it would be news
    """
    wanted = TOLD.get(state)
    customer = Customer.objects.locked().filter(telegram_user_id=payer).first()
    if wanted is None or customer is None:
        return None
    of_payload = Subscription.objects.running().filter(
        customer=customer, payment_method=PaymentMethod.TELEGRAM_STARS, reference=reference
    )
    # Of several begun by one invoice, that which is charged first: what we take wrong, their dates put right.
    for subscription in of_payload.exclude(state=wanted).order_by("current_period_end", "pk"):
        if _is_news(subscription, wanted, at):
            _enter(subscription, wanted, at=at, why=WORDS[wanted])
            _save(subscription)
            return subscription
    logger.info("subscription's state is no news", telegram_user_id=payer, state=state)
    return None


def _is_news(subscription: Subscription, state: SubscriptionState, at: datetime) -> bool:
    """An older word is none. A renewal fails when it is due: what is paid for longer was renewed since."""
    if at < subscription.state_changed_at:
        return False
    return state != SubscriptionState.FAILED or subscription.current_period_end <= at + OVERLAP


@retried
@transaction.atomic
def note_state_at_stripe(*, reference: str, state: SubscriptionState, at: datetime, why: str) -> Subscription | None:
    """Keep how Stripe says that a subscription stands; repeating it changes nothing.

    :param reference: Stripe's name of it
    :param at: when it said so
    :return: the subscription; None where we know of none
    """
    of_name = Subscription.objects.filter(payment_method=PaymentMethod.STRIPE, reference=reference)
    known = of_name.first()
    if known is None:
        return None
    Customer.objects.locked().get(pk=known.customer_id)
    subscription = of_name.select_related("customer").get(pk=known.pk)
    has_ended = subscription.state == SubscriptionState.ENDED and state != SubscriptionState.ACTIVE
    if subscription.state != state and not has_ended and _is_news(subscription, state, at):
        _enter(subscription, state, at=at, why=why)
        _save(subscription)
    return subscription


@retried
@transaction.atomic
def note_stopped(subscription: Subscription, *, why: str) -> None:
    """The channel was told to renew it no more, and obeys; repeating it changes nothing."""
    Customer.objects.locked().get(pk=subscription.customer_id)
    subscription = Subscription.objects.select_related("customer").get(pk=subscription.pk)
    now = database_now()
    subscription.stopped_at = subscription.stopped_at or now
    if subscription.state != SubscriptionState.ENDED:
        _enter(subscription, SubscriptionState.CANCELED, at=now, why=why)
    _save(subscription)


@retried
@transaction.atomic
def note_allowed(subscription: Subscription, *, why: str) -> None:
    """The customer may let it renew again, if he wants to: Telegram tells us when he does."""
    Customer.objects.locked().get(pk=subscription.customer_id)
    Subscription.objects.filter(pk=subscription.pk).update(stopped_at=None)
    subscription.refresh_from_db()
    subscription.changes.create(state=subscription.state, at=database_now(), why=why)


# --- The end ------------------------------------------------------------------------------------------------------


def end_what_is_over() -> int:
    """Mark the subscriptions that have ended: cancelled ones, and those whose renewal did not come within the grace.

    It gives and takes no access: that ends by itself. Returns how many.
    """
    over = Subscription.objects.over_at(database_now()).order_by("current_period_end")
    return sum(_end(pk, customer) for pk, customer in list(over.values_list("pk", "customer")[:BATCH]))


@retried
@transaction.atomic
def _end(pk: UUID, customer: int) -> bool:
    Customer.objects.locked().get(pk=customer)
    now = database_now()
    subscription = Subscription.objects.over_at(now).filter(pk=pk).first()
    if subscription is None:
        return False  # renewed meanwhile
    was_cancelled = subscription.state == SubscriptionState.CANCELED
    why = "It was cancelled, and its last period is over." if was_cancelled else "No renewal came within the grace."
    _enter(subscription, SubscriptionState.ENDED, at=now, why=why)
    _save(subscription)
    return True


def _save(subscription: Subscription) -> None:
    """Write it down, and with what it pays for whether that is renewed."""
    subscription.save()
    tell_access(subscription)


def tell_access(subscription: Subscription) -> None:
    """Let the entitlement say whether it is paid on by itself; the caller holds the customer's lock."""
    if subscription.entitlement:
        of_customer = Subscription.objects.filter(
            customer=subscription.customer_id, entitlement=subscription.entitlement
        )
        renews = of_customer.filter(state=SubscriptionState.ACTIVE).exists()
        access.note_renewal(customer=subscription.customer, entitlement=subscription.entitlement, renews=renews)


def _enter(subscription: Subscription, state: SubscriptionState, *, at: datetime, why: str) -> None:
    """Bring it into a state, with a line of its history; whoever calls saves it."""
    subscription.state_changed_at = at
    if state == SubscriptionState.ACTIVE:
        subscription.stopped_at = None  # what renews is not stopped: he undid it, or the channel never did
    if subscription.state == state:
        return
    subscription.state = state
    subscription.changes.create(state=state, at=at, why=why)
    log_of(subscription).info("subscription changed", why=why)


# --- Asked --------------------------------------------------------------------------------------------------------


def is_of_subscription(payment: PaymentEvent) -> bool:
    """Whether it paid for a period that is renewed by itself; held payments do as well."""
    return hasattr(payment, "subscription_payment")


def subscriptions_of(customer: Customer) -> list[Subscription]:
    """Those that have not ended, in the order in which they are charged or end."""
    running = Subscription.objects.running().filter(customer=customer)
    return list(running.select_related("plan").order_by("current_period_end"))


def active_beyond_grace(at: datetime) -> EntitlementQuerySet:
    """What is active, and not only for the grace of a subscription that nobody has paid on: that may be bought anew."""
    in_grace = Subscription.objects.in_grace_at(at).filter(
        customer=OuterRef("customer"), entitlement=OuterRef("code"), grace_ends_at__gte=OuterRef("active_until")
    )
    return Entitlement.objects.active_at(at).exclude(Exists(in_grace))


def log_of(subscription: Subscription) -> structlog.stdlib.BoundLogger:
    """A logger whose lines name the subscription and its customer."""
    log: structlog.stdlib.BoundLogger = logger.bind(
        subscription_id=str(subscription.pk),
        user_id=subscription.customer.user_id,
        plan_code=subscription.plan_id,
        amount=subscription.amount,
        currency=subscription.currency,
        state=str(subscription.state),
        current_period_end=subscription.current_period_end.isoformat(),
    )
    return log
