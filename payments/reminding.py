"""Reminders of subscriptions: before one is renewed or ends, after a renewal was not paid, and when it is over.

Each is owed for the payment of a period, and once for each: a notice has a unique key. A subscription keeps of which it
was owed last, and so the clock looks only at those of which it is not yet. Whoever sends it asks again whether it is so
(`is_so`).
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery, TextField, Value
from django.db.models.functions import Concat, Now

from config.database import database_now, retried
from entitlements.models import Customer, Grant
from payments.models import (
    Notice,
    NoticeKind,
    Subscription,
    SubscriptionPayment,
    SubscriptionState,
    WithoutReminders,
)
from payments.models.notices import REMINDERS
from payments.subscriptions import OVERLAP

FRESH = timedelta(days=2)  # of an end that is older nobody wants to hear
BATCH = 100  # a minute; whoever has just paid waits behind them for no longer than seconds


@retried
def remind() -> int:
    """Owe every reminder that is due. Repeating it owes nothing twice. Returns how many were owed anew."""
    return sum(_owe(kind, due) for kind, due in untold_at(database_now()).items())


def untold_at(now: datetime) -> dict[NoticeKind, QuerySet[Subscription]]:
    """The subscriptions of which each kind of reminder is due, but for those that are known to be told."""
    return {kind: due.exclude(reminded_of=kind) for kind, due in _due_at(now).items()}


def _due_at(now: datetime) -> dict[NoticeKind, QuerySet[Subscription]]:
    running = Subscription.objects.running()
    soon = running.filter(current_period_end__gt=now, current_period_end__lte=now + settings.SUBSCRIPTION_REMINDER)
    # What renews is charged, whatever became of the last payment; what ends must have given something.
    gives = Exists(_last_payment().filter(Exists(_grants_of_it())))
    ends = Q(state=SubscriptionState.CANCELED) & Q(gives)
    fresh = Subscription.objects.filter(state=SubscriptionState.ENDED, state_changed_at__gt=now - FRESH)
    return {
        NoticeKind.SUBSCRIPTION_ENDING: soon.filter(Q(state=SubscriptionState.ACTIVE) | ends),
        NoticeKind.SUBSCRIPTION_FAILED: running.filter(
            state=SubscriptionState.FAILED, current_period_end__lte=now + OVERLAP, grace_ends_at__gt=now
        ),
        NoticeKind.SUBSCRIPTION_ENDED: fresh.filter(gives).exclude(_has_another()),
    }


def _last_payment() -> QuerySet[SubscriptionPayment]:
    """That of the last period of a subscription in the query around it."""
    paid = SubscriptionPayment.objects.filter(
        subscription=OuterRef("pk"), period_ends_at=OuterRef("current_period_end")
    )
    return paid.order_by("-event")


def _grants_of_it() -> QuerySet[Grant]:
    """What that payment gave and still gives: a part of it that was given back leaves the access."""
    payment = (OuterRef("event__payment_method"), Value(":"), OuterRef("event__event_id"))
    source = Concat(*payment, output_field=TextField())
    return Grant.objects.filter(source=source, revoked_at=None)


def _has_another() -> Exists:
    others = Subscription.objects.running().filter(customer=OuterRef("customer"), entitlement=OuterRef("entitlement"))
    return Exists(others.exclude(pk=OuterRef("pk")))


@transaction.atomic
def _owe(kind: NoticeKind, due: QuerySet[Subscription]) -> int:
    """Owe it for the payment of the last period, to those who want reminders and have a chat to read them in."""
    reachable = due.filter(customer__no_reminders=None, customer__telegram_user_id__isnull=False)
    told = Exists(Notice.objects.filter(event=OuterRef("last"), kind=kind))
    paid = reachable.annotate(last=Subquery(_last_payment().values("event")[:1])).exclude(last=None)
    # Whoever is changing one is not waited for: it is looked at again in a minute.
    free = paid.annotate(is_told=told).only("pk").select_for_update(of=("self",), skip_locked=True, no_key=True)
    found = list(free[:BATCH])
    owed = [Notice(event_id=each.last, kind=kind) for each in found if not each.is_told]
    Notice.objects.bulk_create(owed, ignore_conflicts=True)
    Subscription.objects.filter(pk__in=[each.pk for each in found]).update(reminded_of=kind)
    return len(owed)


def is_so(notice: Notice, subscription: Subscription, *, now: datetime) -> bool:
    """Whether a reminder that is owed still says what is so, and is still wanted."""
    if notice.event.subscription_payment.period_ends_at != subscription.current_period_end:
        return False  # renewed since
    if not wants_reminders(subscription.customer):
        return False
    match notice.kind:
        case NoticeKind.SUBSCRIPTION_ENDING:
            soon = subscription.current_period_end > now
            return soon and subscription.state in {SubscriptionState.ACTIVE, SubscriptionState.CANCELED}
        case NoticeKind.SUBSCRIPTION_FAILED:
            return subscription.state == SubscriptionState.FAILED
    return subscription.state == SubscriptionState.ENDED


# --- Who wants them -----------------------------------------------------------------------------------------------


def wants_reminders(customer: Customer) -> bool:
    return not WithoutReminders.objects.filter(customer=customer).exists()


@transaction.atomic
def opt_out(customer: Customer) -> None:
    """Remind him no more, also of what is owed already; repeating it changes nothing."""
    WithoutReminders.objects.get_or_create(customer=customer)
    owed = Notice.objects.owed().filter(event__customer=customer, kind__in=REMINDERS)
    owed.update(given_up_at=Now(), error="wants no reminders")


def opt_in(customer: Customer) -> None:
    """Remind him again; repeating it changes nothing."""
    WithoutReminders.objects.filter(customer=customer).delete()
