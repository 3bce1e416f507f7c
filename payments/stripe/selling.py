"""Selling by Stripe: a page for each invoice, and one where a customer sees to his cards and subscriptions himself."""

from __future__ import annotations

from config.database import retried
from entitlements.models import Customer
from payments.channels import stripe, telegram
from payments.channels.base import Delivered
from payments.models import Invoice, PaymentMethod, StripeCustomer


class NeverPaidByStripe(Exception):
    """Stripe does not know the customer."""


def deliver(invoice: Invoice, *, to_chat: bool) -> Delivered:
    """Make the page where an invoice is paid, and send its address into the customer's chat if that is wanted.
    No transaction may be open.

    :raises ChannelError: see payments.channels.base
    """
    prices = invoice.plan.prices.filter(payment_method=PaymentMethod.STRIPE, currency=invoice.currency)
    price = prices.filter(amount=invoice.amount).first()
    try:
        link = stripe.create_session(invoice, stripe_customer=_known_at_stripe(invoice), price=price)
    except stripe.Missing as missing:
        if missing.what != "customer":
            raise
        # He was deleted there, or the key is of another account or mode than it was.
        StripeCustomer.objects.filter(customer=invoice.customer).delete()
        link = stripe.create_session(invoice, stripe_customer=_known_at_stripe(invoice), price=price)
    return Delivered(link=link, message_id=telegram.send_link(invoice, link=link) if to_chat else None)


def has_portal(customer: Customer) -> bool:
    """Whether there is anything to see to."""
    return stripe.is_set_up() and StripeCustomer.objects.filter(customer=customer).exists()


def portal(customer: Customer) -> str:
    """The address where a customer sees to his cards, receipts and subscriptions; good for minutes.

    :raises NeverPaidByStripe: there is nothing to see to
    :raises ChannelError: see payments.channels.base
    """
    known = StripeCustomer.objects.filter(customer=customer).first() if stripe.is_set_up() else None
    if known is None:
        raise NeverPaidByStripe
    return stripe.portal(known.stripe_id)


def _known_at_stripe(invoice: Invoice) -> str:
    customer = invoice.customer
    known = StripeCustomer.objects.filter(customer=customer).first()
    return known.stripe_id if known else _keep(customer, stripe.create_customer(customer, attempt=invoice.pk))


@retried
def _keep(customer: Customer, stripe_id: str) -> str:
    """Whoever was first at it has the last word."""
    known, _ = StripeCustomer.objects.get_or_create(customer=customer, defaults={"stripe_id": stripe_id})
    return known.stripe_id
