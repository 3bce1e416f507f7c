"""What buyers read of their subscriptions: in /status, in reminders, and how they are left alone."""

from datetime import timedelta

import pytest

from config.database import database_now
from entitlements.models import Customer
from payments.models import Notice, Subscription
from payments.money import Money
from payments.recording import record_payment
from payments.reminding import remind
from payments.subscriptions import PERIOD, end_what_is_over
from telegram_bot import texts
from tests.factories import InvoiceFactory, PlanFactory
from tests.payments.reports import payment_of
from tests.telegram_bot.test_bot import presses, says

DAY = timedelta(days=1)


@pytest.fixture
def alice(shop, local_telegram):
    person = local_telegram.person("Alice", language_code="en")
    says(shop, person, "/start")
    return person


@pytest.fixture
def subscribed(shop, alice):
    """Lets Alice have paid so that so much is left of her month."""
    plan = PlanFactory(code="club", title="The club", recurring=True, prices=[Money(500, "XTR")])
    invoice = InvoiceFactory(customer=Customer.objects.get(telegram_user_id=alice.id), plan=plan)

    def pay(left: timedelta) -> Subscription:
        ends_at = database_now() + left
        report = payment_of(invoice, occurred_at=ends_at - PERIOD, period_ends_at=ends_at)
        paid = record_payment(report).event
        shop.sends_notices()
        return paid.subscription_payment.subscription

    return pay


def telegram_says(shop, alice, subscription, state) -> None:
    """The update as Telegram sends it, through the webhook's inbox."""
    user = {"id": alice.id, "is_bot": False, "first_name": "Alice"}
    change = {"user": user, "invoice_payload": subscription.reference, "state": state}
    shop.is_told({"update_id": 70_000 + len(state), "subscription": change})
    subscription.refresh_from_db()


class TestStatus:
    def test_says_when_it_renews_for_how_much_and_how_to_cancel(self, shop, alice, subscribed):
        end = texts.moment(subscribed(20 * DAY).current_period_end)

        answer = says(shop, alice, "/status")

        assert f"🔁 The club: renews on {end} for 500 ⭐." in answer
        assert answer.endswith("To cancel or renew: Telegram's Settings → My Stars → My subscriptions.")

    def test_says_when_a_cancelled_one_ends_and_that_it_can_be_turned_on_again(self, shop, alice, subscribed):
        running = subscribed(20 * DAY)
        telegram_says(shop, alice, running, "canceled")
        end = texts.moment(running.current_period_end)
        cancelled = f"⏹ The club: cancelled, ends on {end}."

        assert f"{cancelled} Until then you can turn it on again" in says(shop, alice, "/status")

        Subscription.objects.update(stopped_at=database_now())
        assert f"{cancelled}\n\nTo cancel" in says(shop, alice, "/status")

    def test_says_that_a_renewal_was_not_paid(self, shop, alice, subscribed):
        running = subscribed(-0.2 * DAY)
        telegram_says(shop, alice, running, "failed")

        assert "⚠️ The club: the renewal of 500 ⭐, due on" in says(shop, alice, "/status")

    def test_says_nothing_of_one_that_has_ended(self, shop, alice, subscribed):
        subscribed(-3 * DAY)
        end_what_is_over()

        answer = says(shop, alice, "/status")

        assert answer.startswith("▫️ The club: ended")
        assert "renew" not in answer


class TestBuying:
    def test_it_again_says_that_it_is_renewed(self, shop, alice, subscribed):
        subscribed(20 * DAY)

        assert says(shop, alice, "/buy club").startswith("You subscribe to this already")


class TestTheConfirmation:
    def test_says_when_it_renews(self, shop, alice, subscribed):
        subscribed(30 * DAY)

        assert "🔁 The club: renews on" in alice.messages()[-1]["text"]


class TestAReminder:
    def test_reaches_the_chat_once_and_can_be_the_last(self, shop, alice, subscribed):
        subscribed(DAY)
        before = len(alice.messages())

        for _ in range(2):
            remind()
            shop.sends_notices()

        [reminder] = alice.messages()[before:]
        assert reminder["text"].startswith("🔁 The club is renewed on")
        assert "I send you no reminders" in presses(shop, alice, "No more reminders")

    @pytest.mark.parametrize(
        ("state", "left", "words"),
        [
            ("canceled", DAY, "⏹ The club ends on"),
            ("failed", -0.2 * DAY, "⚠️ 500 ⭐ for The club could not be charged."),
        ],
    )
    def test_says_what_is_so(self, shop, alice, subscribed, state, left, words):
        telegram_says(shop, alice, subscribed(left), state)
        remind()
        shop.sends_notices()

        assert alice.messages()[-1]["text"].startswith(words)

    def test_that_is_no_longer_so_is_not_sent(self, shop, alice, subscribed):
        running = subscribed(-0.2 * DAY)
        telegram_says(shop, alice, running, "failed")
        remind()
        Subscription.objects.update(state="active")

        shop.sends_notices()

        assert not any("could not be charged" in message.get("text", "") for message in alice.messages())
        assert Notice.objects.get(kind="subscription_failed").error == "it is no longer so"


class TestTheCommand:
    def test_tells_how_it_is_and_changes_it(self, shop, alice):
        assert says(shop, alice, "/reminders").startswith("I remind you before")
        assert says(shop, alice, "/reminders off").startswith("I send you no reminders")
        assert says(shop, alice, "/reminders").startswith("I send you no reminders")
        assert "I remind you before" in presses(shop, alice, "Remind me")
        assert says(shop, alice, "/reminders").startswith("I remind you before")
