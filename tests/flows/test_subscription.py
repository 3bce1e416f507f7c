"""A membership from its first payment to its refund, in a browser: the buyer's chat, Telegram's clock, the admin."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Event

import httpx
import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from playwright.sync_api import expect

from config.api.authentication import create_api_client
from config.confirmation import SIGNED_IN_AT
from config.database import database_now
from entitlements.models import Scope
from payments import cancelling, refunding, reminding, subscriptions
from payments.models import Refund
from telegram_bot import texts
from telegram_bot.gateway import gateway
from telegram_bot.management.commands.local_telegram import follow
from telegram_bot.sandbox.server import LocalTelegram
from tests.books import faults_in_the_books
from tests.clock import a_clock_to_move
from tests.staff import signed_in
from tests.telegram_bot.conftest import Shop

pytestmark = pytest.mark.django_db(transaction=True)

PATIENCE = 60_000  # milliseconds
MONTH = timedelta(days=30)
GRACE = timedelta(hours=24)


@pytest.fixture(scope="module", autouse=True)
def database_beside_a_browser():
    """Django takes Playwright's event loop, which waits in this thread, for one that a query would hold up."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        yield


@pytest.fixture
def telegram(transactional_db, settings):
    """A local Telegram whose clock the database follows, and a shop at work for it in a thread of its own."""
    gateway.close()
    stop, token = Event(), settings.TELEGRAM_BOT_TOKEN
    with (
        a_clock_to_move(),
        LocalTelegram.running(token=token, checkout_seconds=60, follow=follow) as telegram,
        ThreadPoolExecutor(1) as thread,
    ):
        settings.TELEGRAM_API_BASE_URL = telegram.base_url
        call_command("load_catalog", "payments/demo_catalog.toml")
        working = thread.submit(keep_working, stop)
        try:
            yield telegram
        finally:
            stop.set()
            working.result()
            gateway.close()


def keep_working(stop: Event) -> None:
    """What a poller and a worker do, without the minutes between."""
    shop = Shop()
    try:
        while not stop.wait(0.1):
            shop.works()
            for refund in Refund.objects.due_at(database_now()):
                refunding.pursue(refund_id=refund.pk)
            for refund in Refund.objects.to_cancel_at(database_now()):
                cancelling.pursue(refund_id=refund.pk)
            subscriptions.end_what_is_over()
            reminding.remind()
            shop.sends_notices()
    finally:
        connection.close()


@pytest.fixture
def context(browser, telegram):
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB")
    context.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    yield context
    context.close()


class Chat:
    """What Alice does in the chat page, and what she reads there."""

    def __init__(self, page, telegram) -> None:
        self.page = page
        self.problems = []
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.goto(telegram.base_url)
        page.click("text=Alice, in English")
        page.click("#start")
        self.reads("Hello, Alice!")

    def says(self, text: str) -> None:
        self.page.fill("#text", text)
        self.page.press("#text", "Enter")

    def reads(self, words: str) -> None:
        """The newest message holds these words."""
        expect(self.page.locator("#messages > :last-child")).to_contain_text(words)

    def subscribes(self) -> None:
        self.says("/buy club")
        self.reads("Club membership for 300 ⭐, renewed by itself until you cancel it.")
        self.page.locator("#messages > :last-child >> text=Pay 300").click()
        self.page.click("text=Confirm and pay ★ 300")
        self.page.wait_for_selector(".outcome.paid >> text=Paid ★ 300")
        self.page.click("#confirm")
        self.reads("✅ Paid: Club membership, 300 ⭐.")

    def lets_pass(self, time: str) -> None:
        self.page.click(f"#advance >> text={time}")

    def was_told(self, words: str) -> int:
        """How many messages hold these words."""
        return self.page.locator(".message", has_text=words).count()


class Program:
    """A product that asks about Alice by the API."""

    def __init__(self, url: str, alice: int) -> None:
        scopes = [Scope.ENTITLEMENTS_READ]
        key = create_api_client(name="a product", scopes=scopes, lifetime=None, now=datetime.now(UTC))
        self.headers = {"Authorization": f"Api-Key {key}"}
        self.url = f"{url}/api/v1/customers/{alice}/entitlements"

    def sees(self) -> dict:
        answer = httpx.get(self.url, headers=self.headers, timeout=PATIENCE / 1000).raise_for_status().json()
        [club] = answer["entitlements"]
        return club


def all_agree(chat: Chat, program: Program, *, active: bool, renews: bool, until: datetime | None) -> None:
    """The API and /status say the same. :param until: where there is access, Telegram's end of what is paid for"""
    seen = program.sees()
    ends_at = datetime.fromisoformat(seen["expires_at"])
    assert (seen["active"], seen["will_renew"]) == (active, renews)
    assert until is None or ends_at == until + GRACE
    chat.says("/status")
    chat.reads(f"{'✅ Club membership: until' if active else '▫️ Club membership: ended'} {texts.moment(ends_at)}")


def paid_until(subscription) -> datetime:
    return datetime.fromtimestamp(subscription.expires_at, UTC)


def sign_in(context, url: str) -> None:
    """Let the browser have the session of somebody who has just given both factors."""
    staff = signed_in(User.objects.create_superuser("dana"))
    session = staff.session
    session[SIGNED_IN_AT] = database_now().timestamp()
    session.save()
    context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session.session_key, "url": url}])


def test_a_membership_is_renewed_fails_lapses_is_bought_again_and_given_back(context, telegram, live_server):
    chat = Chat(context.new_page(), telegram)
    page = chat.page
    [alice] = telegram.truth.people
    program = Program(live_server.url, alice.id)

    chat.subscribes()
    [first] = telegram.truth.subscriptions
    all_agree(chat, program, active=True, renews=True, until=paid_until(first))
    chat.reads(f"🔁 Club membership: renews on {texts.moment(paid_until(first))} for 300 ⭐.")

    # It is renewed when it is due.
    page.click("#subscriptions")
    chat.lets_pass("30 days")
    chat.reads(f"renews on {texts.moment(paid_until(first) + MONTH)}")
    expect(page.locator("text=You paid ★ 300 to renew a subscription")).to_have_count(1)
    all_agree(chat, program, active=True, renews=True, until=paid_until(first) + MONTH)

    # The next time she has not the Stars: she is told, and keeps what she has for a day.
    page.check("text=Let the next renewal fail")
    chat.lets_pass("30 days")
    chat.reads("⚠️ 300 ⭐ for Club membership could not be charged.")
    all_agree(chat, program, active=True, renews=False, until=paid_until(first) + MONTH)
    chat.reads("was not paid.")

    # Then it is over.
    chat.lets_pass("1 day")
    chat.reads("▫️ Club membership ended on")
    all_agree(chat, program, active=False, renews=False, until=paid_until(first) + MONTH)
    assert chat.was_told("could not be charged") == 1

    # She subscribes again.
    chat.subscribes()
    [_, second] = telegram.truth.subscriptions
    all_agree(chat, program, active=True, renews=True, until=paid_until(second))

    # Staff give that payment back, and nothing more is charged for it.
    sign_in(context, live_server.url)
    admin = context.new_page()
    admin.goto(f"{live_server.url}/admin/payments/paymentevent/?q={second.first_charge_id}")
    admin.click("#result_list th a >> visible=true")
    admin.click("#refund >> text=Refund…")
    admin.fill("#id_reason", "She wants it no more.")
    admin.click("text=Give 300 ⭐ back")
    admin.wait_for_selector("#refund >> text=Asked for by dana")
    chat.reads("↩️ Returned: 300 ⭐ for Club membership.")
    expect(page.locator("#subs-list")).to_contain_text("stopped by the bot")
    all_agree(chat, program, active=False, renews=False, until=None)

    assert [charge.refunded_at is not None for charge in telegram.truth.charges] == [False, False, True]
    assert chat.problems == []
    assert faults_in_the_books() == []
