"""Sending an invoice: a quote is written, handed to the channel, and marked with what became of it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Case, F, Value, When
from structlog.contextvars import bind_contextvars

from config.api import ratelimit
from config.database import database_now, retried
from entitlements.models import Customer
from payments import currencies, payloads, subscriptions, tallies
from payments.channels import base as channel
from payments.channels import stripe, telegram
from payments.identifiers import uuid7
from payments.models import Invoice, InvoiceStatus, PaymentMethod, Plan, Price, TallyResult, WhenActive
from payments.money import STARS
from payments.stripe import selling as by_stripe

logger = structlog.get_logger(__name__)

ATTEMPTS_PER_MINUTE = 5


class InvoicingError(Exception):
    """No invoice was sent."""


class PaymentsDisabled(InvoicingError):
    """TELEGRAM_PAYMENT_ENABLED is false."""


class CustomerBlocked(InvoicingError):
    """The customer may not buy."""


class UnknownPlan(InvoicingError):
    """No such plan is on sale."""


class CurrencyNotOffered(InvoicingError):
    """The plan has no price in that currency, or not by that method."""


class AlreadyActive(InvoicingError):
    """The customer has what the plan gives, and it is sold once at a time. `ends_at` None: for life.

    `renews`: a subscription goes on paying for it, so that it does not end then.
    """

    def __init__(self, ends_at: datetime | None, *, renews: bool = False) -> None:
        super().__init__(ends_at)
        self.ends_at = ends_at
        self.renews = renews


class ChatUnavailable(InvoicingError):
    """The customer never started the bot or has blocked it; a link can still be sent by other means."""


class ChannelRefused(InvoicingError):
    """The channel refused the invoice for good, which is a fault of the catalogue or the settings."""


class ChannelUnavailable(InvoicingError):
    """The channel is out of reach or busy; try again in `retry_after` seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(retry_after)
        self.retry_after = retry_after


class Delivery(StrEnum):
    CHAT = "chat"
    LINK = "link"


def count_attempt(*, customer: Customer) -> None:
    """Count an attempt to get an invoice, whatever comes of it.

    :raises config.api.ratelimit.RateLimited: at the sixth attempt within any 60 seconds
    """
    ratelimit.hit(subject=f"send-invoice:{customer.pk}", limit=ATTEMPTS_PER_MINUTE, window=timedelta(seconds=60))


def send_invoice(
    *,
    customer: Customer,
    plan_code: str,
    currency: str | None = None,
    payment_method: PaymentMethod | None = None,
    delivery: Delivery = Delivery.CHAT,
) -> Invoice:
    """Quote a plan to a customer and hand the invoice to him. Each call makes a new invoice.

    The draft is committed before the channel is called, so that whatever happens to this process a payment for it
    finds its invoice.

    :raises InvoicingError: a subclass for each reason
    """
    to_chat = delivery == Delivery.CHAT
    if to_chat and customer.telegram_user_id is None:
        raise ChatUnavailable
    invoice = _draft(customer=customer, plan_code=plan_code, currency=currency, payment_method=payment_method)
    facts = {
        "user_id": customer.user_id,
        "plan_code": invoice.plan_id,
        "amount": invoice.amount,
        "currency": invoice.currency,
    }
    bind_contextvars(**facts)
    log = logger.bind(**facts)
    try:
        deliver = by_stripe.deliver if invoice.payment_method == PaymentMethod.STRIPE else telegram.deliver
        delivered = deliver(invoice, to_chat=to_chat)
    except channel.ChatUnavailable as error:
        _mark_void(invoice)
        log.info("invoice not sent", invoice_id=str(invoice.pk), reason="chat_unavailable")
        raise ChatUnavailable from error
    except channel.Refused as error:
        _mark_void(invoice)
        log.error("invoice refused", invoice_id=str(invoice.pk), reason=error.description)
        raise ChannelRefused(error.description) from error
    except channel.Unavailable as error:
        _mark_void(invoice)
        log.warning("invoice not sent", invoice_id=str(invoice.pk), reason=str(error))
        raise ChannelUnavailable(error.retry_after) from error
    except channel.Unclear as error:
        Invoice.objects.filter(pk=invoice.pk, status=InvoiceStatus.DRAFT).update(status=InvoiceStatus.UNCLEAR)
        log.warning("invoice perhaps sent", invoice_id=str(invoice.pk), reason=str(error))
        raise ChannelUnavailable(retry_after=5) from error

    _mark_sent(invoice, delivered)
    log.info("invoice sent", invoice_id=str(invoice.pk), payment_method=invoice.payment_method, delivery=delivery.value)
    return invoice


@retried
@transaction.atomic
def _draft(
    *, customer: Customer, plan_code: str, currency: str | None, payment_method: PaymentMethod | None
) -> Invoice:
    if not settings.TELEGRAM_PAYMENT_ENABLED:
        raise PaymentsDisabled
    if customer.blocked_at is not None:
        raise CustomerBlocked
    # In one statement: the catalogue may change between two, and the terms of one must not have the price of another.
    prices = list(Price.objects.filter(plan__in=Plan.objects.on_sale().filter(code=plan_code)).select_related("plan"))
    if not prices:
        raise UnknownPlan
    if customer.telegram_user_id is None:
        # Nobody else could pay a link of Telegram's: its checkout knows the payer by his Telegram account.
        prices = [price for price in prices if price.payment_method == PaymentMethod.STRIPE]
        if not _deliverable(prices):
            raise ChatUnavailable
    price = choose_price(prices, currency=currency, payment_method=payment_method)
    plan = price.plan
    now = database_now()
    if plan.when_active == WhenActive.REJECT:
        active = subscriptions.active_beyond_grace(now).filter(customer=customer, code=plan.entitlement).first()
        if active is not None:
            raise AlreadyActive(active.active_until, renews=active.renews)
    invoice_id = uuid7()
    return Invoice.objects.quote(
        plan,
        id=invoice_id,
        customer=customer,
        payment_method=price.payment_method,
        amount=price.amount,
        currency=price.currency,
        payload=payloads.encode(
            invoice_id=invoice_id, plan_code=plan.code, payer=customer.telegram_user_id, price=price.money
        ),
        expires_at=now + settings.INVOICE_LIFETIME,
    )


def choose_price(prices: Iterable[Price], *, currency: str | None, payment_method: PaymentMethod | None) -> Price:
    """The price of a plan asked for; by default Stars, else the house's currency, else the plan's first price.

    :raises CurrencyNotOffered:
    """
    offered = _deliverable(prices)
    if payment_method is not None:
        offered = [price for price in offered if price.payment_method == payment_method]
    for wanted in [currency] if currency is not None else [STARS, settings.TELEGRAM_PAYMENT_CURRENCY, None]:
        for price in offered:
            if wanted in {price.currency, None}:
                return price
    raise CurrencyNotOffered


def offered_prices(plan: Plan, *, table: currencies.Table | None = None) -> list[Price]:
    """The prices at which the plan can be bought here and now, in the catalogue's order.

    :param table: what Telegram's providers take, by who asks for many plans; else it is read
    """
    return _deliverable(plan.prices.all(), table)


def _deliverable(prices: Iterable[Price], table: currencies.Table | None = None) -> list[Price]:
    methods = {PaymentMethod.TELEGRAM_STARS}
    if settings.TELEGRAM_PAYMENT_PROVIDER_TOKEN:
        methods.add(PaymentMethod.TELEGRAM_PROVIDER)
    if stripe.is_set_up():
        methods.add(PaymentMethod.STRIPE)
    deliverable = [price for price in prices if price.payment_method in methods]
    if any(price.payment_method == PaymentMethod.TELEGRAM_PROVIDER for price in deliverable):
        deliverable = _taken_by_providers(deliverable, table or currencies.in_force())
    return deliverable


def _taken_by_providers(prices: list[Price], table: currencies.Table) -> list[Price]:
    """Without those that Telegram refuses since the rates of exchange have moved; the doctor names them."""
    return [
        price
        for price in prices
        if price.payment_method != PaymentMethod.TELEGRAM_PROVIDER or not table.refusal(price.money)
    ]


@transaction.atomic
def _mark_void(invoice: Invoice) -> None:
    """A definite refusal: the customer never saw the invoice."""
    if Invoice.objects.filter(pk=invoice.pk, status=InvoiceStatus.DRAFT).update(status=InvoiceStatus.VOID):
        tallies.count(TallyResult.FAILED, plan_code=invoice.plan_id)
    invoice.refresh_from_db()


def _mark_sent(invoice: Invoice, delivered: channel.Delivered) -> None:
    """Note how it was sent. A buyer may have paid in the meantime, and a paid invoice stays paid."""
    Invoice.objects.filter(pk=invoice.pk).update(
        status=Case(When(status=InvoiceStatus.DRAFT, then=Value(InvoiceStatus.SENT)), default=F("status")),
        sent_at=database_now(),
        link=delivered.link or "",
        message_id=delivered.message_id,
    )
    invoice.refresh_from_db()
