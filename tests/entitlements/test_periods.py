"""The fold of grants, against a model that counts single days, and its laws."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from entitlements.periods import LAST_MOMENT, Access, fold, furthest

DAY_0 = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class AGrant:
    granted_at: datetime
    duration: timedelta | None = None
    ends_at: datetime | None = None
    revoked_at: datetime | None = None


def day(number: int) -> datetime:
    return DAY_0 + timedelta(days=number)


days = st.integers(0, 40)
a_period = st.builds(lambda at, n: AGrant(day(at), duration=timedelta(days=n)), days, st.integers(1, 12))
a_fixed_end = st.builds(lambda at, end: AGrant(day(at), ends_at=day(end)), days, days)
a_subscribed_period = st.builds(
    lambda at, n, grace: AGrant(day(at), duration=timedelta(days=n), ends_at=day(at + n + grace)),
    days,
    st.integers(1, 12),
    st.integers(0, 5),
)
a_life = st.builds(lambda at: AGrant(day(at)), days)
a_grant = st.one_of(a_period, a_subscribed_period, a_fixed_end, a_life)
an_ended_grant = st.one_of(a_period, a_fixed_end)
a_history = st.lists(
    st.builds(lambda grant, revoked: replace(grant, revoked_at=day(50) if revoked else None), a_grant, st.booleans()),
    min_size=1,
    max_size=8,
)


def in_order(grants):
    return sorted(grants, key=lambda grant: grant.granted_at)


def end_of(grants) -> datetime | None:
    return fold(in_order(grants))[-1].access.ends_at


def last_day_paid_for(grants) -> int | None:
    """The plain meaning: walk through the grants and lay each period behind the days already paid for. Each grace lasts
    as long as it says, and nothing is laid behind it."""
    graces = [0]
    paid_until = (in_order(grants)[0].granted_at - DAY_0).days
    for grant in in_order(grants):
        at = (grant.granted_at - DAY_0).days
        if grant.revoked_at is not None:
            continue
        if grant.duration is not None:
            for _ in range(grant.duration.days):
                paid_until = max(paid_until, at) + 1
            if grant.ends_at is not None:
                graces.append((grant.ends_at - DAY_0).days)
        elif grant.ends_at is not None:
            paid_until = max(paid_until, (grant.ends_at - DAY_0).days)
        else:
            return None
    return max(paid_until, *graces)


class TestTheFold:
    @given(a_history)
    def test_is_the_plain_meaning_of_the_grants(self, grants):
        expected = last_day_paid_for(grants)

        assert end_of(grants) == (None if expected is None else day(expected))

    def test_ends_with_the_last_moment_there_is(self):
        centuries = [AGrant(day(number), duration=timedelta(days=36_500)) for number in range(100)]

        assert end_of(centuries) == LAST_MOMENT

    @given(a_history, st.data())
    def test_does_not_depend_on_the_order_in_which_purchases_of_one_moment_came(self, grants, data):
        at_once = [replace(grant, granted_at=DAY_0) for grant in grants if grant.ends_at is None]
        shuffled = data.draw(st.permutations(at_once))

        if at_once:
            assert fold(at_once)[-1].access == fold(shuffled)[-1].access

    @given(a_history, a_grant)
    def test_after_a_revocation_is_as_if_the_grant_had_never_been(self, grants, other):
        revoked = replace(other, granted_at=day(41), revoked_at=day(42))

        assert end_of([*grants, revoked]) == end_of(grants)

    @given(st.lists(a_period, min_size=1, max_size=8), a_period)
    def test_of_one_purchase_more_ends_later_by_at_most_its_length(self, grants, another):
        before = end_of([*grants, replace(another, revoked_at=day(50))])
        after = end_of([*grants, another])

        assert after >= before
        assert after <= max(before, another.granted_at) + another.duration or another.granted_at < max(
            grant.granted_at for grant in grants
        )

    @given(st.lists(a_period, min_size=1, max_size=8))
    def test_never_burns_what_is_left(self, grants):
        bought = sum((grant.duration for grant in grants), timedelta())

        assert end_of(grants) >= min(grant.granted_at for grant in grants) + bought

    @given(a_history)
    def test_shows_the_access_after_each_grant(self, grants):
        ordered = in_order(grants)

        steps = fold(ordered)

        assert [step.grant for step in steps] == ordered
        for position, step in enumerate(steps):
            assert step.access == fold(ordered[: position + 1])[-1].access

    def test_lays_nothing_behind_a_grace(self):
        subscribed = AGrant(day(0), duration=timedelta(days=10), ends_at=day(13))
        late = AGrant(day(12), duration=timedelta(days=10), ends_at=day(25))

        assert end_of([subscribed]) == day(13)
        assert end_of([subscribed, late]) == day(25)
        assert end_of([subscribed, AGrant(day(12), duration=timedelta(days=10))]) == day(22)

    def test_keeps_what_was_bought_besides_behind_the_periods_of_a_subscription(self):
        bought = AGrant(day(0), duration=timedelta(days=10))
        periods = [AGrant(day(4 + n), duration=timedelta(days=5), ends_at=day(10 + n)) for n in (0, 5, 10)]

        assert end_of([bought, *periods]) == day(25)

    def test_of_nothing_is_nothing(self):
        assert fold([]) == []


class TestTheGrantThatReachesFurthest:
    @given(a_history)
    def test_survives_and_ends_with_the_whole(self, grants):
        ordered = in_order(grants)

        leading = furthest(ordered)

        if all(grant.revoked_at for grant in ordered):
            assert leading is None
        else:
            assert leading.revoked_at is None
            (step,) = [step for step in fold(ordered) if step.grant is leading]
            assert not fold(ordered)[-1].access.reaches_beyond(step.access)

    def test_is_one_for_life_before_all_others(self):
        life, month = AGrant(day(0)), AGrant(day(5), duration=timedelta(days=30))

        assert furthest([life, month]) is life

    def test_is_the_one_that_moved_the_end_last(self):
        long, short = AGrant(day(0), ends_at=day(40)), AGrant(day(5), ends_at=day(20))

        assert furthest([long, short]) is long


class TestAccess:
    def test_ends_with_its_last_moment(self):
        access = Access(day(3))

        assert access.active_at(day(3) - timedelta(microseconds=1))
        assert not access.active_at(day(3))

    def test_for_life_does_not_end(self):
        assert Access(None).active_at(datetime.max.replace(tzinfo=UTC))
        assert Access(None).reaches_beyond(Access(day(3)))
        assert not Access(None).reaches_beyond(Access(None))
        assert not Access(day(3)).reaches_beyond(Access(None))
