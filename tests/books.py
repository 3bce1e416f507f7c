"""What must hold in the books after anything whatever: the invariants of the core, read from the database."""

from entitlements.models import Entitlement, Grant
from entitlements.periods import fold
from payments.models import EarlyRefund, EventStatus, Hold, Notice, NoticeKind, PaymentEvent, ProviderRecord
from telegram_bot.models import IncomingUpdate, UpdateStatus


def faults_in_the_books() -> list[str]:
    """Every contradiction found, in words; an empty list is a sound ledger."""
    return [*_entitlements(), *_payments(), *_refunds(), *_inbox()]


def _entitlements():
    """I3: an entitlement is the fold of its grants, and there is one wherever there are grants."""
    kept = {(each.customer_id, each.code): each for each in Entitlement.objects.all()}
    for customer, code in set(Grant.objects.values_list("customer_id", "entitlement")) | set(kept):
        grants = list(Grant.objects.filter(customer=customer, entitlement=code).in_order())
        entitlement = kept.get((customer, code))
        if entitlement is None or not grants:
            yield f"customer {customer} has grants or an entitlement of {code}, not both"
        elif entitlement.active_until != (expected := fold(grants)[-1].access.ends_at):
            yield f"customer {customer} has {code} until {entitlement.active_until}, the grants say {expected}"


def _payments():
    """I1, I5, I8: a processed payment has one grant and one confirmation, a held one has a hold and no grant."""
    for event in PaymentEvent.objects.payments().select_related("invoice"):
        grants = Grant.objects.filter(source=event.source).count()
        held = Hold.objects.filter(event=event).count()
        processed = event.status == EventStatus.PROCESSED
        if (grants, held) != ((1, 0) if processed else (0, 1)):
            yield f"{event} is {event.status} with {grants} grants and {held} holds"
        owed = NoticeKind.PAYMENT_CONFIRMED if processed else NoticeKind.PAYMENT_HELD
        if Notice.objects.filter(event=event, kind=owed).count() != 1:
            yield f"{event} has no notice {owed}"
        if not ProviderRecord.objects.filter(event=event).exists():
            yield f"{event} has lost the provider's answer"
        if processed and event.invoice and event.invoice.status != "paid":
            yield f"{event} is processed and its invoice {event.invoice.status}"
    for grant in Grant.objects.filter(source__startswith="telegram_"):
        method, _, charge_id = grant.source.partition(":")
        if not PaymentEvent.objects.payments().filter(payment_method=method, event_id=charge_id).exists():
            yield f"{grant} has no payment"


def _refunds():
    """I4: a refund has its payment, whose grants are revoked; none waits for a payment that is there."""
    for event in PaymentEvent.objects.refunds():
        if event.refund_of is None or event.refund_of.money != event.money:
            yield f"{event} does not match its payment"
        elif Grant.objects.filter(source=event.refund_of.source, revoked_at=None).exists():
            yield f"{event} left its access"
    for early in EarlyRefund.objects.waiting():
        if PaymentEvent.objects.payments().filter(event_id=early.event_id).exists():
            yield f"{early} waits for a payment that is recorded"


def _inbox():
    """I6: nothing is given up, and what is pending has a next try."""
    if IncomingUpdate.objects.filter(status=UpdateStatus.DEAD).exists():
        yield "an update was given up"
