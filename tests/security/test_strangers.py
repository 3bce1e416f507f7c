"""What a caller may not see looks to him exactly like what is not there."""

import re
from uuid import uuid4

import pytest

from payments.models import EventType
from tests.admin_pages import test_permissions as admin
from tests.payments.test_tallies import NO_TIME, paid
from tests.security.shop import Shop, outside_the_admin

pytestmark = pytest.mark.django_db


def looks(answer, path: str) -> tuple[int, dict[str, str], str]:
    """An answer as the caller sees it, but for its own id, and for the path and the form's token that he brought."""
    headers = {
        name: value.replace(path, "…")
        for name, value in answer.headers.items()
        if name not in {"X-Request-ID", "Set-Cookie", "Content-Length"}
    }
    body = re.sub(r'(name="csrfmiddlewaretoken" value=")[^"]*', r"\1", answer.content.decode())
    return answer.status_code, headers, body.replace(path, "…")


class TestTheApi:
    def test_tells_nobody_whether_there_is_a_thing_that_he_may_not_ask_for(self, shop: Shop) -> None:
        told = []
        for route in (route for route in outside_the_admin() if "<" in route):
            here, nowhere = shop.address(route), shop.address_of_nothing(route)
            for caller in shop.one_of_each_kind():
                for method in ("GET", "POST"):
                    seen = caller.asks(method, here, shop.body(route))
                    missed = caller.asks(method, nowhere, shop.body(route))
                    if seen.status_code >= 400 and looks(seen, here) != looks(missed, nowhere):
                        told.append(f"{method} {route} by {caller.name}")

        assert told == []

    def test_says_of_all_that_is_not_a_payment_that_it_is_not_there(self, shop: Shop) -> None:
        """Neither the refund of a payment nor the intent to give it back is one."""
        reader = shop.caller("a key with payments:read")
        refund = paid(shop.alice, shop.invoice.plan, ago=NO_TIME, kind=EventType.STARS_REFUND, refund_of=shop.payment)
        addresses = [f"/api/v1/payments/{each}" for each in (refund.pk, shop.refund.pk, uuid4())]

        his, intent, nothing = (looks(reader.asks("GET", address), address) for address in addresses)

        assert his == intent == nothing
        assert nothing[0] == 404

    def test_gives_a_buyer_his_own_payments_wherever_he_starts_to_read(self, shop: Shop) -> None:
        for _ in range(50):
            paid(shop.alice, shop.invoice.plan, ago=NO_TIME)
        her_page = shop.caller("alice").asks("GET", "/api/v1/me/payments").json()["next"]

        assert her_page
        assert shop.caller("alice").asks("GET", her_page).json()["results"]
        assert shop.caller("bob").asks("GET", her_page).json()["results"] == []


class TestTheAdmin:
    @pytest.mark.parametrize("name", ["staff", "support"])
    def test_tells_nobody_whether_there_is_a_row_that_he_may_not_see(self, shop: Shop, name: str) -> None:
        person, table, told = shop.caller(name), admin.Table(admin.TABLE.read_text()), []
        for route in rows_of_tables():
            if str(table.says(route, name)).startswith("200"):
                continue
            here, nowhere = admin.address_of(route), address_of_nothing(route)
            seen, missed = person.asks("GET", here), person.asks("GET", nowhere)
            if looks(seen, of_row(here)) != looks(missed, of_row(nowhere)):
                told.append(f"{route}: {seen.status_code} for what is there, {missed.status_code} for what is not")

        assert told == []


def rows_of_tables() -> list[str]:
    return [route for route in admin.routes() if re.match(r"\w+/\w+/<[^>]+>/.", route)]


def address_of_nothing(route: str) -> str:
    """An address that the pattern matches, of a row that is not there."""
    return admin.address_of(re.sub("<[^>]+>", "999999999", route.replace("<uuid:pk>", str(uuid4()))))


def of_row(address: str) -> str:
    """What all addresses of the row begin with: /admin/app/model/row/"""
    return "/".join(address.split("/")[:5]) + "/"
