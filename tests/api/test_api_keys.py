"""What an API key lets a program do."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import CommandError, call_command

from entitlements.models import ApiClient, Scope
from tests.api.conftest import Caller, problem_of, program

pytestmark = pytest.mark.django_db

ALICE = "/api/v1/customers/alice/entitlements"


@pytest.fixture
def product() -> Caller:
    return program(Scope.ENTITLEMENTS_READ)


class TestAnApiKey:
    def test_lets_a_program_do_what_its_scope_says(self, product):
        assert product.get(ALICE).status_code == 200

    @pytest.mark.parametrize("scope", [scope for scope in Scope if scope != Scope.ENTITLEMENTS_READ])
    def test_lets_it_do_nothing_else(self, scope):
        assert problem_of(program(scope).get(ALICE)) == (403, "forbidden")

    def test_is_asked_for(self, nobody):
        refused = nobody.get(ALICE)

        assert problem_of(refused) == (401, "not_authenticated")
        assert refused["WWW-Authenticate"] == 'Api-Key realm="starledger"'

    def test_is_no_token_of_a_buyer(self, as_alice):
        assert problem_of(as_alice.get(ALICE)) == (401, "not_authenticated")

    @pytest.mark.parametrize("key", ["", "x", "abcdefgh", "abcdefgh.", "abcdefgh." + "A" * 43, "é" * 52, "a." * 5000])
    def test_that_is_none_is_refused(self, key):
        assert problem_of(Caller(f"Api-Key {key}").get(ALICE)) == (401, "invalid_token")

    def test_with_another_secret_is_refused(self, product):
        prefix = ApiClient.objects.get().prefix

        assert problem_of(Caller(f"Api-Key {prefix}.{'A' * 43}").get(ALICE)) == (401, "invalid_token")

    def test_that_was_revoked_is_refused(self, product):
        ApiClient.objects.update(revoked_at=datetime.now(UTC))

        assert problem_of(product.get(ALICE)) == (401, "invalid_token")

    def test_that_has_expired_is_refused(self):
        assert problem_of(program(Scope.ENTITLEMENTS_READ, lifetime=timedelta(0)).get(ALICE)) == (401, "invalid_token")
        assert program(Scope.ENTITLEMENTS_READ, lifetime=timedelta(hours=1)).get(ALICE).status_code == 200

    def test_is_kept_as_a_hash_only(self, product):
        client = ApiClient.objects.get()
        _, _, secret = product.credentials["Authorization"].partition(".")

        assert len(client.secret_hash) == 32
        assert secret.encode() not in bytes(client.secret_hash)

    def test_has_its_use_noted_once_a_minute(self, product):
        def noted() -> datetime:
            product.get(ALICE)
            return ApiClient.objects.get().last_used_at

        first = noted()
        assert noted() == first

        ApiClient.objects.update(last_used_at=first - timedelta(minutes=1))
        assert noted() >= first

    def test_is_limited_only_when_it_says_so(self, product):
        for _ in range(20):
            assert product.get(ALICE).status_code == 200

        ApiClient.objects.update(requests_per_minute=2)

        assert [product.get(ALICE).status_code for _ in range(3)] == [200, 200, 429]
        assert problem_of(product.get(ALICE)) == (429, "rate_limited")


class TestTheCommand:
    def test_prints_the_key_alone(self, capsys):
        call_command("create_api_key", "shop", "--scope", "entitlements:read", "--scope", "payments:read")

        key = capsys.readouterr().out
        assert re.fullmatch(r"[a-z0-9]{8}\.[A-Za-z0-9_-]{43}\n", key)
        assert Caller(f"Api-Key {key.strip()}").get(ALICE).status_code == 200
        client = ApiClient.objects.get()
        assert (client.name, client.scopes) == ("shop", ["entitlements:read", "payments:read"])
        assert client.expires_at is None

    def test_makes_a_key_that_expires(self):
        call_command("create_api_key", "shop", "--scope", "payments:read", "--expires-in", "30")

        left = ApiClient.objects.get().expires_at - datetime.now(UTC)
        assert timedelta(days=29, hours=23) < left <= timedelta(days=30)

    @pytest.mark.parametrize(
        "arguments",
        [
            ["shop"],
            ["shop", "--scope", "everything"],
            ["shop", "--scope", "payments:read", "--expires-in", "0"],
            ["shop", "--scope", "payments:read", "--expires-in", "soon"],
            ["x" * 101, "--scope", "payments:read"],
        ],
    )
    def test_refuses_what_makes_no_sense(self, arguments):
        with pytest.raises(CommandError):
            call_command("create_api_key", *arguments)
        assert not ApiClient.objects.exists()
