"""Stars subscriptions: what renewals, ends and the passing of time tell the bot."""

import asyncio

import pytest

from telegram_bot.sandbox.errors import NotPossible
from telegram_bot.sandbox.world import Options, World
from tests.sandbox.conftest import stars

MONTH = 2_592_000
DAY = 86_400


@pytest.fixture
def subscription(telegram, api, hooked, alice):
    alice.pays(api.link(alice, subscription_period=MONTH))
    telegram.wait_until_quiet()
    return alice.subscriptions()[0]


def payments(hooked):
    return [one["message"]["successful_payment"] for one in hooked.updates() if "successful_payment" in one["message"]]


def states(hooked):
    return [one["subscription"]["state"] for one in hooked.updates("subscription")]


class TestTheFirstPayment:
    def test_is_recurring_and_the_first(self, telegram, hooked, subscription):
        (payment,) = payments(hooked)

        assert (payment["is_recurring"], payment["is_first_recurring"]) == (True, True)
        assert payment["subscription_expiration_date"] == telegram.truth.charges[0].date + MONTH

    def test_asks_before(self, hooked, subscription):
        assert len(hooked.updates("pre_checkout_query")) == 1

    def test_is_listed_with_its_period(self, telegram, subscription):
        assert telegram.truth.transactions[0]["source"]["subscription_period"] == MONTH


class TestARenewal:
    def test_comes_without_asking_under_a_new_charge_and_the_same_payload(self, telegram, hooked, subscription):
        telegram.renews(subscription)
        telegram.wait_until_quiet()

        first, renewal = payments(hooked)
        assert len(hooked.updates("pre_checkout_query")) == 1
        assert renewal["telegram_payment_charge_id"] != first["telegram_payment_charge_id"]
        assert renewal["invoice_payload"] == first["invoice_payload"]
        assert renewal["is_recurring"] is True
        assert "is_first_recurring" not in renewal
        assert renewal["subscription_expiration_date"] == first["subscription_expiration_date"] + MONTH

    def test_comes_by_itself_when_it_is_due(self, telegram, hooked, subscription):
        telegram.advance(days=29)
        telegram.wait_until_quiet()
        assert len(payments(hooked)) == 1

        telegram.advance(days=1)
        telegram.wait_until_quiet()

        assert len(payments(hooked)) == 2
        assert hooked.updates()[-1]["message"]["date"] == subscription.expires_at

    def test_comes_twelve_times_in_a_year_each_on_its_day(self, telegram, hooked, subscription):
        telegram.advance(days=365)
        telegram.wait_until_quiet()

        dates = [one["message"]["date"] for one in hooked.updates() if "successful_payment" in one["message"]]
        assert dates == [dates[0] + number * MONTH for number in range(13)]
        assert telegram.truth.balance == 13 * 500

    def test_that_fails_tells_so_and_is_the_end(self, telegram, hooked, subscription):
        telegram.fails_to_renew(subscription)
        telegram.advance(days=60)
        telegram.wait_until_quiet()

        assert states(hooked) == ["failed"]
        assert len(payments(hooked)) == 1
        with pytest.raises(NotPossible):
            telegram.renews(subscription)

    def test_that_is_to_fail_fails_when_it_is_due_and_not_before(self, telegram, hooked, subscription):
        telegram.lets_next_renewal_fail(subscription)
        telegram.advance(days=29)
        telegram.wait_until_quiet()
        assert states(hooked) == []

        telegram.advance(days=1)
        telegram.wait_until_quiet()

        assert states(hooked) == ["failed"]
        assert len(payments(hooked)) == 1
        with pytest.raises(NotPossible):
            telegram.lets_next_renewal_fail(subscription)


def test_those_who_follow_the_clock_are_there_before_anything_falls_due():
    """What they were told, in days, and how much had been charged by then."""
    told = []

    async def six_weeks() -> None:
        world = World(Options(follow=lambda ahead: told.append((round(ahead / DAY), len(world.truth.charges)))))
        alice = world.buyers.add("Alice")
        link = await world.methods.do("createInvoiceLink", stars() | {"subscription_period": MONTH})
        world.checkout.charge(world.buyers.invoice(alice, link=link), alice)
        await world.subscriptions.pass_time(42 * DAY)
        assert round(world.clock.ahead / DAY) == 42

    asyncio.run(six_weeks())

    assert told == [(30, 1), (42, 2)]


class TestCancelling:
    def test_by_the_person_tells_the_bot_and_stops_renewals(self, telegram, hooked, alice, subscription):
        alice.cancels(subscription)
        telegram.advance(days=31)
        telegram.wait_until_quiet()

        update = hooked.updates("subscription")[0]["subscription"]
        assert (update["user"]["id"], update["invoice_payload"], update["state"]) == (alice.id, "order 1", "canceled")
        assert len(payments(hooked)) == 1

    def test_is_taken_back_before_the_end(self, telegram, hooked, alice, subscription):
        alice.cancels(subscription)
        alice.reenables(subscription)
        telegram.advance(days=30)
        telegram.wait_until_quiet()

        assert states(hooked) == ["canceled", "active"]
        assert len(payments(hooked)) == 2

    def test_happens_once(self, alice, subscription):
        alice.cancels(subscription)

        with pytest.raises(NotPossible, match="not active"):
            alice.cancels(subscription)

    def test_by_the_person_and_the_bot_is_not_taken_back_by_the_person_alone(self, api, alice, subscription):
        alice.cancels(subscription)
        self.edit(api, alice, subscription.first_charge_id, True)

        with pytest.raises(NotPossible):
            alice.reenables(subscription)

    def test_cannot_be_taken_back_after_the_end(self, telegram, hooked, alice, subscription):
        alice.cancels(subscription)
        telegram.advance(days=31)

        with pytest.raises(NotPossible, match="ended"):
            alice.reenables(subscription)

    def edit(self, api, person, charge_id, is_canceled):
        return api(
            "editUserStarSubscription",
            user_id=person.id,
            telegram_payment_charge_id=charge_id,
            is_canceled=is_canceled,
        )

    def test_by_the_bot_stops_renewals_without_an_update(self, telegram, api, hooked, alice, subscription):
        assert self.edit(api, alice, subscription.first_charge_id, True)["result"] is True
        telegram.advance(days=31)
        telegram.wait_until_quiet()

        assert states(hooked) == []
        assert len(payments(hooked)) == 1

    def test_by_the_bot_can_be_undone_by_the_person_only_when_the_bot_lets_them(
        self, telegram, api, hooked, alice, subscription
    ):
        self.edit(api, alice, subscription.first_charge_id, True)
        with pytest.raises(NotPossible):
            alice.reenables(subscription)

        self.edit(api, alice, subscription.first_charge_id, False)
        alice.reenables(subscription)
        telegram.wait_until_quiet()

        assert states(hooked) == ["active"]

    def test_by_the_bot_names_a_charge_of_that_person(self, api, hooked, alice, bob, subscription):
        single = alice.pays(api.invoice(alice)).charge

        for person, charge_id in ((bob, subscription.first_charge_id), (alice, "stx"), (alice, single.id)):
            assert self.edit(api, person, charge_id, True)["description"] == "Bad Request: CHARGE_NOT_FOUND"

    def test_does_not_follow_from_a_refund(self, telegram, api, hooked, alice, subscription):
        api.result("refundStarPayment", user_id=alice.id, telegram_payment_charge_id=subscription.first_charge_id)
        telegram.advance(days=30)
        telegram.wait_until_quiet()

        assert len(payments(hooked)) == 2
