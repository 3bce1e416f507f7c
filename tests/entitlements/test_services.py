"""Giving access and taking it back, and what the database refuses whoever asks."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from entitlements.models import ApiClient, Customer, Entitlement, Grant, UserIdOrigin
from entitlements.periods import fold
from entitlements.services import grant, revoke
from tests.factories import CustomerFactory

pytestmark = pytest.mark.django_db

MONTH = timedelta(days=30)
NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)


def gives(customer, source="staff:1", granted_at=NOW, **terms):
    terms = {"entitlement": "gold"} | terms
    return grant(customer=customer, source=source, granted_at=granted_at, **terms)


def active_until(customer) -> datetime | None:
    return Entitlement.objects.get(customer=customer, code="gold").active_until


class TestAGrant:
    def test_of_a_period_gives_it_on_top_of_what_he_has(self, alice):
        gives(alice, "staff:1", duration=MONTH)
        gives(alice, "staff:2", duration=MONTH)

        assert active_until(alice) == NOW + 2 * MONTH

    def test_after_a_pause_begins_at_its_own_time(self, alice):
        gives(alice, "staff:1", duration=MONTH, granted_at=NOW - 3 * MONTH)
        gives(alice, "staff:2", duration=MONTH)

        assert active_until(alice) == NOW + MONTH

    def test_that_is_recorded_late_gives_the_same_end(self, alice, bob):
        terms = [("a", NOW - 3 * MONTH), ("b", NOW - MONTH), ("c", NOW)]
        for source, granted_at in terms:
            gives(alice, f"staff:{source}", granted_at, duration=MONTH)
        for source, granted_at in reversed(terms):
            gives(bob, f"staff:late-{source}", granted_at, duration=MONTH)

        assert active_until(alice) == active_until(bob)

    def test_until_a_fixed_end_never_shortens(self, alice):
        gives(alice, "staff:1", ends_at=NOW + MONTH)
        gives(alice, "staff:2", ends_at=NOW + timedelta(days=1))

        assert active_until(alice) == NOW + MONTH

    def test_for_life_has_no_end(self, alice):
        gives(alice)

        assert active_until(alice) is None

    def test_again_by_the_same_source_changes_nothing(self, alice):
        first = gives(alice, duration=MONTH)

        assert gives(alice, duration=2 * MONTH) == first
        assert active_until(alice) == NOW + MONTH
        assert Entitlement.objects.get().version == 1

    @pytest.mark.django_db(transaction=True)
    def test_of_many_at_once_gives_the_days_of_all(self, alice):
        def give(number):
            try:
                return gives(alice, f"staff:{number}", duration=timedelta(days=1)).pk
            finally:
                connection.close()

        with ThreadPoolExecutor(10) as threads:
            assert len(set(threads.map(give, range(30)))) == 30

        assert active_until(alice) == NOW + timedelta(days=30)
        assert Entitlement.objects.get().version == 30

    @pytest.mark.django_db(transaction=True)
    def test_of_many_at_once_would_lose_days_without_the_customers_lock(self, alice, monkeypatch):
        """The twin: the customer is read, not locked."""
        monkeypatch.setattr(Customer.objects.all().__class__, "locked", lambda customers: customers)
        gives(alice, "staff:0", duration=timedelta(days=1))

        def give(number):
            try:
                return gives(alice, f"staff:{number}", duration=timedelta(days=1)).pk
            finally:
                connection.close()

        for attempt in range(5):
            with ThreadPoolExecutor(10) as threads:
                list(threads.map(give, range(100 * attempt + 1, 100 * attempt + 31)))
            if active_until(alice) != fold(Grant.objects.in_order())[-1].access.ends_at:
                return
        pytest.fail("nothing was lost without the lock: this test proves nothing")


class TestARevocation:
    def test_takes_exactly_that_grant_back(self, alice):
        first = gives(alice, "staff:1", duration=MONTH)
        gives(alice, "staff:2", NOW + timedelta(days=1), duration=MONTH)

        revoked = revoke(grant=first, reason="refunded", now=NOW)

        assert (revoked.revoked_at, revoked.revoked_reason) == (NOW, "refunded")
        assert active_until(alice) == NOW + timedelta(days=1) + MONTH

    def test_of_the_only_grant_leaves_nothing(self, alice):
        revoke(grant=gives(alice), reason="refunded", now=NOW)

        assert not Entitlement.objects.get().access.active_at(NOW)

    def test_again_changes_nothing(self, alice):
        given = gives(alice)
        revoke(grant=given, reason="refunded", now=NOW)

        again = revoke(grant=given, reason="another reason", now=NOW + MONTH)

        assert (again.revoked_at, again.revoked_reason) == (NOW, "refunded")
        assert Entitlement.objects.get().version == 2


def refused(change) -> None:
    with pytest.raises(DatabaseError), transaction.atomic():
        change()


class TestTheDatabaseRefuses:
    @pytest.mark.parametrize(
        "change",
        [
            {"granted_at": NOW - MONTH},
            {"duration": 2 * MONTH},
            {"entitlement": "platinum"},
            {"source": "staff:2"},
            {"plan_code": "other"},
            {"features": {"max_devices": 99}},
        ],
    )
    def test_another_fact_in_a_grant(self, alice, change):
        gives(alice, duration=MONTH)
        refused(lambda: Grant.objects.update(**change))

    def test_a_grant_deleted(self, alice):
        gives(alice)
        refused(lambda: Grant.objects.all().delete())

    def test_a_revocation_undone_or_changed(self, alice):
        revoke(grant=gives(alice), reason="refunded", now=NOW)
        refused(lambda: Grant.objects.update(revoked_at=None, revoked_reason=""))
        refused(lambda: Grant.objects.update(revoked_at=NOW + MONTH))

    def test_a_revocation_without_a_reason(self, alice):
        refused(lambda: revoke(grant=gives(alice), reason="", now=NOW))

    def test_a_second_grant_by_one_source(self, alice, bob):
        gives(alice)
        refused(lambda: Grant.objects.create(customer=bob, entitlement="gold", source="staff:1", granted_at=NOW))

    def test_a_grant_that_makes_no_sense(self, alice):
        refused(lambda: gives(alice, duration=timedelta(0)))

    def test_two_entitlements_of_one_code(self, alice):
        gives(alice)
        refused(lambda: Entitlement.objects.create(customer=alice, code="gold", latest_grant_at=NOW))

    def test_a_customer_with_grants_deleted(self, alice):
        gives(alice)
        refused(alice.delete)

    @pytest.mark.parametrize(
        "customer",
        [
            {"user_id": "", "telegram_user_id": None, "user_id_origin": UserIdOrigin.HOST},
            {"user_id": "alice", "telegram_user_id": None, "user_id_origin": UserIdOrigin.OURS},
            {"user_id": "alice", "telegram_user_id": 7, "user_id_origin": UserIdOrigin.OURS},
            {"user_id": "alice", "telegram_user_id": 0, "user_id_origin": UserIdOrigin.HOST},
        ],
    )
    def test_a_customer_who_cannot_be(self, customer):
        refused(lambda: CustomerFactory(**customer))

    def test_two_customers_with_one_id(self, alice):
        with pytest.raises(IntegrityError), transaction.atomic():
            CustomerFactory(user_id="other", user_id_origin="host", telegram_user_id=alice.telegram_user_id)

    @pytest.mark.parametrize("odd", [{"prefix": "UPPER123"}, {"prefix": "short"}, {"scopes": []}, {"scopes": ["all"]}])
    def test_an_api_client_that_cannot_be(self, odd):
        good = {"name": "a", "prefix": "abcdefgh", "secret_hash": b"", "scopes": ["payments:read"]}
        refused(lambda: ApiClient.objects.create(**good | odd))
