"""Recording money: one idempotent operation for payments and one for refunds, whoever brings them.

The same event again changes nothing. What matches its invoice is processed, access included; anything odd is
recorded and held for a person. Nothing that was paid is dropped. `payments.ordinary` is the same operation for
the ordinary payment in a single statement.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import structlog
from django.db import IntegrityError, connection, transaction
from django.db.models import QuerySet

from config.database import database_now, retried, violates
from entitlements import services as access
from entitlements.identities import customer_from_telegram
from entitlements.models import Customer, Grant
from payments import intents, payloads, subscriptions, tallies
from payments.channels.base import Cost
from payments.models import (
    EarlyRefund,
    EventStatus,
    EventType,
    Hold,
    HoldReason,
    Invoice,
    InvoiceStatus,
    Notice,
    NoticeKind,
    OrderInfo,
    Origin,
    PaymentEvent,
    PaymentMethod,
    Plan,
    ProviderRecord,
    Refund,
    RefundResult,
    RefundStatus,
    Resolution,
    TallyResult,
    WhenActive,
)
from payments.money import Money
from payments.subscriptions import Period

# The invoice was paid, though nothing is given for it.
PAID_ALL_THE_SAME = (HoldReason.BOUGHT_TWICE, HoldReason.CUSTOMER_BLOCKED)

logger = structlog.get_logger(__name__)


class Outcome(StrEnum):
    PROCESSED = "processed"
    DUPLICATE = "duplicate"
    HELD = "held"


@dataclass(frozen=True, slots=True)
class Details:
    """What the buyer was asked to enter; each may be empty."""

    name: str = ""
    phone_number: str = ""
    email: str = ""


@dataclass(frozen=True, slots=True)
class ReceivedPayment:
    """A payment as a channel reports it, in our words.

    The payer is a Telegram user or a customer already found. `payload` finds the invoice; a sender that quotes a
    plan of ours without an invoice names it in `plan_code`. `raw` is the provider's whole answer, as bytes, but for
    the personal `details` in it, which are kept where they can be erased.

    Of a subscription: `period_ends_at` and `renewal` where the channel tells them, `recurring` where it tells no more
    than that, and `subscription`, the channel's own name of it, where that is not the payload.

    `costs` are those known yet; the same payment told again brings the others.
    """

    method: PaymentMethod
    charge_id: str
    money: Money
    occurred_at: datetime
    origin: Origin
    raw: bytes = field(repr=False)
    payer: int | Customer
    payload: str = ""
    invoice: Invoice | None = None
    plan_code: str = ""
    provider_charge_id: str = ""
    period_ends_at: datetime | None = None
    renewal: bool = False
    recurring: bool = False
    subscription: str = ""
    details: Details | None = field(default=None, repr=False)
    costs: tuple[Cost, ...] = ()

    @property
    def event_type(self) -> EventType:
        return EventType.payment_by(self.method)


@dataclass(frozen=True, slots=True)
class ReceivedRefund:
    """A refund as a channel reports it. `money` None: the sender did not say, and the whole payment is meant.

    `refund_id` is the channel's own id of the refund, where a payment can be given back in parts; `intent` ours, if it
    was made by our call.
    """

    method: PaymentMethod
    charge_id: str
    money: Money | None
    occurred_at: datetime
    origin: Origin
    raw: bytes = field(repr=False)
    payer: int | Customer
    payload: str = ""
    reason: str = "refunded by the provider"
    refund_id: str = ""
    intent: UUID | None = None
    costs: tuple[Cost, ...] = ()

    @property
    def event_type(self) -> EventType:
        return EventType.refund_by(self.method)

    @property
    def event_id(self) -> str:
        """The refund's own id, or the payment's where that has no other."""
        return self.refund_id or self.charge_id


@dataclass(frozen=True, slots=True)
class FailedRefund:
    """A refund that had succeeded, and whose money came back to us after all."""

    refund_id: str
    occurred_at: datetime
    origin: Origin
    raw: bytes = field(repr=False)
    reason: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a report; `event` is None for a refund that waits for its payment and for a held report."""

    outcome: Outcome
    event: PaymentEvent | None


@dataclass(frozen=True, slots=True)
class Oddity:
    """Why a payment is held, and what a person should know about it."""

    reason: HoldReason
    detail: str


class KnownByAnother(Exception):
    """The same charge was recorded for another customer between our look and our insert."""


def record_payment(payment: ReceivedPayment) -> Recorded:
    """Record a payment with everything it entails, in one transaction; repeating it changes nothing."""
    try:
        return _record_payment(payment)
    except KnownByAnother:
        return _record_payment(payment)


def record_refund(refund: ReceivedRefund) -> Recorded:
    """Record that a payment was given back: exactly its access is taken away and the buyer is told, once.

    A refund that comes before its payment waits for it; one that names another customer or amount is held.
    """
    try:
        return _record_refund(refund)
    except KnownByAnother:
        return _record_refund(refund)


@retried
@transaction.atomic
def record_failed_refund(failed: FailedRefund) -> Recorded:
    """Undo a refund in the books whose money came back, tell the buyer, and put it before a person: he has neither his
    money nor what he paid for. One that was never recorded needs no undoing. Repeating it changes nothing.
    """
    refund = PaymentEvent.objects.filter(event_id=failed.refund_id, event_type=EventType.STRIPE_REFUND).first()
    if refund is None:
        return Recorded(Outcome.DUPLICATE, None)
    customer = Customer.objects.locked().get(pk=refund.customer_id)
    known = PaymentEvent.objects.filter(event_id=failed.refund_id, event_type=EventType.STRIPE_FAILED_REFUND).first()
    if known is not None:
        return Recorded(Outcome.DUPLICATE, known)
    now = database_now()
    event = _write(
        failed.raw,
        event_id=refund.event_id,
        event_type=EventType.STRIPE_FAILED_REFUND,
        payment_method=refund.payment_method,
        customer=customer,
        invoice=refund.invoice,
        plan=refund.plan,
        amount=refund.amount,
        currency=refund.currency,
        status=EventStatus.PROCESSED,
        origin=failed.origin,
        occurred_at=min(max(failed.occurred_at, refund.occurred_at), now),
        received_at=now,
        reference=refund.reference,
        refund_of=refund.refund_of,
    )
    Notice.objects.owed().filter(event=refund).update(given_up_at=now, error="it failed before that was sent")
    Notice.objects.create(event=event, kind=NoticeKind.REFUND_FAILED)
    detail = f"{refund.money} of payment {refund.refund_of_id} did not arrive: {failed.reason}."
    _hold_bytes(HoldReason.REFUND_FAILED, failed.raw, detail)
    return Recorded(Outcome.PROCESSED, event)


@retried
@transaction.atomic
def record_costs(payment: PaymentEvent, costs: Iterable[Cost], *, origin: Origin) -> None:
    """Record what a payment cost beside what was given back of it; repeating it changes nothing."""
    Customer.objects.locked().get(pk=payment.customer_id)
    _book_costs(payment, costs, origin=origin)


def _book_costs(payment: PaymentEvent | None, costs: Iterable[Cost], *, origin: Origin) -> None:
    """Append to the ledger what of these it has not; the caller holds the customer's lock."""
    if payment is None or not costs:
        return
    booked = set(payment.costs.values_list("event_id", "event_type"))
    for cost in costs:
        if (cost.cost_id, cost.event_type) not in booked:
            _book_cost(payment, cost, origin=origin)


def _book_cost(payment: PaymentEvent, cost: Cost, *, origin: Origin) -> None:
    now = database_now()
    _write(
        cost.raw,
        event_id=cost.cost_id,
        event_type=cost.event_type,
        payment_method=payment.payment_method,
        customer=payment.customer,
        invoice=payment.invoice,
        plan=payment.plan,
        amount=cost.money.amount,
        currency=cost.money.currency,
        status=EventStatus.PROCESSED,
        origin=origin,
        occurred_at=min(cost.occurred_at, now),
        received_at=now,
        reference=payment.reference,
        cost_of=payment,
    )
    logger.info(
        "cost recorded",
        what=str(cost.event_type),
        user_id=payment.customer.user_id,
        plan_code=payment.plan_id,
        amount=cost.money.amount,
        currency=cost.money.currency,
        payment_id=str(payment.pk),
        origin=origin,
    )


@retried
@transaction.atomic
def hold_unreadable(*, evidence: bytes, detail: str) -> Hold:
    """Keep a report of money that cannot become a ledger row, for a person to read; once for the same bytes."""
    return _hold_bytes(HoldReason.UNREADABLE, evidence, detail)


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


@retried
@transaction.atomic
def _record_payment(payment: ReceivedPayment) -> Recorded:
    customer = _locked_payer(payment.payer)
    known = PaymentEvent.objects.filter(event_id=payment.charge_id, event_type=payment.event_type).first()
    if known is not None:
        if (known.customer_id, known.money) == (customer.pk, payment.money):
            # Now we know which it was; one that quoted another price was not paid by this.
            _mark_paid(Invoice.objects.filter(payload=payment.payload, customer=customer).priced(payment.money))
            _keep_details(known, payment)
            _book_costs(known, payment.costs, origin=payment.origin)
        return _duplicate(known, customer, payment.money)

    now = database_now()
    occurred_at = min(payment.occurred_at, now)
    invoice = _locked_invoice(payment) or _lost_invoice(payment, customer)
    plan_code = invoice.plan_id if invoice else payment.plan_code
    plan = Plan.objects.filter(code=plan_code).first()
    period = subscriptions.period_paid(payment, paid_at=occurred_at, customer=customer, invoice=invoice, plan=plan)
    odd = _oddity(payment, customer, invoice, plan, occurred_at, period)

    event = _write(
        payment.raw,
        event_id=payment.charge_id,
        event_type=payment.event_type,
        payment_method=payment.method,
        customer=customer,
        invoice=invoice,
        plan=plan,
        amount=payment.money.amount,
        currency=payment.money.currency,
        status=EventStatus.HELD if odd else EventStatus.PROCESSED,
        origin=payment.origin,
        occurred_at=occurred_at,
        received_at=now,
        provider_charge_id=payment.provider_charge_id,
        reference=payment.payload,
        period_ends_at=period.ends_at if period else payment.period_ends_at,
    )
    _keep_details(event, payment)
    if odd:
        Hold.objects.create(event=event, reason=odd.reason, detail=odd.detail)
        Notice.objects.create(event=event, kind=NoticeKind.PAYMENT_HELD)
        if odd.reason == HoldReason.BOUGHT_TWICE and intents.can_be_returned_by_call(event):
            intents.open_intent(
                payment=event,
                reason=odd.detail,
                requested_by=intents.SYSTEM,
                cancel_subscription=period is not None,
            )
    else:
        _grant_for(event, invoice, plan)
        Notice.objects.create(event=event, kind=NoticeKind.PAYMENT_CONFIRMED)
    if period:
        subscriptions.note_payment(event, period)
    if invoice and (odd is None or odd.reason in PAID_ALL_THE_SAME):
        _mark_paid(Invoice.objects.filter(pk=invoice.pk))

    _book_costs(event, payment.costs, origin=payment.origin)
    _apply_early_refund(event)
    _log_payment(event, odd.reason if odd else None)
    return Recorded(Outcome.HELD if odd else Outcome.PROCESSED, event)


def _keep_details(event: PaymentEvent, payment: ReceivedPayment) -> None:
    """Once: what was erased since does not come back with the same report."""
    if payment.details is not None:
        OrderInfo.objects.get_or_create(event=event, defaults=asdict(payment.details))


def _oddity(
    payment: ReceivedPayment,
    customer: Customer,
    invoice: Invoice | None,
    plan: Plan | None,
    occurred_at: datetime,
    period: Period | None,
) -> Oddity | None:
    """What keeps the payment from being processed; None when all is well."""
    if invoice is not None:
        odd = _differs_from_invoice(payment, customer, invoice)
        entitlement, when_active = invoice.entitlement, invoice.when_active
    else:
        odd = _differs_from_catalogue(payment, plan)
        entitlement, when_active = (plan.entitlement, plan.when_active) if plan else ("", WhenActive.EXTEND.value)
    if odd is None and customer.blocked_at is not None:
        odd = Oddity(HoldReason.CUSTOMER_BLOCKED, f"Blocked since {customer.blocked_at:%Y-%m-%d %H:%M} UTC.")
    continues = period is not None and period.continues
    if odd is None and when_active == WhenActive.REJECT and not continues:
        active = subscriptions.active_beyond_grace(occurred_at).filter(customer=customer, code=entitlement).first()
        if active is not None:
            until = f"until {active.active_until:%Y-%m-%d %H:%M} UTC" if active.active_until else "for life"
            odd = Oddity(HoldReason.BOUGHT_TWICE, f"The customer had {entitlement} {until} already.")
    return odd


def _differs_from_invoice(payment: ReceivedPayment, customer: Customer, invoice: Invoice) -> Oddity | None:
    quoted, paid = invoice.price, payment.money
    if customer.pk != invoice.customer_id:
        return Oddity(HoldReason.FOREIGN_PAYER, f"Quoted to {invoice.customer.user_id}, paid by {customer.user_id}.")
    if payment.method != invoice.payment_method:
        return Oddity(HoldReason.METHOD_MISMATCH, f"Quoted for {invoice.payment_method}, paid by {payment.method}.")
    if paid.currency != quoted.currency:
        return Oddity(HoldReason.CURRENCY_MISMATCH, f"Quoted {quoted}, paid {paid}.")
    if paid.amount != quoted.amount:
        return Oddity(HoldReason.AMOUNT_MISMATCH, f"Quoted {quoted}, paid {paid}.")
    if payment.plan_code and payment.plan_code != invoice.plan_id:
        return Oddity(HoldReason.PLAN_MISMATCH, f"Quoted {invoice.plan_id}, reported {payment.plan_code}.")
    return None


def _differs_from_catalogue(payment: ReceivedPayment, plan: Plan | None) -> Oddity | None:
    if not payment.plan_code:
        signed = _quoted(payment)
        detail = f"We signed it, for {signed.plan_code}, which is no plan any more." if signed else "Not signed by us."
        return Oddity(HoldReason.UNKNOWN_PAYLOAD, detail)
    if plan is None:
        return Oddity(HoldReason.UNKNOWN_PLAN, f"Reported plan: {payment.plan_code}.")
    prices = plan.prices.filter(payment_method=payment.method)
    if not prices.filter(currency=payment.money.currency, amount=payment.money.amount).exists():
        offered = ", ".join(str(price.money) for price in prices) or "nothing by this method"
        return Oddity(HoldReason.AMOUNT_MISMATCH, f"Paid {payment.money}; the plan costs {offered}.")
    return None


def _mark_paid(invoices: QuerySet[Invoice]) -> None:
    invoices.exclude(status=InvoiceStatus.PAID).update(status=InvoiceStatus.PAID)


def _grant_for(event: PaymentEvent, invoice: Invoice | None, plan: Plan | None) -> None:
    """Give what was bought, by the invoice's copy of the plan, or by the plan where there is no invoice."""
    bought = invoice or plan
    assert bought is not None and plan is not None  # noqa: S101, PT018 - what is not odd has both or a plan
    access.grant(
        customer=event.customer,
        entitlement=bought.entitlement,
        source=event.source,
        granted_at=event.occurred_at,
        plan_code=plan.code,
        features=bought.features,
        **subscriptions.terms(
            bought=bought.duration, granted_at=event.occurred_at, period_ends_at=event.period_ends_at
        ),
    )


@retried
@transaction.atomic
def _record_refund(refund: ReceivedRefund) -> Recorded:
    customer = _locked_payer(refund.payer)
    known = PaymentEvent.objects.filter(event_id=refund.event_id, event_type=refund.event_type).first()
    if known is not None:
        if known.customer_id == customer.pk:
            _book_costs(known.refund_of, refund.costs, origin=refund.origin)
        return _duplicate(known, customer, refund.money)
    payment = PaymentEvent.objects.filter(
        event_id=refund.charge_id, event_type=EventType.payment_by(refund.method)
    ).first()
    if payment is None:
        return _keep_for_its_payment(refund, customer)
    if payment.customer_id != customer.pk:
        detail = f"Paid by {payment.customer.user_id}, refund reported for {customer.user_id}."
        _hold_bytes(HoldReason.FOREIGN_REFUND, refund.raw, detail)
        return Recorded(Outcome.HELD, None)
    if not _can_be_given_back(refund, payment):
        detail = f"Paid {payment.money}, refund reported of {refund.money or 'all of it'}."
        _hold_bytes(HoldReason.REFUND_MISMATCH, refund.raw, detail)
        return Recorded(Outcome.HELD, None)
    event = _give_back(
        payment,
        occurred_at=refund.occurred_at,
        origin=refund.origin,
        raw=refund.raw,
        reason=refund.reason,
        part=refund.money if refund.refund_id else None,
        refund_id=refund.refund_id,
        intent=refund.intent,
    )
    _book_costs(payment, refund.costs, origin=refund.origin)
    return Recorded(Outcome.PROCESSED, event)


def _can_be_given_back(refund: ReceivedRefund, payment: PaymentEvent) -> bool:
    """The whole, unless parts were given back; or, where a refund has an id of its own, a part of what is left."""
    if not refund.refund_id:
        has_parts = refund.method == PaymentMethod.TELEGRAM_PROVIDER and payment.left < payment.amount
        return refund.money in (None, payment.money) and not has_parts
    return (
        refund.money is not None and refund.money.currency == payment.currency and refund.money.amount <= payment.left
    )


def _give_back(
    payment: PaymentEvent,
    *,
    occurred_at: datetime,
    origin: str,
    raw: bytes,
    reason: str,
    part: Money | None = None,
    refund_id: str = "",
    intent: UUID | None = None,
) -> PaymentEvent:
    """The refund's whole effect; the caller holds the customer's lock and knows it is not recorded yet.

    A part leaves what the payment gave, until nothing of the payment is left.
    """
    now = database_now()
    is_whole = part is None or part.amount == payment.left
    event = _write(
        raw,
        event_id=refund_id or payment.event_id,
        event_type=EventType.refund_by(PaymentMethod(payment.payment_method)),
        payment_method=payment.payment_method,
        customer=payment.customer,
        invoice=payment.invoice,
        plan=payment.plan,
        amount=part.amount if part else payment.amount,
        currency=payment.currency,
        status=EventStatus.PROCESSED,
        origin=origin,
        occurred_at=min(max(occurred_at, payment.occurred_at), now),
        received_at=now,
        reference=payment.reference,
        refund_of=payment,
    )
    answered = Refund.objects.open().filter(payment=payment)
    if is_whole:
        _take_back(payment, event, reason=reason, now=now)
    else:
        answered = answered.filter(pk=intent) if intent else answered.none()
    Notice.objects.create(event=event, kind=NoticeKind.REFUNDED)
    # Whoever asked for it has what he wanted, whichever way we learnt of it.
    answered.update(status=RefundStatus.CONFIRMED, confirmed_at=now, detail="Given back.")
    count_refund(RefundResult.CONFIRMED, source=origin)
    logger.info(
        "payment refunded",
        user_id=payment.customer.user_id,
        plan_code=payment.plan_id,
        amount=event.amount,
        currency=payment.currency,
        payment_id=str(payment.pk),
        origin=origin,
    )
    return event


def _take_back(payment: PaymentEvent, refund: PaymentEvent, *, reason: str, now: datetime) -> None:
    """End what a payment gave of which nothing is left, and what is still open about it."""
    for grant in Grant.objects.filter(source=payment.source, revoked_at=None):
        access.revoke(grant=grant, reason=reason, now=now)
    Hold.objects.unresolved().filter(event=payment).update(
        resolution=Resolution.REFUNDED, resolved_at=now, resolved_by=f"refund:{refund.pk}", resolved_why=reason
    )
    # Only what was not yet said is withdrawn: a buyer never reads of a confirmation after the refund.
    Notice.objects.owed().filter(event=payment).update(given_up_at=now, error="refunded before it was sent")


COUNT_REFUND = """
    INSERT INTO payments_refundtally AS tally (result, source, count) VALUES (%s, %s, 1)
    ON CONFLICT (result, source) DO UPDATE SET count = tally.count + 1
"""


def count_refund(result: RefundResult, *, source: str) -> None:
    """Count a refund that has ended; part of the transaction that ends it, and the last lock it takes."""
    with connection.cursor() as cursor:
        cursor.execute(COUNT_REFUND, [result, source])


def _keep_for_its_payment(refund: ReceivedRefund, customer: Customer) -> Recorded:
    """Keep a refund whose payment is not known yet.

    Its invoice was evidently paid, and is marked so: that makes a payment that is being recorded in this moment
    look again (payments.ordinary), so that neither can miss the other.
    """
    _, created = EarlyRefund.objects.get_or_create(
        event_id=refund.charge_id,
        event_type=refund.event_type,
        customer=customer,
        amount=refund.money.amount if refund.money else None,
        currency=refund.money.currency if refund.money else "",
        defaults={
            "occurred_at": refund.occurred_at,
            "origin": refund.origin,
            "body": refund.raw,
        },
    )
    if refund.payload:
        _mark_paid(Invoice.objects.filter(payload=refund.payload, customer=customer))
    return Recorded(Outcome.HELD if created else Outcome.DUPLICATE, None)


def _apply_early_refund(payment: PaymentEvent) -> None:
    """Apply what waits for this payment; the caller holds its customer's lock."""
    for early in EarlyRefund.objects.waiting().of(payment).select_related("customer"):
        _apply(early, payment)
        early.applied_at = database_now()
        early.save(update_fields=["applied_at"])


def _apply(early: EarlyRefund, payment: PaymentEvent) -> None:
    raw = bytes(early.body)
    if early.customer_id != payment.customer_id:
        detail = f"Paid by {payment.customer.user_id}, refund reported for {early.customer.user_id}."
        _hold_bytes(HoldReason.FOREIGN_REFUND, raw, detail)
    elif early.amount is not None and (early.amount, early.currency) != (payment.amount, payment.currency):
        detail = f"Paid {payment.money}, refund reported of {Money(early.amount, early.currency)}."
        _hold_bytes(HoldReason.REFUND_MISMATCH, raw, detail)
    elif not payment.refunds.exists():  # it may have been reported again since
        _give_back(
            payment, occurred_at=early.occurred_at, origin=early.origin, raw=raw, reason="refunded by the provider"
        )


def apply_waiting_refunds() -> int:
    """Apply the early refunds whose payments have been recorded beside them; a sweep that normally finds none."""
    applied = 0
    charges = EarlyRefund.objects.waiting().values("event_id")
    for payment in PaymentEvent.objects.payments().filter(event_id__in=charges):
        with transaction.atomic():
            Customer.objects.locked().get(pk=payment.customer_id)
            if EarlyRefund.objects.waiting().of(payment).exists():
                _apply_early_refund(payment)
                applied += 1
    return applied


def _locked_payer(payer: int | Customer) -> Customer:
    """The payer, known from now on if he was not, with the first lock of every operation on him."""
    customer = payer if isinstance(payer, Customer) else customer_from_telegram(telegram_user_id=payer)
    return Customer.objects.locked().get(pk=customer.pk)


def _locked_invoice(payment: ReceivedPayment) -> Invoice | None:
    if payment.invoice is not None:
        matching = Invoice.objects.filter(pk=payment.invoice.pk)
    elif payment.payload:
        matching = Invoice.objects.filter(payload=payment.payload)
    else:
        return None
    return matching.select_related("customer").select_for_update(of=("self",), no_key=True).first()


def _lost_invoice(payment: ReceivedPayment, customer: Customer) -> Invoice | None:
    """The invoice anew, where nothing but its payload is left of it because an old backup was restored: what we signed
    is a quote to this payer at this price, and gives what its plan gives now.
    """
    quoted = _quoted(payment)
    plan = Plan.objects.filter(code=quoted.plan_code).first() if quoted else None
    if quoted is None or plan is None:
        return None
    logger.warning("lost invoice made anew", invoice_id=str(quoted.invoice_id), plan_code=plan.code)
    return Invoice.objects.quote(
        plan,
        id=quoted.invoice_id,
        customer=customer,
        payment_method=payment.method,
        amount=payment.money.amount,
        currency=payment.money.currency,
        payload=payment.payload,
        status=InvoiceStatus.SENT,
        expires_at=payment.occurred_at,
    )


def _quoted(payment: ReceivedPayment) -> payloads.Quoted | None:
    """What we once signed for this payer and price."""
    payer = payment.payer if isinstance(payment.payer, int) else payment.payer.telegram_user_id
    return payloads.read(payment.payload, payer=payer, price=payment.money)


def _write(raw: bytes, **facts: object) -> PaymentEvent:
    """Append to the ledger, with the provider's whole answer.

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


def _duplicate(known: PaymentEvent, customer: Customer, money: Money | None) -> Recorded:
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


def _hold_bytes(reason: HoldReason, evidence: bytes, detail: str) -> Hold:
    digest = hashlib.sha256(evidence).digest()
    hold, created = Hold.objects.get_or_create(
        evidence_digest=digest, defaults={"evidence": evidence, "reason": reason, "detail": detail}
    )
    if created:
        logger.error("report of money held", reason=reason, detail=detail, hold_id=hold.pk)
    return hold


def _log_payment(event: PaymentEvent, held_for: HoldReason | None) -> None:
    log = logger.bind(
        user_id=event.customer.user_id,
        plan_code=event.plan_id,
        amount=event.amount,
        currency=event.currency,
        payment_id=str(event.pk),
        payment_method=event.payment_method,
        origin=event.origin,
    )
    if held_for:
        log.warning("payment held", outcome=Outcome.HELD.value, reason=held_for.value)
    else:
        log.info("payment recorded", outcome=Outcome.PROCESSED.value)
