"""Who may use what: the named statements against the plain meaning of the rows."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from config.api.formats import rfc3339, rfc3339_or_null
from entitlements.models import Customer, Entitlement, Grant
from entitlements.periods import fold
from entitlements.selectors import check_many, entitlements_of, explain, has_access, holdings, losses
from entitlements.services import grant, revoke
from tests.factories import CustomerFactory

MONTH = timedelta(days=30)


def ago(**time) -> datetime:
    return datetime.now(UTC) - timedelta(**time)


def gives(customer, entitlement="gold", *, days_ago=0, source=None, **terms):
    return grant(
        customer=customer,
        entitlement=entitlement,
        source=source or f"staff:{Grant.objects.count()}",
        granted_at=ago(days=days_ago),
        plan_code=f"{entitlement}_1m",
        **terms,
    )


@pytest.mark.django_db
class TestHasAccess:
    def test_while_the_period_lasts(self, alice):
        gives(alice, days_ago=29, duration=MONTH)
        assert has_access(alice.user_id, "gold")

    def test_not_after_it(self, alice):
        gives(alice, days_ago=31, duration=MONTH)
        assert not has_access(alice.user_id, "gold")

    def test_for_life(self, alice):
        gives(alice)
        assert has_access(alice.user_id, "gold", now=datetime.max.replace(tzinfo=UTC))

    def test_not_at_its_very_end(self, alice):
        given = gives(alice, duration=MONTH)
        end = given.granted_at + MONTH

        assert has_access(alice.user_id, "gold", now=end - timedelta(microseconds=1))
        assert not has_access(alice.user_id, "gold", now=end)

    def test_not_after_a_revocation(self, alice):
        revoke(grant=gives(alice), reason="refunded", now=datetime.now(UTC))
        assert not has_access(alice.user_id, "gold")

    def test_not_to_something_else_nor_for_somebody_else(self, alice, bob):
        gives(alice)
        assert not has_access(alice.user_id, "silver")
        assert not has_access(bob.user_id, "gold")
        assert not has_access("nobody", "gold")
        assert not has_access("no\x00body", "gold")


@pytest.mark.django_db
class TestHoldings:
    def test_are_read_by_one_query(self, alice):
        for number in range(3):
            gives(alice, f"plan{number}", duration=MONTH)
            gives(alice, f"plan{number}", duration=MONTH)

        with CaptureQueriesContext(connection) as queries:
            held = holdings(alice.user_id)

        assert len(queries) == 1
        assert [(each.code, len(each.sources)) for each in held.entitlements] == [
            ("plan0", 2),
            ("plan1", 2),
            ("plan2", 2),
        ]

    def test_are_told_at_the_databases_time(self, alice):
        assert abs(holdings(alice.user_id).now - datetime.now(UTC)) < timedelta(seconds=2)

    @pytest.mark.parametrize("user_id", ["nobody", "no\x00body"])
    def test_of_nobody_are_none(self, db, user_id):
        held = holdings(user_id)

        assert (held.user_id, held.identity, held.entitlements, held.version) == (user_id, None, [], 0)

    def test_have_a_version_that_grows_with_each_grant_and_revocation(self, alice):
        versions = [holdings(alice.user_id).version]
        gold = gives(alice)
        versions.append(holdings(alice.user_id).version)
        gives(alice, "silver")
        versions.append(holdings(alice.user_id).version)
        revoke(grant=gold, reason="refunded", now=datetime.now(UTC))
        versions.append(holdings(alice.user_id).version)
        revoke(grant=gold, reason="again", now=datetime.now(UTC))

        assert versions == sorted(set(versions))
        assert holdings(alice.user_id).version == versions[-1]

    def test_are_led_by_the_grant_that_reaches_furthest(self, alice):
        gives(alice, days_ago=9, source="staff:a", duration=MONTH)
        gives(alice, days_ago=5, source="staff:b", features={"devices": 3})
        gives(alice, days_ago=1, source="staff:c", duration=MONTH)

        (gold,) = entitlements_of(alice)

        assert (gold.leading().source, gold.leading().features) == ("staff:b", {"devices": 3})

    def test_are_led_by_the_last_grant_when_none_survives(self, alice):
        for source in ("staff:a", "staff:b"):
            revoke(grant=gives(alice, source=source, duration=MONTH), reason="refunded", now=datetime.now(UTC))

        (gold,) = entitlements_of(alice)

        assert gold.leading().source == "staff:b"


@pytest.mark.django_db
class TestCheckMany:
    def test_tells_those_with_access_and_until_when(self, alice, bob):
        carol, dora = CustomerFactory(), CustomerFactory()
        month = gives(alice, duration=MONTH)
        gives(bob)
        gives(carol, days_ago=31, duration=MONTH)
        gives(dora, "silver")

        with CaptureQueriesContext(connection) as queries:
            found = check_many("gold", [alice.user_id, bob.user_id, carol.user_id, dora.user_id, "nobody"])

        assert len(queries) == 1
        assert found.active == {alice.user_id: rfc3339(month.granted_at + MONTH), bob.user_id: None}
        assert abs(found.now - datetime.now(UTC)) < timedelta(seconds=2)

    def test_of_nobody_tells_nothing_but_the_time(self, db):
        assert check_many("gold", []).active == {}
        assert check_many("gold", ["nobody"]).active == {}


@pytest.mark.django_db
class TestExplain:
    def test_tells_what_happened_oldest_first_and_where_access_ended_then(self, alice):
        first = gives(alice, days_ago=20, source="staff:a", duration=MONTH)
        second = gives(alice, days_ago=10, source="staff:b", duration=MONTH)
        revoked_at = ago(days=5)
        revoke(grant=first, reason="refunded", now=revoked_at)

        explained = explain(alice.user_id, "gold")

        assert [(step.what, step.source, step.at, step.access.ends_at) for step in explained.reasons] == [
            ("granted", "staff:a", first.granted_at, first.granted_at + MONTH),
            ("granted", "staff:b", second.granted_at, first.granted_at + 2 * MONTH),
            ("revoked", "staff:a", revoked_at, second.granted_at + MONTH),
        ]
        assert explained.active
        assert explained.access == explained.reasons[-1].access

    def test_of_what_he_never_had_tells_nothing(self, alice):
        explained = explain(alice.user_id, "gold")

        assert (explained.active, explained.access, explained.reasons) == (False, None, [])


some_grants = st.lists(
    st.tuples(
        st.sampled_from(["gold", "silver"]),
        st.integers(-90, 0),
        st.sampled_from(
            [
                {},
                {"duration": MONTH},
                {"duration": timedelta(days=3)},
                {"ends_at": ago(days=-10)},
                {"duration": timedelta(days=3), "ends_at": ago(days=-5)},
            ]
        ),
        st.booleans(),
    ),
    max_size=8,
)


class TestAgainstThePlainMeaning(TestCase):
    @settings(max_examples=40, deadline=None)
    @given(some_grants)
    def test_every_answer_is_what_the_grants_amount_to(self, given_to_alice):
        alice = Customer.objects.create(user_id="alice", user_id_origin="host")
        for number, (code, day, terms, revoked) in enumerate(given_to_alice):
            one = gives(alice, code, days_ago=-day, source=f"staff:{number}", **terms)
            if revoked:
                revoke(grant=one, reason="refunded", now=datetime.now(UTC))

        held = {each.code: each for each in holdings("alice").entitlements}

        assert set(held) == {code for code, *_ in given_to_alice}
        for code, each in held.items():
            grants = list(Grant.objects.filter(customer=alice, entitlement=code).in_order())
            expected = fold(grants)[-1].access
            assert each.access == expected == Entitlement.objects.get(customer=alice, code=code).access
            assert [source.source for source in each.sources] == [one.source for one in grants]
            active = expected.active_at(datetime.now(UTC))
            assert has_access("alice", code) == active
            ends_at = rfc3339_or_null(expected.ends_at)
            assert check_many(code, ["alice"]).active == ({"alice": ends_at} if active else {})
            explained = explain("alice", code)
            assert explained.access == expected
            assert explained.reasons[-1].access.active_at(datetime.now(UTC)) == explained.active

    @settings(max_examples=40, deadline=None)
    @given(some_grants, st.data())
    def test_what_a_source_would_cost_is_what_taking_it_back_costs(self, given_to_alice, data):
        alice = Customer.objects.create(user_id="alice", user_id_origin="host")
        for number, (code, day, terms, revoked) in enumerate(given_to_alice):
            one = gives(alice, code, days_ago=-day, source=f"staff:{number}", **terms)
            if revoked:
                revoke(grant=one, reason="refunded", now=datetime.now(UTC))
        before = {each.code: each.access for each in entitlements_of(alice)}
        source = data.draw(st.sampled_from([f"staff:{number}" for number in range(len(given_to_alice) + 1)]))

        told = {loss.code: (loss.before, loss.after) for loss in losses(alice, source)}

        for one in Grant.objects.filter(source=source, revoked_at=None):
            revoke(grant=one, reason="refunded", now=datetime.now(UTC))
        assert told == {
            each.code: (before[each.code], each.access)
            for each in entitlements_of(alice)
            if each.access != before[each.code] and before[each.code].active_at(datetime.now(UTC))
        }
