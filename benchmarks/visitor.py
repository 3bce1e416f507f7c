"""Whoever looks into the books of one database: a member of staff at the admin, a buyer in the chat, and the clock.

Does what a line of standard input names, and tells on standard output in JSON how long it took (milliseconds) and with
how many queries. It is done in this process, past the network and the web server, which do not know how many rows there
are. The first line of standard output lists all there is to do.
"""

import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import django

django.setup()

from django.conf import settings  # noqa: E402 - Django has to be set up before
from django.contrib.auth.models import User  # noqa: E402 - Django has to be set up before
from django.db import connection, models  # noqa: E402
from django.test import Client  # noqa: E402
from django.urls import reverse  # noqa: E402
from django_otp import DEVICE_ID_SESSION_KEY  # noqa: E402
from django_otp.plugins.otp_totp.models import TOTPDevice  # noqa: E402

from config.database import database_now, long_statements  # noqa: E402
from entitlements.models import Customer  # noqa: E402
from payments import recurring, reminding, subscriptions  # noqa: E402
from payments.models import Hold, PaymentEvent, Subscription  # noqa: E402
from telegram_bot.handlers import account  # noqa: E402
from telegram_bot.updates import Command, Person  # noqa: E402

ENTITLEMENTS = "entitlements.entitlement"
LISTS = (
    "payments.paymentevent",
    "payments.hold",
    "payments.refund",
    "payments.invoice",
    "payments.notice",
    "payments.subscription",
    "payments.subscriptionpayment",
    "payments.subscriptionchange",
    "payments.subscriptionday",
    "entitlements.customer",
    ENTITLEMENTS,
    "entitlements.grant",
    "entitlements.auditentry",
    "telegram_bot.incomingupdate",
)
SAMPLE = 50  # rows whose own pages are opened, in turn

Page = Callable[[], str]
Deed = Callable[[], object]


def pages() -> dict[str, Page]:
    """The address of each page, by its name; another row's at each call where it is the page of a row."""
    payments, customers = _any_of(PaymentEvent.objects.payments()), _any_of(Customer.objects.all())
    holds = _any_of(Hold.objects.all())
    subscribed = _any_of(Subscription.objects.all())
    ledger, people, access = _list("payments.paymentevent"), _list("entitlements.customer"), _list(ENTITLEMENTS)
    renewing = _list("payments.subscription")
    today = database_now().date()
    month, year, two_years = (f"{today - timedelta(days=days):%Y-%m-%d}" for days in (30, 365, 730))
    counted = f"{ledger}?occurred_at_from={month}&occurred_at_to={today}"
    earned = f"{ledger}?occurred_at_from={two_years}&occurred_at_to={today}"
    addresses = {
        "metrics": "/metrics",
        "overview": reverse("admin:index"),
        **{f"list of {label}": _list(label) for label in LISTS},
        "payments, page 20": f"{ledger}?p=20",
        "payments of a plan": f"{ledger}?plan__code__exact=gold_1m",
        "payments of a plan never sold": f"{ledger}?plan__code__exact=club",
        "payments since a month ago": f"{ledger}?received_at_from={month}",
        "payments of a day": f"{ledger}?period={month}",
        "payments held": f"{ledger}?status__exact=held",
        "payments held, of a year": f"{ledger}?status__exact=held&period={year[:4]}",
        "payments by card": f"{ledger}?payment_method__exact=telegram_provider",
        "payments in pounds": f"{ledger}?currency=GBP",
        "payments in a currency not used": f"{ledger}?currency=XXX",
        "payments by staff": f"{ledger}?origin__exact=staff",
        "refunds": f"{ledger}?kind=refunds",
        "refunds of a plan": f"{ledger}?kind=refunds&plan__code__exact=gold_life",
        "refunds by type": f"{ledger}?event_type__exact=telegram_provider.refunded_payment",
        "what nothing is": f"{ledger}?plan__code__exact=gold_life&payment_method__exact=telegram_provider",
        "payments by name": f"{ledger}?q=Alice",
        "payments by name, held": f"{ledger}?q=Alice&status__exact=held",
        "payments by no name": f"{ledger}?q=Nobody",
        "customers by name": f"{people}?q=Alice",
        "customers blocked": f"{people}?blocked_at__isempty=0",
        "customers of a month": f"{people}?created_at_from={month}",
        "holds for a reason": f"{_list('payments.hold')}?reason__exact=bought_twice",
        "messages owed": f"{_list('payments.notice')}?state=owed",
        "messages given up": f"{_list('payments.notice')}?state=given_up",
        "messages about refunds": f"{_list('payments.notice')}?kind__exact=refunded",
        "invoices expired": f"{_list('payments.invoice')}?status__exact=expired",
        "invoices void": f"{_list('payments.invoice')}?status__exact=void",
        "deeds of a month": f"{_list('entitlements.auditentry')}?at_from={month}",
        "deeds of a year": f"{_list('entitlements.auditentry')}?at_from={year}",
        "deeds of a person": f"{_list('entitlements.auditentry')}?q=demo",
        "subscriptions not ended": f"{renewing}?standing=running",
        "subscriptions not paid": f"{renewing}?standing=failed",
        "subscriptions in a currency not used": f"{renewing}?currency=XXX",
        "subscriptions active on a day": f"{renewing}?currency=XTR&active_on={month}",
        "subscriptions begun in a month": f"{renewing}?currency=XTR&started_at_from={month}",
        "subscriptions ended in a month": f"{renewing}?standing=ended&currency=XTR&state_changed_at_from={month}",
        "subscriptions soon renewed": f"{renewing}?current_period_end_from={today}",
        "payments of renewals": f"{counted}&kind=renewals&currency=XTR",
        "access now": f"{access}?active=yes",
        "access by a plan": f"{access}?active=yes&code=gold&plan=gold_1m",
        "access by a rare plan": f"{access}?active=yes&code=archive&plan=day_pass",
        "access by no plan": f"{access}?active=yes&code=gold&plan=-",
        "revenue of 30 days": f"{reverse('admin:payments_revenue')}?range=last_30_days",
        "revenue of two years": f"{reverse('admin:payments_revenue')}?first={two_years}&last={today}",
        "revenue's payments": f"{counted}&kind=payments&currency=XTR",
        "revenue's refunds": f"{counted}&kind=refunds&currency=GBP",
        "revenue's payments of a plan": f"{counted}&kind=payments&currency=XTR&plan__code__exact=gold_life",
        "revenue's refunds, two years": f"{earned}&kind=refunds&currency=XTR&plan__code__exact=day_pass",
        "revenue of a plan never sold": f"{earned}&kind=payments&currency=XTR&plan__code__exact=club",
        "revenue without a plan, two years": f"{earned}&currency=XTR&plan__isnull=True",
    }
    return {name: _fixed(address) for name, address in addresses.items()} | {
        "payments by charge id": lambda: f"{ledger}?q={next(payments).event_id}",
        "payments by Telegram id": lambda: f"{ledger}?q={next(customers).telegram_user_id}",
        "payments of a customer": lambda: f"{ledger}?customer__id__exact={next(customers).pk}",
        "subscriptions by charge id": lambda: f"{renewing}?q={next(subscribed).first_charge_id}",
        "subscriptions by Telegram id": lambda: f"{renewing}?q={next(customers).telegram_user_id}",
        "subscriptions by invoice": lambda: f"{renewing}?q={next(subscribed).reference}",
        "a subscription": lambda: reverse("admin:payments_subscription_change", args=[next(subscribed).pk]),
        "subscriptions of a customer": lambda: f"{renewing}?customer__id__exact={next(subscribed).customer_id}",
        "a payment": lambda: reverse("admin:payments_paymentevent_change", args=[next(payments).pk]),
        "a customer": lambda: reverse("admin:entitlements_customer_change", args=[next(customers).pk]),
        "a refund to ask for": lambda: reverse("admin:payments_paymentevent_refund", args=[next(payments).pk]),
        "a held payment": lambda: reverse("admin:payments_hold_decide", args=[next(holds).pk]),
    }


def deeds() -> dict[str, Deed]:
    """What has no page: the answer to a buyer, and what workers do by the clock."""
    subscribed = _any_of(Subscription.objects.running().select_related("customer"))
    return {
        "/status": lambda: account.status(_asked_by(next(subscribed).customer)),
        "reminders owed": reminding.remind,
        "subscriptions ended": subscriptions.end_what_is_over,
        "subscriptions summed up": recurring.bring_together,
    }


def _asked_by(customer: Customer) -> Command:
    assert customer.telegram_user_id is not None
    person = Person(customer.telegram_user_id, customer.display_name, language_code=customer.language_code)
    return Command(
        chat_id=person.id, is_private=True, sender=person, name="status", argument="", date=datetime.now(UTC)
    )


def _list(label: str) -> str:
    return reverse(f"admin:{label.replace('.', '_')}_changelist")


def _fixed(address: str) -> Page:
    return lambda: address


@long_statements(up_to=timedelta(hours=1))
def _any_of(rows: models.QuerySet[Any]) -> Iterator[Any]:
    """Rows from all over the table, again and again."""
    return itertools.cycle(list(rows.order_by("?")[:SAMPLE]))


def signed_in() -> Client:
    person, _ = User.objects.get_or_create(username="visitor", is_staff=True, is_superuser=True)
    client = Client(headers={"host": "127.0.0.1", "authorization": f"Bearer {settings.METRICS_TOKEN}"})
    client.force_login(person)
    session = client.session
    session[DEVICE_ID_SESSION_KEY] = TOTPDevice.objects.create(user=person, confirmed=True).persistent_id
    session.save()
    return client


@contextmanager
def counted() -> Iterator[list[str]]:
    """The statements that were executed meanwhile."""
    seen: list[str] = []

    def count(execute: Callable[..., Any], statement: str, *rest: Any) -> Any:
        seen.append(statement)
        return execute(statement, *rest)

    with connection.execute_wrapper(count):
        yield seen


def visit(client: Client, page: Page) -> None:
    """:raises RuntimeError: the page was not there"""
    address = page()
    answer = client.get(address)
    if answer.status_code != 200:
        raise RuntimeError(f"{address} answered {answer.status_code}")


def timed(deed: Deed) -> Mapping[str, float]:
    with counted() as queries:
        started = time.perf_counter()
        deed()
        took = time.perf_counter() - started
    return {"ms": took * 1000, "queries": len(queries)}


def main() -> None:
    client = signed_in()
    known: dict[str, Deed] = {name: partial(visit, client, page) for name, page in pages().items()} | deeds()
    print(json.dumps(list(known)), flush=True)
    for line in sys.stdin:
        print(json.dumps(timed(known[line.strip()])), flush=True)


if __name__ == "__main__":
    main()
