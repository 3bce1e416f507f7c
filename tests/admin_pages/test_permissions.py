"""Who gets where in the admin: every address, asked by everybody, against the table in permissions.txt.

A page of yours is missing there? Add a line for its route; the test says what each person is answered.
"""

import re
from collections.abc import Iterator
from http.cookies import SimpleCookie
from pathlib import Path

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction
from django.template.response import SimpleTemplateResponse
from django.test import Client
from django.urls import URLResolver, get_resolver, reverse
from procrastinate.contrib.django import app as jobs

from config.staff import Role, group_of
from tests.everything import write_one_of_everything
from tests.staff import signed_in

TABLE = Path(__file__).with_name("permissions.txt")
PEOPLE = ("nobody", "customer", "staff", *Role, "superuser")

pytestmark = pytest.mark.django_db


@pytest.fixture
def house(alice, gold, invoice):
    write_one_of_everything(alice, gold, invoice)
    group_of(Role.SUPPORT)
    jobs.configure_task("nothing", allow_unknown=True).defer()


def routes() -> list[str]:
    """Every pattern below /admin/, as Django spells it."""
    [admin] = [each for each in get_resolver().url_patterns if getattr(each, "namespace", None) == "admin"]
    return sorted(_below(admin))


def _below(resolver: URLResolver, prefix: str = "") -> Iterator[str]:
    for each in resolver.url_patterns:
        route = f"{prefix}{each.pattern}"
        yield from _below(each, route) if isinstance(each, URLResolver) else [route]


def address_of(route: str) -> str:
    """An address that the pattern matches, of a row that is there."""
    if route.startswith("r/"):
        route = f"r/{ContentType.objects.get(model='customer').pk}/{first_row('entitlements', 'customer')}/"
    elif route.startswith("^(?P<app_label>"):
        route = "payments/"
    elif route == "(?P<url>.*)$":
        route = "nothing/"
    elif "<" in route:
        route = re.sub("<[^>]+>", str(first_row(*route.split("/")[:2])), route)
    return reverse("admin:index") + route


def first_row(app_label: str, model: str) -> object:
    return apps.get_model(app_label, model).objects.order_by("pk").values_list("pk", flat=True)[0]


def browser_of(person: str) -> Client:
    """Somebody with both factors, if he can sign in at all."""
    if person == "nobody":
        return Client()
    user = User.objects.create_user(person, is_staff=person != "customer", is_superuser=person == "superuser")
    if person in {role.value for role in Role}:
        user.groups.add(group_of(Role(person)))
    return signed_in(user)


def answers(browser: Client, address: str) -> str:
    """What is done is undone, and a session that ends goes on with the next request."""
    cookies = browser.cookies.output(header="", sep=";")
    given = []
    for ask in (browser.get, browser.post):
        with transaction.atomic():
            given.append(in_a_word(ask(address)))
            transaction.set_rollback(True)
        browser.cookies = SimpleCookie(cookies)
    return "login" if given == ["login", "login"] else "/".join(given)


def in_a_word(answer) -> str:
    to_sign_in = answer.status_code == 302 and answer["Location"].startswith(reverse("admin:login"))
    return "login" if to_sign_in else str(answer.status_code)


class Table:
    """route → person → answers. `*/add/` stands for every route that ends so and has no line of its own."""

    def __init__(self, text: str) -> None:
        heading, *lines = (line.split() for line in text.splitlines() if line and not line.startswith("#"))
        self.people = tuple(heading[1:])
        self.rows = {route.strip("'"): dict(zip(self.people, row, strict=True)) for route, *row in lines}

    def row_for(self, route: str) -> str | None:
        if route in self.rows:
            return route
        return next((row for row in self.rows if row.startswith("*") and route.endswith(row[1:])), None)

    def says(self, route: str, person: str) -> str | None:
        row = self.row_for(route)
        return None if row is None else self.rows[row][person]


@pytest.fixture(scope="module")
def table() -> Table:
    return Table(TABLE.read_text())


@pytest.fixture
def drawn_for(monkeypatch):
    """Pages are drawn for the superuser, who sees them all; whether others may see them is decided before."""

    def draw(person: str) -> None:
        if person != "superuser":
            monkeypatch.setattr(SimpleTemplateResponse, "rendered_content", "")

    return draw


class TestTheAdmin:
    @pytest.mark.parametrize("person", PEOPLE)
    def test_answers_each_person_as_the_table_says(self, house, table, person, drawn_for):
        browser = browser_of(person)
        drawn_for(person)

        wrong = [
            f"{route}: {given}, and the table says {table.says(route, person)}"
            for route in routes()
            if (given := answers(browser, address_of(route))) != table.says(route, person)
        ]

        assert wrong == []

    def test_takes_a_password_alone_for_nothing_where_two_factors_are_asked_for(self, house, table, settings):
        settings.STAFF_SECOND_FACTOR = True
        half_signed_in = Client()
        half_signed_in.force_login(User.objects.create_superuser("dana"))

        let_in = [
            route for route in routes() if answers(half_signed_in, address_of(route)) != table.says(route, "nobody")
        ]

        assert let_in == []

    def test_changes_nothing_in_any_table_when_it_is_read(self, house):
        browser = browser_of("superuser")
        before = digests()

        for route in routes():
            browser.get(address_of(route))

        assert {name for name, digest in digests().items() if digest != before[name]} == set()


class TestTheTable:
    def test_has_every_address_and_no_other(self, table):
        named = {route: table.row_for(route) for route in routes()}

        assert [route for route, row in named.items() if row is None] == []
        assert set(table.rows) - set(named.values()) == set()

    def test_has_everybody(self, table):
        assert table.people == PEOPLE

    def test_lets_support_move_no_money_and_see_no_keys(self, table):
        for route in ("payments/hold/<int:pk>/decide/", "entitlements/customer/<int:customer_id>/grant/"):
            assert table.says(route, Role.SUPPORT) == "403/403"
        assert {table.says(row, Role.SUPPORT) for row in table.rows if "apiclient" in row} == {"403/403"}

    def test_lets_nobody_but_admins_at_accounts_and_keys(self, table):
        people = ("staff", Role.SUPPORT, Role.FINANCE)
        settings = [row for row in table.rows if row.startswith(("auth/", "entitlements/apiclient/"))]

        assert {table.says(row, person) for row in settings for person in people} == {"403/403"}


def digests() -> dict[str, str]:
    """Each table as it is, rows and where they lie, so that a row that is written as it was differs too."""
    with connection.cursor() as cursor:
        return {name: digest(cursor, name) for name in connection.introspection.table_names(cursor)}


def digest(cursor, name: str) -> str:
    cursor.execute(f"SELECT md5(string_agg(ctid::text || held::text, '' ORDER BY ctid)) FROM \"{name}\" AS held")
    return cursor.fetchone()[0]
