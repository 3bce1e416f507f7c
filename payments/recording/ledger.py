"""Lines of the ledger, each with the provider's whole answer; and reports that cannot become one."""

from __future__ import annotations

import hashlib

import structlog
from django.db import IntegrityError, transaction

from config.database import retried, violates
from entitlements.identities import customer_from_telegram
from entitlements.models import Customer
from payments import tallies
from payments.models import EarlyRefund, Hold, HoldReason, PaymentEvent, ProviderRecord, TallyResult
from payments.money import Money
from payments.recording.reports import Outcome, ReceivedPayment, ReceivedRefund, Recorded

logger = structlog.get_logger(__name__)


class KnownByAnother(Exception):
    """The same charge was recorded for another customer between our look and our insert."""


def locked_payer(payer: int | Customer) -> Customer:
    """The payer, known from now on if he was not, with the first lock of every operation on him."""
    customer = payer if isinstance(payer, Customer) else customer_from_telegram(telegram_user_id=payer)
    return Customer.objects.locked().get(pk=customer.pk)


def write(raw: bytes, **facts: object) -> PaymentEvent:
    """Append a line; part of the caller's transaction.

    :raises KnownByAnother: when the same charge was recorded in the meantime
    """
    try:
        with transaction.atomic():
            event = PaymentEvent.objects.create(**facts)
    except IntegrityError as error:
        if violates(error, "payment_event_once"):
            raise KnownByAnother from error
        raise
    ProviderRecord.objects.create(event=event, body=raw)
    return event


def note_duplicate(known: PaymentEvent, customer: Customer, money: Money | None) -> Recorded:
    """Count what is in the ledger already and was reported again, with an alarm where it is reported differently."""
    if known.customer_id != customer.pk or (money is not None and known.money != money):
        logger.error(
            "known charge reported differently",
            payment_id=str(known.pk),
            user_id=known.customer.user_id,
            plan_code=known.plan_id,
            amount=known.amount,
            currency=known.currency,
            reported_user_id=customer.user_id,
            reported=str(money),
        )
    tallies.count(TallyResult.DUPLICATE, plan_code=known.plan_id or "")
    return Recorded(Outcome.DUPLICATE, known)


@retried
@transaction.atomic
def hold_unreadable(*, evidence: bytes, detail: str) -> Hold:
    """Keep a report of money that cannot become a ledger row, for a person to read; once for the same bytes."""
    return hold_bytes(HoldReason.UNREADABLE, evidence, detail)


def hold_bytes(reason: HoldReason, evidence: bytes, detail: str) -> Hold:
    """The same, for any reason; part of the caller's transaction."""
    digest = hashlib.sha256(evidence).digest()
    hold, created = Hold.objects.get_or_create(
        evidence_digest=digest, defaults={"evidence": evidence, "reason": reason, "detail": detail}
    )
    if created:
        logger.error("report of money held", reason=reason, detail=detail, hold_id=hold.pk)
    return hold


def is_recorded(report: ReceivedPayment | ReceivedRefund) -> bool:
    """Whether the books have it: as an event, as a refund that waits for its payment, or as bytes that are held."""
    if isinstance(report, ReceivedPayment):
        return PaymentEvent.objects.filter(event_id=report.charge_id, event_type=report.event_type).exists()
    if PaymentEvent.objects.filter(event_id=report.event_id, event_type=report.event_type).exists():
        return True
    early = EarlyRefund.objects.filter(event_id=report.charge_id, event_type=report.event_type)
    return early.exists() or is_held(report.raw)


def is_held(evidence: bytes) -> bool:
    """Whether these bytes were put before a person, whatever became of it."""
    return Hold.objects.filter(evidence_digest=hashlib.sha256(evidence).digest()).exists()
