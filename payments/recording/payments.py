"""Recording a payment with everything it entails: what matches its invoice is processed, anything odd is held."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime

import structlog
from django.db import transaction

from config.database import database_now, retried
from entitlements import services as access
from entitlements.models import Customer
from payments import intents, payloads, subscriptions
from payments.models import (
    EventStatus,
    Hold,
    HoldReason,
    Invoice,
    InvoiceStatus,
    Notice,
    NoticeKind,
    OrderInfo,
    PaymentEvent,
    Plan,
    WhenActive,
)
from payments.recording import ledger
from payments.recording.costs import book_costs
from payments.recording.ledger import KnownByAnother
from payments.recording.refunds import apply_early_refund
from payments.recording.reports import Outcome, ReceivedPayment, Recorded
from payments.subscriptions import Period

logger = structlog.get_logger(__name__)

# The invoice was paid, though nothing is given for it.
PAID_ALL_THE_SAME = (HoldReason.BOUGHT_TWICE, HoldReason.CUSTOMER_BLOCKED)


@dataclass(frozen=True, slots=True)
class Oddity:
    """Why a payment is held, and what a person should know about it."""

    reason: HoldReason
    detail: str


def record_payment(payment: ReceivedPayment) -> Recorded:
    """Record a payment with everything it entails, in one transaction; repeating it changes nothing."""
    try:
        return _record_payment(payment)
    except KnownByAnother:
        return _record_payment(payment)


@retried
@transaction.atomic
def _record_payment(payment: ReceivedPayment) -> Recorded:
    customer = ledger.locked_payer(payment.payer)
    known = PaymentEvent.objects.filter(event_id=payment.charge_id, event_type=payment.event_type).first()
    if known is not None:
        if (known.customer_id, known.money) == (customer.pk, payment.money):
            # Now we know which it was; one that quoted another price was not paid by this.
            Invoice.objects.filter(payload=payment.payload, customer=customer).priced(payment.money).mark_paid()
            _keep_details(known, payment)
            book_costs(known, payment.costs, origin=payment.origin)
        return ledger.note_duplicate(known, customer, payment.money)

    now = database_now()
    occurred_at = min(payment.occurred_at, now)
    invoice = _locked_invoice(payment) or _lost_invoice(payment, customer)
    plan_code = invoice.plan_id if invoice else payment.plan_code
    plan = Plan.objects.filter(code=plan_code).first()
    period = subscriptions.period_paid(payment, paid_at=occurred_at, customer=customer, invoice=invoice, plan=plan)
    odd = _oddity(payment, customer, invoice, plan, occurred_at, period)

    event = ledger.write(
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
        Invoice.objects.filter(pk=invoice.pk).mark_paid()

    book_costs(event, payment.costs, origin=payment.origin)
    apply_early_refund(event)
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
