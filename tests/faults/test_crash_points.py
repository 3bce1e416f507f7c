"""T02: the process dies at every boundary of its SQL, Telegram delivers again, and the books are right."""

import time

import pytest
from django.conf import settings
from django.test import Client

from entitlements.models import Entitlement
from payments.models import CheckoutDecision, Invoice, PaymentEvent, Subscription, SubscriptionChange
from payments.money import Money
from telegram_bot.models import IncomingUpdate, UpdateStatus
from telegram_bot.processing import process_update
from telegram_bot.webhook import PATH, SECRET_HEADER
from tests import updates
from tests.books import faults_in_the_books
from tests.factories import CustomerFactory, InvoiceFactory, PlanFactory
from tests.faults.crashing import boundaries, die_at

pytestmark = pytest.mark.django_db(transaction=True)

REDELIVERIES = 3
MONTH = 30 * 24 * 60 * 60  # seconds


def deliver(update: dict):
    answer = Client().post(
        PATH,
        updates.body(update),
        content_type="application/json",
        headers={SECRET_HEADER: settings.TELEGRAM_WEBHOOK_SECRETS[0]},
    )
    assert answer.status_code == 200, answer.content
    # What is put off is done by a worker; money has to be right by the redelivery alone.
    for stored in IncomingUpdate.objects.filter(status=UpdateStatus.PENDING, kind="subscription"):
        process_update(stored.pk, tried=stored.attempts)


def new_invoice():
    return InvoiceFactory(customer=CustomerFactory(), plan=PlanFactory())


def ordinary_payment():
    invoice = new_invoice()
    return updates.payment(invoice, charge_id=f"stx-{invoice.pk}")


def payment_that_is_held():
    invoice = new_invoice()
    return updates.payment(invoice, charge_id=f"stx-{invoice.pk}", total_amount=1)


def payment_whose_refund_came_first():
    invoice = new_invoice()
    deliver(updates.refund(invoice, charge_id=f"stx-{invoice.pk}"))
    return updates.payment(invoice, charge_id=f"stx-{invoice.pk}")


def second_payment_for_what_is_active():
    first = new_invoice()
    deliver(updates.payment(first, charge_id=f"stx-{first.pk}"))
    second = InvoiceFactory(customer=first.customer, plan=first.plan)
    return updates.payment(second, charge_id=f"stx-{second.pk}")


def renewal():
    plan = PlanFactory(code="gold_monthly", recurring=True, prices=[Money(500, "XTR")])
    invoice = InvoiceFactory(customer=CustomerFactory(), plan=plan)
    ends_at = int(time.time()) + MONTH
    deliver(updates.payment(invoice, charge_id=f"stx-{invoice.pk}", subscription_expiration_date=ends_at))
    return updates.payment(
        invoice,
        charge_id=f"stx-{invoice.pk}-2",
        subscription_expiration_date=ends_at + MONTH,
        is_recurring=True,
    )


def first_payment_of_a_subscription():
    plan = PlanFactory(code="gold_monthly", recurring=True, prices=[Money(500, "XTR")])
    invoice = InvoiceFactory(customer=CustomerFactory(), plan=plan)
    return updates.payment(
        invoice, charge_id=f"stx-{invoice.pk}", subscription_expiration_date=int(time.time()) + MONTH
    )


def cancellation():
    deliver(renewal())
    return updates.subscription(Invoice.objects.order_by("pk").last(), "canceled")


def refund():
    invoice = new_invoice()
    deliver(updates.payment(invoice, charge_id=f"stx-{invoice.pk}"))
    return updates.refund(invoice, charge_id=f"stx-{invoice.pk}")


def pre_checkout():
    invoice = new_invoice()
    return updates.pre_checkout(invoice, query_id=f"query-{invoice.pk}")


@pytest.mark.parametrize(
    "flow",
    [
        ordinary_payment,
        payment_that_is_held,
        payment_whose_refund_came_first,
        second_payment_for_what_is_active,
        first_payment_of_a_subscription,
        renewal,
        cancellation,
        refund,
        pre_checkout,
    ],
)
def test_dying_at_any_boundary_loses_and_doubles_nothing(flow):
    update = flow()
    total = boundaries(lambda: deliver(update))

    for boundary in range(total):
        update = flow()
        die_at(boundary, lambda update=update: deliver(update))
        for _ in range(REDELIVERIES):
            deliver(update)

    assert faults_in_the_books() == []
    assert not IncomingUpdate.objects.exclude(status=UpdateStatus.DONE).exists()
    if flow is pre_checkout:
        assert CheckoutDecision.objects.filter(ok=True).count() == total + 1
    elif flow is cancellation:
        assert set(Subscription.objects.values_list("state", flat=True)) == {"canceled"}
        assert SubscriptionChange.objects.filter(state="canceled").count() == total + 1
    elif flow in {first_payment_of_a_subscription, renewal}:
        assert Subscription.objects.count() == total + 1
    elif flow in {ordinary_payment, refund}:
        runs = total + 1
        assert PaymentEvent.objects.payments().filter(status="processed").count() == runs
        assert Entitlement.objects.count() == runs
