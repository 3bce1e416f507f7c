"""A shop, every address of it, and for each address something that can be asked there."""

import json
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from uuid import uuid4

from django.urls import URLPattern, URLResolver, get_resolver
from django.views import View

from entitlements.models import Customer
from payments.models import Invoice, Refund
from tests.api.test_sign_in import signed as init_data
from tests.payments.test_tallies import NO_TIME, paid
from tests.security.callers import Somebody

ADMIN = "admin/"
METHODS = tuple(method.upper() for method in View.http_method_names)


def routes() -> list[str]:
    """Every pattern of the resolver, as Django spells it."""
    return list(_below(get_resolver()))


def _below(resolver: URLResolver, prefix: str = "") -> Iterator[str]:
    for each in resolver.url_patterns:
        route = f"{prefix}{each.pattern}"
        if isinstance(each, URLPattern):
            yield route
        else:
            yield from _below(each, route)


def outside_the_admin() -> list[str]:
    return [route for route in routes() if not route.startswith(ADMIN)]


class Shop:
    """One of everything, all of it Alice's."""

    def __init__(self, alice: Customer, invoice: Invoice, everybody: list[Somebody]) -> None:
        self.alice = alice
        self.invoice = invoice
        self.everybody = everybody
        self.payment = paid(alice, invoice.plan, ago=NO_TIME)
        self.refund = Refund.objects.get()

    def caller(self, name: str) -> Somebody:
        return next(each for each in self.everybody if each.name == name)

    def one_of_each_kind(self) -> Iterable[Somebody]:
        """And a program with each of the scopes."""
        return {(caller.kind, caller.scope): caller for caller in self.everybody}.values()

    def address(self, route: str) -> str:
        """An address outside the admin that the pattern matches, of a thing that is there."""
        if route.startswith("^(?:api|webhook)/"):
            return "/api/nothing"
        things = {
            "user_id:user_id": self.alice.user_id,
            "str:code": "gold",
            "uuid:payment_id": self.payment.pk,
            "uuid:refund_id": self.refund.pk,
        }
        return "/" + re.sub("<([^>]+)>", lambda placeholder: str(things[placeholder[1]]), route)

    def address_of_nothing(self, route: str) -> str:
        """The same, of a thing that is not there."""
        return "/" + re.sub("<([^>]+)>", lambda placeholder: str(uuid4()), route)

    def body(self, route: str) -> bytes:
        """What is asked there by a caller who may: it is answered with 2xx."""
        return json.dumps(self._bodies.get(route, {})).encode()

    @cached_property
    def _bodies(self) -> dict[str, dict]:
        report = {
            "user_id": self.alice.user_id,
            "entitlement_type": self.invoice.plan_id,
            "invoice_id": str(self.invoice.pk),
            "telegram_payment_charge_id": "stxReported",
        }
        return {
            "api/v1/entitlements/check": {"entitlement": "gold", "user_ids": [self.alice.user_id]},
            "api/v1/miniapp/exchange-initdata": {"init_data": init_data()},
            # Telegram is never called within a transaction: to be told that it is not on sale is to be let in.
            "api/v1/telegram/payment/send-invoice": {"plan_code": "not_on_sale"},
            "api/v1/telegram/payment/validate": {
                "invoice_payload": self.invoice.payload,
                "telegram_user_id": self.alice.telegram_user_id,
                "total_amount": self.invoice.amount,
                "currency": self.invoice.currency,
            },
            "api/v1/payments/<uuid:payment_id>/refund": {"reason": "Bought by mistake."},
            "webhook/telegram/successful_payment": report
            | {"total_amount": self.invoice.amount, "currency": self.invoice.currency},
            "webhook/telegram/refund": report | {"refund_reason": "Bought by mistake."},
        }
