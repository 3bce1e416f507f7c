"""The cast and their things: Alice pays, Bob forwards, Carol must see nothing."""

from datetime import UTC, datetime, timedelta

import factory
from django.conf import settings

from entitlements.models import Customer
from payments import payloads
from payments.identifiers import uuid7
from payments.models import Invoice, InvoiceStatus, PaymentMethod, Plan, Price, WhenActive
from payments.money import Money


class CustomerFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Customer

    telegram_user_id = factory.Sequence(lambda n: 7_000_000_000 + n)
    user_id = factory.LazyAttribute(lambda customer: str(customer.telegram_user_id))
    display_name = factory.Faker("first_name")
    language_code = "en"


class PlanFactory(factory.django.DjangoModelFactory):
    """A month of gold for 500 Stars or £25, sold once at a time."""

    class Meta:
        model = Plan
        django_get_or_create = ("code",)
        skip_postgeneration_save = True

    code = "gold_1m"
    title = "Gold, 1 month"
    description = "Signals and three devices."
    entitlement = "gold"
    features = factory.LazyFunction(lambda: {"signals_enabled": True, "max_devices": 3})
    duration_days = 30
    when_active = WhenActive.REJECT

    @factory.post_generation
    def prices(self, create, extracted, **kwargs):
        for money in extracted if extracted is not None else (Money(500, "XTR"), Money(2500, "GBP")):
            stars = money.currency == "XTR"
            Price.objects.get_or_create(
                plan=self,
                currency=money.currency,
                payment_method=PaymentMethod.TELEGRAM_STARS if stars else PaymentMethod.TELEGRAM_PROVIDER,
                defaults={"amount": money.amount},
            )


class InvoiceFactory(factory.django.DjangoModelFactory):
    """An invoice that was sent to Alice a moment ago, quoting the plan's Stars price."""

    class Meta:
        model = Invoice

    id = factory.LazyFunction(uuid7)
    customer = factory.SubFactory(CustomerFactory)
    plan = factory.SubFactory(PlanFactory)
    payment_method = PaymentMethod.TELEGRAM_STARS
    amount = 500
    currency = "XTR"
    entitlement = factory.LazyAttribute(lambda invoice: invoice.plan.entitlement)
    features = factory.LazyAttribute(lambda invoice: invoice.plan.features)
    duration = factory.LazyAttribute(lambda invoice: invoice.plan.duration)
    recurring = factory.LazyAttribute(lambda invoice: invoice.plan.recurring)
    when_active = factory.LazyAttribute(lambda invoice: invoice.plan.when_active)
    status = InvoiceStatus.SENT
    sent_at = factory.LazyFunction(lambda: datetime.now(UTC))
    expires_at = factory.LazyFunction(lambda: datetime.now(UTC) + settings.INVOICE_LIFETIME)
    payload = factory.LazyAttribute(
        lambda invoice: payloads.encode(
            invoice_id=invoice.id,
            plan_code=invoice.plan.code,
            payer=invoice.customer.telegram_user_id,
            price=Money(invoice.amount, invoice.currency),
        )
    )

    class Params:
        expired = factory.Trait(expires_at=factory.LazyFunction(lambda: datetime.now(UTC) - timedelta(minutes=1)))
