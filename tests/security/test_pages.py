"""What browsers are told: headers of every address, cookies, pages that load nothing from elsewhere, closed docs."""

import re
from contextlib import closing

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from config.navigation import NAVIGATION
from tests.admin_pages import test_permissions as admin
from tests.production import put_into
from tests.security.callers import key_with, staff
from tests.security.shop import Shop, outside_the_admin
from tests.staff import signed_in

EVERYWHERE = {
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
}
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
OF_THE_DOCS = {**POLICY, "style-src": "'self' 'unsafe-inline'"}
OF_THE_ADMIN = {**POLICY, "script-src": "'self' 'unsafe-eval'", "style-src": "'self' 'unsafe-inline'"}
ELSEWHERE = re.compile(r"""(?:src|href|action)=["']?(?:https?:)?//[^"' >]*""")

pytestmark = pytest.mark.django_db


class Browser(Client):
    """A browser at https://shop.example."""

    def open(self, address: str, **headers: str):
        return self.get(address, secure=True, headers={"Host": "shop.example", **headers})


@pytest.fixture
def production(settings) -> None:
    put_into(settings)


def told(answer) -> tuple[dict[str, str | None], dict[str, str]]:
    """The headers that are the same everywhere, and the policy."""
    policy = dict(each.strip().split(" ", 1) for each in answer["Content-Security-Policy"].split(";"))
    return {name: answer.headers.get(name) for name in EVERYWHERE}, policy


class TestEveryAddress:
    def test_outside_the_admin_tells_browsers_to_trust_nothing(self, shop: Shop, production) -> None:
        browser = Browser()
        for route in outside_the_admin():
            expected = OF_THE_DOCS if route == "api/docs/" else POLICY
            assert told(browser.open(shop.address(route))) == (EVERYWHERE, expected), route

    def test_of_the_admin_tells_them_what_its_theme_needs(self, shop: Shop, production) -> None:
        browser = Browser()
        for route in admin.routes():
            assert told(browser.open(admin.address_of(route))) == (EVERYWHERE, OF_THE_ADMIN), route

    @pytest.mark.parametrize("address", ["/", "/nothing", "/static/starledger/favicon.svg"])
    def test_that_is_no_view_is_as_strict(self, production, address: str) -> None:
        with closing(Browser().open(address)) as answer:
            assert told(answer) == (EVERYWHERE, POLICY)

    def test_says_nothing_of_subdomains_when_they_are_left_out(self, settings) -> None:
        put_into(settings, HSTS_INCLUDE_SUBDOMAINS="false")

        assert Browser().open("/nothing")["Strict-Transport-Security"] == "max-age=31536000"


class TestPages:
    def test_load_nothing_from_elsewhere_and_say_so(self, shop: Shop, production) -> None:
        browser = signed_in(User.objects.create_superuser("dana"), SERVER_NAME="shop.example")
        menu = [str(item["link"]) for group in NAVIGATION for item in group["items"]]
        for address in [*menu, reverse("admin:index"), "/api/docs/", "/api/docs/?script="]:
            page = browser.get(address, secure=True)
            assert page.status_code == 200, address
            assert ELSEWHERE.findall(page.content.decode()) == [], address

    def test_keep_cookies_to_this_host_from_other_sites_and_the_session_from_scripts(
        self, production, settings
    ) -> None:
        settings.SESSION_SAVE_EVERY_REQUEST = True
        browser = Browser()
        form = browser.open(reverse("admin:login")).cookies["__Host-csrftoken"]
        browser.force_login(User.objects.create_superuser("dana"))
        session = browser.open(reverse("admin:index")).cookies["__Host-sessionid"]

        assert session["httponly"]
        for cookie in (session, form):
            assert cookie["secure"]
            assert (cookie["samesite"], cookie["path"], cookie["domain"]) == ("Lax", "/", "")


class TestTheDocumentation:
    ADDRESSES = ("/api/docs/", "/api/docs/?script=", "/api/schema/")

    @pytest.mark.parametrize("address", ADDRESSES)
    def test_is_for_everybody(self, address: str) -> None:
        assert Client().get(address).status_code == 200

    @pytest.mark.parametrize("address", ADDRESSES)
    def test_is_for_staff_alone_when_it_is_closed(self, settings, address: str) -> None:
        settings.API_DOCS_PUBLIC = False
        nothing = Client().get("/api/nothing")

        for caller in (Client(), Client(headers=key_with("payments:read").headers)):
            hidden = caller.get(address)
            assert (hidden.status_code, hidden.content) == (404, nothing.content)
        for person in staff():
            assert person.asks("GET", address).status_code == 200

    def test_is_not_for_staff_who_gave_no_second_factor(self, settings) -> None:
        settings.API_DOCS_PUBLIC, settings.STAFF_SECOND_FACTOR = False, True
        half_signed_in = Client()
        half_signed_in.force_login(User.objects.create_superuser("dana"))

        assert half_signed_in.get("/api/docs/").status_code == 404
