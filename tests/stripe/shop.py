"""A shop that sells by the local Stripe, and what one can do there."""

import time

from django.test import Client
from stripe import WebhookSignature

from payments.channels import stripe as channel
from payments.models import PaymentEvent, PaymentMethod, Plan, Price, StripeEvent
from payments.money import Money
from payments.sandbox.account import as_bytes
from payments.sandbox.server import LocalStripe
from payments.stripe import processing, selling
from tests.factories import CustomerFactory, InvoiceFactory, PlanFactory

KEY = "sk_test_of_the_shop_in_the_tests"
SECRET = "whsec_of_the_shop_in_the_tests"
WEBHOOK = "/webhook/stripe"
GOLD = Money(2500, "GBP")


def post(body: bytes, *, secret: str = SECRET, at: float | None = None, signature: str | None = None):
    """Bring an event as Stripe does, signed by its own library."""
    if signature is None:
        signature = WebhookSignature.generate_signature_header(body.decode(), secret, int(at or time.time()))
    return Client().post(
        WEBHOOK, body, content_type="application/json; charset=utf-8", headers={"Stripe-Signature": signature}
    )


def by_stripe(plan: Plan, money: Money = GOLD, **facts) -> Plan:
    """Let a plan be sold by Stripe too."""
    Price.objects.get_or_create(
        plan=plan,
        payment_method=PaymentMethod.STRIPE,
        currency=money.currency,
        defaults={"amount": money.amount, "position": 2, **facts},
    )
    return plan


def quoted(**facts):
    """An invoice for a month of gold, to be paid by Stripe."""
    plan = facts.pop("plan", None) or by_stripe(PlanFactory())
    return InvoiceFactory(
        **{
            "customer": facts.pop("customer", None) or CustomerFactory(),
            "plan": plan,
            "payment_method": PaymentMethod.STRIPE,
            "amount": GOLD.amount,
            "currency": GOLD.currency,
            **facts,
        }
    )


def club(**facts) -> Plan:
    """A plan that renews itself every 30 days."""
    plan = PlanFactory(code="club", entitlement="club", recurring=True, prices=[Money(300, "XTR")], **facts)
    return by_stripe(plan, Money(900, "GBP"))


class Shop:
    """The local Stripe, with the short ways of a shop."""

    def __init__(self, local: LocalStripe) -> None:
        self.local = local
        self.account = local.account
        self.faults = local.faults
        self.brought = 0

    def charges(self, invoice, **how) -> dict:
        """The buyer opens the invoice's page and pays. We are not told. Returns the session."""
        link = selling.deliver(invoice, to_chat=False).link
        return self.account.pay(link.rpartition("/")[2], **how)

    def brings(self, *events: dict) -> None:
        """Bring these events, or all that happened since the last time."""
        new = events or self.account.events[self.brought :]
        self.brought = len(self.account.events)
        for event in new:
            assert post(as_bytes(event), at=self.account.now()).status_code == 200

    def works(self) -> None:
        """A worker acts upon what was brought, as it came."""
        for pk in StripeEvent.objects.filter(status="pending").order_by("pk").values_list("pk", flat=True):
            processing.process(event_pk=pk)

    def tells(self) -> None:
        self.brings()
        self.works()

    def sells(self, invoice) -> PaymentEvent:
        """The buyer pays, and we hear of it."""
        session = self.charges(invoice)
        self.tells()
        names = [session["payment_intent"]] if session["payment_intent"] else self.intents_of(session["invoice"])
        return PaymentEvent.objects.get(event_id__in=names, refund_of=None)

    def intents_of(self, invoice_id: str) -> list[str]:
        paid = self.account.all("invoice_payment")
        return [each["payment"]["payment_intent"] for each in paid if each["invoice"] == invoice_id]

    def happened(self, kind: str) -> dict:
        """The latest event of a type."""
        return self.local.events(kind)[-1]


def set_up(settings, local: LocalStripe) -> Shop:
    settings.STRIPE_SECRET_KEY = KEY
    settings.STRIPE_WEBHOOK_SECRETS = [SECRET]
    settings.STRIPE_API_BASE = local.address
    channel._client.cache_clear()
    return Shop(local)
