"""T49: who is answered what. Every address, asked by everybody with every method, against the table in matrix.txt.

An address of yours is missing there? Add its lines; the test says what each caller is answered.
"""

import os
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from django.test import Client

from entitlements.models import Scope
from tests.admin_pages import test_permissions as admin
from tests.api.conftest import program
from tests.security.callers import Somebody
from tests.security.shop import METHODS, Shop, outside_the_admin

ASKED_BY_EVERYBODY = ("GET", "POST")  # the other methods: by one caller of each kind, and by everybody when thorough

pytestmark = pytest.mark.django_db


class Matrix:
    """route → method → kind of caller → status. A method that a route does not name is one of its `else`."""

    def __init__(self, text: str) -> None:
        heading, *lines = (line for line in text.splitlines() if line and not line.startswith("#"))
        _, _, *self.kinds, _ = heading.split()
        self.rows: dict[str, dict[str, dict[str, str]]] = {}
        self.scopes: dict[str, str] = {}
        for line in lines:
            words = line.split()
            if not line.startswith(" "):
                route = words.pop(0)
            methods, *answers, self.scopes[route] = words
            row = dict(zip(self.kinds, answers, strict=True))
            self.rows.setdefault(route, {}).update(dict.fromkeys(methods.split(","), row))

    def says(self, route: str, method: str, caller: Somebody) -> str:
        by_method = self.rows.get(route, {})
        row = by_method.get(method) or by_method.get("else", {})
        return row.get(self.kind(route, caller), "nothing")

    def kind(self, route: str, caller: Somebody) -> str:
        """His column: of API keys it depends on the scope that the address asks for."""
        if caller.kind != "key":
            return caller.kind
        return "key" if caller.scope == self.scopes.get(route) else "other"

    def who_asks(self, route: str, method: str, everybody: list[Somebody]) -> Iterable[Somebody]:
        if method in ASKED_BY_EVERYBODY or os.environ.get("THOROUGH"):
            return everybody
        return {self.kind(route, caller): caller for caller in everybody}.values()


@pytest.fixture(scope="module")
def matrix() -> Matrix:
    return Matrix(Path(__file__).with_name("matrix.txt").read_text())


class TestTheMatrix:
    def test_has_every_address_and_no_other(self, matrix: Matrix) -> None:
        assert sorted(matrix.rows) == sorted(outside_the_admin())

    def test_has_everybody(self, matrix: Matrix, shop: Shop) -> None:
        assert {caller.kind for caller in shop.everybody} | {"other"} == set(matrix.kinds)

    def test_says_what_each_caller_is_answered(self, matrix: Matrix, shop: Shop, capsys) -> None:
        asked, misses = 0, []
        for route in outside_the_admin():
            address, body = shop.address(route), shop.body(route)
            for method in METHODS:
                for caller in matrix.who_asks(route, method, shop.everybody):
                    asked += 1
                    status = str(caller.asks(method, address, body).status_code)
                    if status != (said := matrix.says(route, method, caller)):
                        misses.append(f"{method} {route} by {caller.name}: {status}, and the table says {said}")

        rows = len(outside_the_admin()) * len(METHODS)
        with capsys.disabled():
            sys.stdout.write(
                f"\nmatrix: {rows} rows × {len(shop.everybody)} callers, {asked} asked, {len(misses)} misses\n"
            )
        assert misses == []


class TestTheAdmin:
    """What it answers to staff is in its own table. Nobody else gets anywhere in it, whatever he brings or does."""

    @pytest.fixture
    def addresses(self, shop: Shop) -> list[str]:
        everywhere = [admin.address_of(route) for route in admin.routes()]
        return [address for address in everywhere if not address.endswith(("/login/", "/logout/"))]

    @pytest.mark.parametrize("name", ["alice", "telegram"])
    def test_knows_no_tokens_and_no_secrets(self, shop: Shop, addresses: list[str], name: str) -> None:
        caller = shop.caller(name)

        assert let_in(addresses, caller.headers, "GET") == []

    def test_knows_no_api_keys(self, addresses: list[str]) -> None:
        key = program(*Scope).credentials

        assert let_in(addresses, key, "GET") == []

    @pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "OPTIONS"])
    def test_has_no_method_that_goes_without_signing_in(self, addresses: list[str], method: str) -> None:
        assert let_in(addresses, {}, method) == []


def let_in(addresses: list[str], headers: dict[str, str], method: str) -> list[str]:
    """The addresses where somebody without a session is not sent to sign in."""
    client = Client()
    return [
        address for address in addresses if admin.in_a_word(client.generic(method, address, headers=headers)) != "login"
    ]
