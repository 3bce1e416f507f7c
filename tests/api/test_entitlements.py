"""Criteria 5.1-5.6: what a buyer may use, as he and the programs see it."""

import json
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from django.db import connection
from django.http import HttpResponse
from django.test.utils import CaptureQueriesContext
from prometheus_client import REGISTRY
from rest_framework.views import APIView

from config.api.authentication import BearerAuthentication
from config.api.permissions import NobodyByDefault, requires_entitlement
from entitlements.models import Customer, Entitlement, Scope
from entitlements.services import grant, revoke
from payments.recording import record_payment
from tests.api.conftest import buyer, claims_of, problem_of, program, signed
from tests.factories import CustomerFactory, InvoiceFactory, PlanFactory
from tests.payments.reports import payment_of

pytestmark = pytest.mark.django_db

ME = "/api/v1/me/entitlements"
CHECK = "/api/v1/entitlements/check"
MONTH = timedelta(days=30)


@pytest.fixture
def product():
    return program(Scope.ENTITLEMENTS_READ)


def gives(customer, *, source="staff:1", granted_at=None, **terms):
    granted_at = granted_at or datetime.now(UTC)
    terms = {"entitlement": "gold", "plan_code": "gold_1m", "features": {"max_devices": 3}} | terms
    return grant(customer=customer, source=source, granted_at=granted_at, **terms)


def z(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


class TestAPayment:
    def test_shows_at_once_in_what_the_buyer_may_use(self, as_alice, invoice):
        """5.1, 5.2, 5.3, 5.4, 5.6"""
        assert as_alice.get(ME).json()["entitlements"] == []
        paid_at = datetime.now(UTC).replace(microsecond=0)

        record_payment(payment_of(invoice, occurred_at=paid_at))

        body = as_alice.get(ME).json()
        assert body == {
            "user_id": invoice.customer.user_id,
            "server_time": body["server_time"],
            "version": 1,
            "entitlements": [
                {
                    "entitlement": "gold",
                    "plan_code": "gold_1m",
                    "active": True,
                    "granted_at": z(paid_at),
                    "expires_at": z(paid_at + MONTH),
                    "will_renew": False,
                    "features": {"signals_enabled": True, "max_devices": 3},
                    "sources": [
                        {
                            "source": "telegram_stars:stxAlicePays",
                            "plan_code": "gold_1m",
                            "granted_at": z(paid_at),
                            "ends_at": z(paid_at + MONTH),
                            "revoked_at": None,
                        }
                    ],
                }
            ],
        }
        assert abs(datetime.fromisoformat(body["server_time"]) - datetime.now(UTC)) < timedelta(seconds=5)

    def test_and_another_make_one_entitlement_that_lasts_longer(self, as_alice, alice):
        """5.5"""
        plan = PlanFactory(when_active="extend")
        paid_at = datetime.now(UTC).replace(microsecond=0)
        for charge_id in ("stx1", "stx2"):
            invoice = InvoiceFactory(customer=alice, plan=plan)
            record_payment(payment_of(invoice, charge_id=charge_id, occurred_at=paid_at))

        (gold,) = as_alice.get(ME).json()["entitlements"]

        assert gold["expires_at"] == z(paid_at + 2 * MONTH)
        assert [source["source"] for source in gold["sources"]] == ["telegram_stars:stx1", "telegram_stars:stx2"]
        assert Entitlement.objects.count() == 1


class TestMyEntitlements:
    def test_keep_what_has_expired_and_what_was_revoked(self, as_alice, alice):
        gives(alice, entitlement="silver", granted_at=datetime.now(UTC) - 2 * MONTH, duration=MONTH)
        revoked_at = datetime.now(UTC)
        revoke(grant=gives(alice, source="staff:2"), reason="a mistake", now=revoked_at)

        gold, silver = as_alice.get(ME).json()["entitlements"]

        assert (gold["active"], silver["active"]) == (False, False)
        assert gold["sources"][0]["ends_at"] == gold["sources"][0]["revoked_at"] == z(revoked_at)

    def test_end_never_when_they_are_for_life(self, as_alice, alice):
        gives(alice)

        (gold,) = as_alice.get(ME).json()["entitlements"]

        assert (gold["active"], gold["expires_at"], gold["sources"][0]["ends_at"]) == (True, None, None)

    def test_are_mine_alone(self, as_bob, alice):
        gives(alice)

        assert as_bob.get(ME).json()["entitlements"] == []

    def test_cost_one_query(self, as_alice, alice):
        gives(alice)

        with CaptureQueriesContext(connection) as queries:
            as_alice.get(ME)

        assert len(queries) == 1

    def test_are_those_of_a_customer_who_comes_for_the_first_time(self):
        answer = buyer(sub="carol", telegram_user_id=77).get(ME)

        assert (answer.status_code, answer.json()["user_id"], answer.json()["version"]) == (200, "carol", 0)
        assert Customer.objects.get(user_id="carol").telegram_user_id == 77

    def test_stay_with_a_customer_whom_the_host_gives_a_name(self, alice):
        gives(alice)

        answer = buyer(sub="alice@example.org", telegram_user_id=alice.telegram_user_id).get(ME).json()

        assert answer["user_id"] == "alice@example.org"
        assert answer["entitlements"][0]["active"]


class TestTheETag:
    def test_saves_the_answer_while_nothing_changes(self, as_alice, alice):
        gives(alice)
        first = as_alice.get(ME)

        again = as_alice.get(ME, If_None_Match=first["ETag"])

        assert first["ETag"].startswith('W/"')
        assert (again.status_code, again.content) == (304, b"")
        assert (again["ETag"], again["Cache-Control"]) == (first["ETag"], first["Cache-Control"])

    @pytest.mark.parametrize("spelled", ["*", '"other", {}', "{}", "{strong}"])
    def test_is_found_however_it_is_asked_for(self, as_alice, spelled):
        etag = as_alice.get(ME)["ETag"]
        asked = spelled.replace("{strong}", etag.removeprefix("W/")).replace("{}", etag)

        assert as_alice.get(ME, If_None_Match=asked).status_code == 304

    @pytest.mark.parametrize("other", ['W/"other"', "nonsense", ""])
    def test_does_not_match_another(self, as_alice, other):
        assert as_alice.get(ME, If_None_Match=other).status_code == 200

    def test_changes_with_a_grant_a_revocation_and_another_customer(self, as_alice, alice, as_bob):
        etags = [as_alice.get(ME)["ETag"], as_bob.get(ME)["ETag"]]
        given = gives(alice)
        etags.append(as_alice.get(ME)["ETag"])
        revoke(grant=given, reason="a mistake", now=datetime.now(UTC))
        etags.append(as_alice.get(ME)["ETag"])

        assert len(set(etags)) == 4

    def test_changes_at_expiry(self, as_alice, alice):
        ends_at = datetime.now(UTC) + timedelta(seconds=0.3)
        gives(alice, ends_at=ends_at)
        before = as_alice.get(ME)["ETag"]
        while datetime.now(UTC) < ends_at:
            pass

        assert as_alice.get(ME, If_None_Match=before).status_code == 200

    def test_is_not_moved_by_the_clock(self, as_alice, alice):
        gives(alice)
        first, second = as_alice.get(ME), as_alice.get(ME)

        assert first.json()["server_time"] != second.json()["server_time"]
        assert first["ETag"] == second["ETag"]


class TestHowLongItMayBeKept:
    def max_age(self, caller) -> str:
        return caller.get(ME)["Cache-Control"]

    def test_is_half_a_minute(self, as_alice, alice):
        gives(alice, duration=MONTH)
        assert self.max_age(as_alice) == "private, max-age=30"

    def test_is_half_a_minute_for_life_too(self, as_alice, alice):
        gives(alice)
        assert self.max_age(as_alice) == "private, max-age=30"

    def test_is_never_past_the_next_expiry(self, as_alice, alice):
        gives(alice, entitlement="silver", duration=MONTH)
        gives(alice, source="staff:2", ends_at=datetime.now(UTC) + timedelta(seconds=9.5))

        seconds = int(self.max_age(as_alice).removeprefix("private, max-age="))
        assert 0 <= seconds <= 9

    def test_is_not_at_all_while_nothing_is_active(self, as_alice, alice):
        assert self.max_age(as_alice) == "no-cache"
        gives(alice, granted_at=datetime.now(UTC) - 2 * MONTH, duration=MONTH)
        assert self.max_age(as_alice) == "no-cache"

    def test_depends_on_whose_answer_it_is(self, as_alice):
        assert as_alice.get(ME)["Vary"] == "Authorization"


class TestACustomersEntitlements:
    def test_are_what_he_sees_himself(self, product, as_alice, alice):
        gives(alice)

        seen = product.get(f"/api/v1/customers/{alice.user_id}/entitlements")

        mine = as_alice.get(ME)
        assert seen.json() | {"server_time": ""} == mine.json() | {"server_time": ""}
        assert (seen["ETag"], seen["Cache-Control"]) == (mine["ETag"], mine["Cache-Control"])

    @pytest.mark.parametrize("user_id", ["nobody", "auth0|7", "github/7", "no\x00body", "ünïcode", "a\nb", "x" * 300])
    def test_of_one_nobody_has_seen_are_none(self, product, user_id):
        answer = product.get(f"/api/v1/customers/{quote(user_id)}/entitlements")

        assert answer.status_code == 200
        assert (answer.json()["user_id"], answer.json()["entitlements"]) == (user_id, [])
        assert not Customer.objects.exists()


class TestACheck:
    def test_tells_those_with_access_and_until_when(self, product, alice, bob):
        given = gives(alice, duration=MONTH)
        carol = CustomerFactory()
        gives(carol, source="staff:2")

        users = [alice.user_id, bob.user_id, carol.user_id, "nobody"]
        answer = product.post(CHECK, {"entitlement": "gold", "user_ids": users})

        assert answer.json() == {
            "server_time": answer.json()["server_time"],
            "active": {alice.user_id: z(given.granted_at + MONTH), carol.user_id: None},
        }

    def test_of_a_thousand_is_answered_and_of_one_more_is_not(self, product):
        thousand = [f"user-{number}" for number in range(1000)]

        assert product.post(CHECK, {"entitlement": "gold", "user_ids": thousand}).json()["active"] == {}
        refused = product.post(CHECK, {"entitlement": "gold", "user_ids": [*thousand, "one more"]})
        assert problem_of(refused) == (422, "invalid")
        assert list(refused.json()["errors"]) == ["user_ids"]

    @pytest.mark.parametrize(
        "user_ids", [None, "alice", {"a": 1}, ["a", 7], ["a", None], [""], ["x" * 256], ["a\x00"], ["\ud800"]]
    )
    def test_of_something_else_than_user_ids_is_invalid(self, product, user_ids):
        refused = product.post(CHECK, {"entitlement": "gold", "user_ids": user_ids})

        assert problem_of(refused) == (422, "invalid")
        assert list(refused.json()["errors"]) == ["user_ids"]

    def test_costs_one_query_beside_the_keys(self, product):
        product.post(CHECK, {"entitlement": "gold", "user_ids": []})

        with CaptureQueriesContext(connection) as queries:
            product.post(CHECK, {"entitlement": "gold", "user_ids": ["a", "b"]})

        assert len(queries) == 2


class TestAnExplanation:
    def test_tells_what_gave_and_took_and_which_payment_it_was(self, product, invoice):
        paid_at = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
        payment = record_payment(payment_of(invoice, occurred_at=paid_at)).event
        gift = gives(invoice.customer, source="staff:7", duration=timedelta(days=3))

        answer = product.get(f"/api/v1/customers/{invoice.customer.user_id}/entitlements/gold/explain")

        assert answer.json() == {
            "entitlement": "gold",
            "active": True,
            "expires_at": z(paid_at + timedelta(days=33)),
            "steps": [
                {
                    "at": z(paid_at),
                    "what": "granted",
                    "source": "telegram_stars:stxAlicePays",
                    "effect_on_end": z(paid_at + MONTH),
                    "payment_id": str(payment.pk),
                },
                {
                    "at": z(gift.granted_at),
                    "what": "granted",
                    "source": "staff:7",
                    "effect_on_end": z(paid_at + timedelta(days=33)),
                    "payment_id": None,
                },
            ],
        }

    def test_of_what_nobody_ever_had_is_empty(self, product):
        answer = product.get("/api/v1/customers/nobody/entitlements/gold/explain")

        assert answer.json() == {"entitlement": "gold", "active": False, "expires_at": None, "steps": []}

    def test_needs_the_scope(self):
        path = "/api/v1/customers/nobody/entitlements/gold/explain"
        assert problem_of(program(Scope.PAYMENTS_READ).get(path)) == (403, "forbidden")


class TestRequiresEntitlement:
    """A view of the host's, guarded by `requires_entitlement("gold")`."""

    class GoldOnly(APIView):
        authentication_classes = [BearerAuthentication]
        permission_classes = [requires_entitlement("gold")]

        def get(self, request):
            return HttpResponse(b"welcome")

    def ask(self, rf, customer=None):
        headers = {"Authorization": f"Bearer {signed(claims_of(customer))}"} if customer else {}
        return self.GoldOnly.as_view()(rf.get("/", headers=headers))

    def denied(self) -> float:
        return REGISTRY.get_sample_value("entitlement_denied_total", {"entitlement": "gold"}) or 0

    def test_lets_those_with_access_in(self, rf, alice):
        gives(alice)

        assert self.ask(rf, alice).content == b"welcome"

    def test_tells_others_what_they_need_and_counts_them(self, rf, alice):
        before = self.denied()

        refused = self.ask(rf, alice)

        problem = json.loads(refused.content)
        assert (refused.status_code, problem["code"], problem["entitlement"]) == (403, "entitlement_required", "gold")
        assert refused["Content-Type"] == "application/problem+json"
        assert self.denied() == before + 1

    def test_asks_strangers_for_a_token(self, rf):
        assert self.ask(rf).status_code == 401

    def test_does_not_know_programs(self, rf):
        key = program(Scope.ENTITLEMENTS_READ).credentials["Authorization"]
        assert self.GoldOnly.as_view()(rf.get("/", headers={"Authorization": key})).status_code == 401


def test_a_view_that_names_no_permission_lets_nobody_in(rf, alice):
    class Forgotten(APIView):
        authentication_classes = [BearerAuthentication]

        def get(self, request):
            raise AssertionError

    token = signed(claims_of(alice))
    assert APIView.permission_classes == [NobodyByDefault]
    assert Forgotten.as_view()(rf.get("/", headers={"Authorization": f"Bearer {token}"})).status_code == 403
