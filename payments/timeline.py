"""What the books know of the story of a payment."""

from __future__ import annotations

from collections.abc import Iterator

from config.shown import Tone
from config.timeline import Entry
from entitlements import audit
from entitlements.models import Customer, Grant
from entitlements.timeline import deeds_about
from payments.models import (
    CheckoutDecision,
    EventStatus,
    Hold,
    Invoice,
    Notice,
    PaymentEvent,
    Refund,
    Subscription,
    SubscriptionState,
)
from payments.models.ledger import BROUGHT_BACK, DISPUTES, FAILED_REFUNDS, FEES
from payments.models.notices import REMINDERS
from payments.money import sum_in_words
from payments.subscriptions import is_of_subscription

LATEST = 20
SUBSCRIPTION_TONES = {
    SubscriptionState.ACTIVE: Tone.GOOD,
    SubscriptionState.CANCELED: Tone.WAITING,
    SubscriptionState.FAILED: Tone.BAD,
    SubscriptionState.ENDED: Tone.QUIET,
}


def tell(payment: PaymentEvent) -> Iterator[Entry]:
    """Invoice, checkouts, the event itself, its hold, access given and taken, refunds, what staff did, messages."""
    if payment.invoice is not None:
        yield from _invoice(payment.invoice)
    yield _recorded(payment)
    hold = getattr(payment, "hold", None)
    if hold is not None:
        yield from _hold(hold)
    grants = list(Grant.objects.filter(source=payment.source))
    yield from _access(grants)
    for intent in payment.refund_intents.all():
        yield from _intent(intent)
    if is_of_subscription(payment):
        yield from _subscription(payment.subscription_payment.subscription)
    refunds, costs = list(payment.refunds.all()), list(payment.costs.all())
    for cost in costs:
        tone = Tone.GOOD if cost.event_type in BROUGHT_BACK else Tone.BAD if cost.event_type in DISPUTES else Tone.QUIET
        yield Entry(cost.received_at, f"{cost.money}: {cost.get_event_type_display()}", _origin(cost), tone, cost)
    for refund in refunds:
        what = "came back after it was given back" if refund.event_type in FAILED_REFUNDS else "given back"
        yield Entry(refund.received_at, f"{refund.money} {what}", _origin(refund), Tone.BAD, refund)
    for dispute in payment.disputes.all():
        words = f"Disputed by the bank: {dispute.why}, {dispute.standing}"
        yield Entry(dispute.opened_at, words, sum_in_words(dispute.amount, dispute.currency), Tone.BAD, dispute)
    # What staff did about an intent is told with it.
    yield from deeds_about([payment, *([hold] if hold else []), *grants, *refunds])
    for notice in Notice.objects.filter(event__in=[payment, *refunds]):
        yield from _message(notice)


def tell_of_customer(customer: Customer) -> Iterator[Entry]:
    """The customer's latest payments and refunds, and what became of his latest subscriptions."""
    for subscription in customer.subscriptions.order_by("-started_at", "-pk")[:LATEST]:
        yield from _subscription(subscription)
    of_money = customer.payment_events.exclude(event_type__in=FEES)
    for event in of_money.newest_first().select_related("plan")[:LATEST]:
        detail = f"{event.plan or 'no plan'}; {event.get_status_display()}"
        yield Entry(event.occurred_at, str(event), detail, _tone(event), event)


def tell_of_subscription(subscription: Subscription) -> Iterator[Entry]:
    """What became of it, its latest payments, what staff ordered, and the reminders that were owed."""
    yield from _subscription(subscription)
    events = [each.event for each in subscription.payments.order_by("-period_ends_at").select_related("event")[:LATEST]]
    for event in [*events, *PaymentEvent.objects.filter(refund_of__in=events)]:
        yield Entry(event.occurred_at, str(event), event.get_status_display(), _tone(event), event)
    yield from deeds_about(subscription.orders.order_by("-created_at")[:LATEST])
    for notice in Notice.objects.filter(event__in=events, kind__in=REMINDERS):
        yield from _message(notice)


def _subscription(subscription: Subscription) -> Iterator[Entry]:
    for change in subscription.changes.order_by("pk"):
        words = f"Subscription: {change.get_state_display()}"
        yield Entry(change.at, words, change.why, SUBSCRIPTION_TONES[SubscriptionState(change.state)], subscription)


def _tone(event: PaymentEvent) -> Tone:
    if event.refund_of_id or event.event_type in DISPUTES:
        return Tone.GOOD if event.event_type in BROUGHT_BACK else Tone.BAD
    return Tone.WAITING if event.status == EventStatus.HELD else Tone.GOOD


def _invoice(invoice: Invoice) -> Iterator[Entry]:
    yield Entry(invoice.created_at, "Invoice written", f"{invoice.plan_id} for {invoice.price}", row=invoice)
    if invoice.sent_at:
        yield Entry(invoice.sent_at, "Invoice sent", row=invoice)
    for decision in CheckoutDecision.objects.filter(invoice=invoice):
        words, tone = ("Checkout approved", Tone.GOOD) if decision.ok else ("Checkout refused", Tone.BAD)
        detail = f"{decision.reason}, asked by {decision.payer_telegram_id}".removeprefix(", ")
        yield Entry(decision.decided_at, words, detail, tone, decision)


def _recorded(payment: PaymentEvent) -> Entry:
    words = f"{payment.money} received and {payment.get_status_display()}"
    return Entry(payment.received_at, words, _origin(payment), _tone(payment), payment)


def _origin(event: PaymentEvent) -> str:
    return f"By {event.get_origin_display()}; the provider dates it {event.occurred_at:%Y-%m-%d %H:%M:%S} UTC."


def _hold(hold: Hold) -> Iterator[Entry]:
    yield Entry(hold.held_at, f"Held: {hold.get_reason_display()}", hold.detail, Tone.WAITING, hold)
    if hold.resolved_at:
        by_staff = hold.resolved_by.startswith("staff:")  # then their audit entry says who and why
        detail = "" if by_staff else f"By {hold.resolved_by}. {hold.resolved_why}".strip()
        yield Entry(hold.resolved_at, f"Hold resolved: {hold.get_resolution_display()}", detail, Tone.GOOD, hold)


def _access(grants: list[Grant]) -> Iterator[Entry]:
    for grant in grants:
        yield Entry(grant.created_at, f"Access to {grant.entitlement} given", _length(grant), Tone.GOOD, grant)
        if grant.revoked_at:
            yield Entry(
                grant.revoked_at, f"Access to {grant.entitlement} taken back", grant.revoked_reason, Tone.BAD, grant
            )


def _intent(intent: Refund) -> Iterator[Entry]:
    detail = f"By {audit.known_as(intent.requested_by)}: {intent.reason}"
    if intent.cancel_subscription:
        detail += " The subscription is to be cancelled too."
    yield Entry(intent.created_at, "Refund asked for", detail, Tone.WAITING, intent)
    if intent.decided_at:
        words, by = ("approved", intent.approved_by) if intent.approved_by else ("declined", intent.declined_by)
        yield Entry(intent.decided_at, f"Refund {words}", f"By {audit.known_as(by)}.", row=intent)
    if intent.subscription_cancelled_at:
        yield Entry(intent.subscription_cancelled_at, "Subscription cancelled", "It renews no more.", row=intent)
    if intent.cancel_refused_at:
        words = "Subscription not cancelled"
        yield Entry(
            intent.cancel_refused_at,
            words,
            f"{intent.payment.channel} refused it: {intent.cancel_refusal}",
            Tone.BAD,
            intent,
        )


def _length(grant: Grant) -> str:
    if grant.duration is not None and grant.ends_at is not None:
        return f"for a period of {grant.duration.days} days, with its grace until {grant.ends_at:%Y-%m-%d %H:%M} UTC"
    if grant.duration is not None:
        return f"for {grant.duration.days} days"
    return f"until {grant.ends_at:%Y-%m-%d %H:%M} UTC" if grant.ends_at else "for life"


def _message(notice: Notice) -> Iterator[Entry]:
    words = f"Message “{notice.get_kind_display()}”"
    yield Entry(notice.created_at, f"{words} owed", row=notice)
    if notice.sent_at:
        yield Entry(notice.sent_at, f"{words} sent", f"at attempt {notice.attempts}", Tone.GOOD, notice)
    if notice.given_up_at:
        yield Entry(notice.given_up_at, f"{words} given up", notice.error, Tone.BAD, notice)
