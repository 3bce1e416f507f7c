"""A Telegram that the gateway calls, in which things have been paid."""

from datetime import timedelta

import pytest

from payments.models import PaymentEvent
from payments.models.catalogue import RECURRING_DAYS
from payments.money import Money
from payments.recording import record_payment
from telegram_bot.gateway import gateway
from telegram_bot.sandbox.server import LocalTelegram
from telegram_bot.sandbox.truth import Subscription
from tests.payments.reports import payment_of


class Telegram:
    """The local Telegram, with the short ways that refunds need."""

    def __init__(self, local: LocalTelegram) -> None:
        self.local = local
        self.faults = local.faults
        self.truth = local.truth

    def charges(self, invoice) -> str:
        """Take the money of one of our invoices, and return the charge's id. We are not told."""
        buyer = invoice.customer
        world, now = self.local._world, self.local._loop.now
        if all(person.id != buyer.telegram_user_id for person in self.truth.people):
            self.local.person(buyer.display_name, user_id=buyer.telegram_user_id).says("/start")
        link = gateway.create_invoice_link(
            title=invoice.plan.title,
            description=invoice.plan.description,
            payload=invoice.payload,
            money=Money(invoice.amount, invoice.currency),
            provider_token="",
            subscription_days=RECURRING_DAYS if invoice.recurring else None,
        )
        asked = world.truth.invoice_by_link(link)
        return now(lambda: world.checkout.charge(asked, world.truth.people[buyer.telegram_user_id])).id

    def sells(self, invoice, **changes) -> PaymentEvent:
        """Take the money and tell us, as the webhook would."""
        charge_id = self.charges(invoice)
        return record_payment(payment_of(invoice, charge_id=charge_id, **changes)).event

    def refunds_by_itself(self, payment: PaymentEvent) -> None:
        """Give a payment back without a call of ours."""
        world = self.local._world
        person = world.truth.people[payment.customer.telegram_user_id]
        self.local._loop.now(lambda: world.checkout.refund(payment.event_id, person))

    def happened(self, charge_id: str, *, ago: timedelta, direction: str = "source") -> None:
        """Let a row of the list be that old."""
        date = int(self.local.now() - ago.total_seconds())
        self.is_listed_as(charge_id, direction=direction, date=date)

    def is_listed_as(self, charge_id: str, *, direction: str = "source", **changes: int) -> None:
        """Let a row of the list say something else."""
        rows = self.local._world.truth.transactions
        [row] = [row for row in rows if row["id"] == charge_id and direction in row]
        self.local._loop.now(lambda: row.update(changes))

    def buyer_cancels(self, subscription: Subscription) -> None:
        """End the renewals without a call of ours."""
        subscriptions = self.local._world.subscriptions
        self.local._loop.now(lambda: subscriptions.cancel(self.local._world.truth.subscriptions[subscription.id]))

    def calls(self, method: str) -> int:
        return len(self.truth.calls_of(method))


@pytest.fixture
def telegram(settings):
    gateway.close()
    with LocalTelegram.running(token=settings.TELEGRAM_BOT_TOKEN) as local:
        settings.TELEGRAM_API_BASE_URL = local.base_url
        yield Telegram(local)
        gateway.close()
