"""Invoices inside Telegram, for Stars and for fiat through a payment provider; Stars given back, and their list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from django.conf import settings
from django.utils.module_loading import import_string

from entitlements.models import Customer
from payments.channels.base import Delivered, InvoiceGateway, ListedTransaction, RefundGateway
from payments.models import Invoice, PaymentEvent, PaymentMethod
from payments.models.catalogue import RECURRING_DAYS


def deliver(invoice: Invoice, *, to_chat: bool) -> Delivered:
    """Send the invoice into the customer's chat, or make a link of it. No transaction may be open.

    :raises ChannelError: see payments.channels.base
    """
    gateway = cast(InvoiceGateway, import_string(settings.PAYMENTS_TELEGRAM_GATEWAY))
    provider_token = _provider_token(invoice)
    plan, chat_id = invoice.plan, invoice.customer.telegram_user_id
    needs = plan.needs if invoice.payment_method == PaymentMethod.TELEGRAM_PROVIDER else ()
    if to_chat and not invoice.recurring:
        message_id = gateway.send_invoice(
            chat_id=cast(int, chat_id),
            title=plan.title,
            description=plan.description,
            payload=invoice.payload,
            money=invoice.price,
            provider_token=provider_token,
            needs=needs,
        )
        return Delivered(link=None, message_id=message_id)

    link = gateway.create_invoice_link(
        title=plan.title,
        description=plan.description,
        payload=invoice.payload,
        money=invoice.price,
        provider_token=provider_token,
        subscription_days=RECURRING_DAYS if invoice.recurring else None,
        needs=needs,
    )
    if not to_chat:
        return Delivered(link=link, message_id=None)
    # Telegram sells subscriptions by link only, so the chat gets a message with the link on a button.
    return Delivered(link=link, message_id=send_link(invoice, link=link))


def send_link(invoice: Invoice, *, link: str) -> int:
    """Send a message with a button that leads to where the invoice is paid, and return its id. No transaction may be
    open.

    :raises ChannelError: see payments.channels.base
    """
    gateway = cast(InvoiceGateway, import_string(settings.PAYMENTS_TELEGRAM_GATEWAY))
    return gateway.send_link(
        chat_id=cast(int, invoice.customer.telegram_user_id),
        title=invoice.plan.title,
        link=link,
        money=invoice.price,
        renews=invoice.recurring,
        language_code=invoice.customer.language_code,
    )


def refund(payment: PaymentEvent) -> None:
    """Give a Stars payment back to the Telegram account that made it. No transaction may be open.

    :raises ChannelError: see payments.channels.base
    """
    _refunds().refund(telegram_user_id=cast(int, payment.customer.telegram_user_id), charge_id=payment.event_id)


def cancel_subscription(customer: Customer, *, first_charge: str) -> None:
    """Have Telegram renew a subscription no more; what is paid for stays paid. No transaction may be open.

    :raises ChannelError: see payments.channels.base
    """
    _refunds().cancel_subscription(telegram_user_id=cast(int, customer.telegram_user_id), first_charge_id=first_charge)


def allow_subscription(customer: Customer, *, first_charge: str) -> None:
    """Have Telegram let the customer renew what we have stopped, if he wants to. No transaction may be open.

    :raises ChannelError: see payments.channels.base
    """
    _refunds().allow_subscription(telegram_user_id=cast(int, customer.telegram_user_id), first_charge_id=first_charge)


def transactions(*, offset: int, limit: int) -> Sequence[ListedTransaction]:
    """Rows of the list of Stars, oldest first; an empty answer is its end. No transaction may be open.

    :raises ChannelError: see payments.channels.base
    """
    return _refunds().transactions(offset=offset, limit=limit)


def balance() -> int:
    """The bot's Stars, in billionths; they may be less than nothing. No transaction may be open.

    :raises ChannelError: see payments.channels.base
    """
    return _refunds().balance()


def _refunds() -> RefundGateway:
    return cast(RefundGateway, import_string(settings.PAYMENTS_TELEGRAM_GATEWAY))


def _provider_token(invoice: Invoice) -> str:
    """Stars need none; fiat money goes through the provider whose token the owner has set."""
    stars = invoice.payment_method == PaymentMethod.TELEGRAM_STARS
    return "" if stars else str(settings.TELEGRAM_PAYMENT_PROVIDER_TOKEN)
