"""Pages of Stripe on which a customer could only pay for what he has by now: they are closed.

Telegram asks before it takes money, and hears no (payments.checkout). Stripe does not ask, so it is told when what a
page sells came to its customer in another way. Which pages those are is read from the books every time: none is
forgotten with a worker that died. The payment of a buyer who is quicker is held and given back, like every purchase
made twice.
"""

from __future__ import annotations

from datetime import datetime

import structlog
from django.db import transaction
from django.db.models import Exists, OuterRef

from config.database import database_now, retried
from payments import subscriptions, tallies
from payments.channels import stripe
from payments.channels.base import Faulty, Refused
from payments.models import Invoice, InvoiceStatus, PaymentMethod, TallyResult, WhenActive
from payments.models.invoices import InvoiceQuerySet

BATCH = 50

logger = structlog.get_logger(__name__)


def close_needless_pages() -> int:
    """Have Stripe close them, the latest first, and return how many it closed. Repeating it changes nothing. No
    transaction may be open.

    :raises ChannelError: Stripe is out of reach
    """
    if not stripe.is_set_up():
        return 0
    needless = needless_pages(now=database_now()).select_related("customer__stripe")
    return sum(_close(invoice) for invoice in needless.order_by("-expires_at")[:BATCH])


def needless_pages(*, now: datetime) -> InvoiceQuerySet:
    """Invoices that can still be paid by Stripe, and whose payment would be held because their customer has what they
    sell: what is bought again and again is not among them.
    """
    had = subscriptions.active_beyond_grace(now).filter(customer=OuterRef("customer"), code=OuterRef("entitlement"))
    return Invoice.objects.open_at(now).filter(
        Exists(had), payment_method=PaymentMethod.STRIPE, when_active=WhenActive.REJECT, customer__stripe__isnull=False
    )


def _close(invoice: Invoice) -> bool:
    """
    :raises ChannelError: Stripe is out of reach
    """
    try:
        closed = stripe.close_page(invoice, stripe_customer=invoice.customer.stripe.stripe_id)
    except (Refused, Faulty) as error:  # of this one; the others may do better
        logger.warning("page not closed", invoice_id=str(invoice.pk), why=str(error))
        return False
    return closed and _mark_expired(invoice)


@retried
@transaction.atomic
def _mark_expired(invoice: Invoice) -> bool:
    """Whether it was still open: it may have lapsed in the meantime, or be paid, and a paid invoice stays paid."""
    still_open = Invoice.objects.open_at(database_now()).filter(pk=invoice.pk)
    if not still_open.update(status=InvoiceStatus.EXPIRED):
        return False
    tallies.count(TallyResult.CANCELLED, plan_code=invoice.plan_id)
    logger.info(
        "page closed",
        invoice_id=str(invoice.pk),
        user_id=invoice.customer.user_id,
        plan_code=invoice.plan_id,
        amount=invoice.amount,
        currency=invoice.currency,
    )
    return True
