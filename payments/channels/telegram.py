"""Invoices inside Telegram: for Stars, and for fiat money through a payment provider."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from django.conf import settings
from django.utils.module_loading import import_string

from payments.channels.base import InvoiceGateway
from payments.models import Invoice, PaymentMethod
from payments.models.catalogue import RECURRING_DAYS


@dataclass(frozen=True, slots=True)
class Delivered:
    """How an invoice reached its customer; either may be None, not both."""

    link: str | None
    message_id: int | None


def deliver(invoice: Invoice, *, to_chat: bool) -> Delivered:
    """Send the invoice into the customer's chat, or make a link of it. No transaction may be open.

    :raises ChannelError: see payments.channels.base
    """
    gateway = cast(InvoiceGateway, import_string(settings.PAYMENTS_TELEGRAM_GATEWAY))
    provider_token = _provider_token(invoice)
    plan, chat_id = invoice.plan, invoice.customer.telegram_user_id
    if to_chat and not invoice.recurring:
        message_id = gateway.send_invoice(
            chat_id=cast(int, chat_id),
            title=plan.title,
            description=plan.description,
            payload=invoice.payload,
            money=invoice.price,
            provider_token=provider_token,
        )
        return Delivered(link=None, message_id=message_id)

    link = gateway.create_invoice_link(
        title=plan.title,
        description=plan.description,
        payload=invoice.payload,
        money=invoice.price,
        provider_token=provider_token,
        subscription_days=RECURRING_DAYS if invoice.recurring else None,
    )
    if not to_chat:
        return Delivered(link=link, message_id=None)
    # Telegram sells subscriptions by link only, so the chat gets a message with the link on a button.
    message_id = gateway.send_link(
        chat_id=cast(int, chat_id),
        title=plan.title,
        link=link,
        money=invoice.price,
        language_code=invoice.customer.language_code,
    )
    return Delivered(link=link, message_id=message_id)


def _provider_token(invoice: Invoice) -> str:
    """Stars need none; fiat money goes through the provider whose token the owner has set."""
    stars = invoice.payment_method == PaymentMethod.TELEGRAM_STARS
    return "" if stars else str(settings.TELEGRAM_PAYMENT_PROVIDER_TOKEN)
