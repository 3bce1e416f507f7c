"""Staff find a payment and read its story, in a real browser before the real house."""

import csv

import pytest
from django_otp.oath import totp
from playwright.sync_api import expect

from tests.flows.test_purchase import active_mine, asks_to_buy

pytestmark = pytest.mark.xdist_group("house")

PASSWORD, KEY = "a password of the flows", b"a key of the flows 00"
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def staff(house):
    create = (
        "from django.contrib.auth.models import User\n"
        "from django_otp.plugins.otp_totp.models import TOTPDevice\n"
        f"dana = User.objects.create_superuser('dana', password='{PASSWORD}')\n"
        f"TOTPDevice.objects.create(user=dana, key='{KEY.hex()}', confirmed=True)"
    )
    house.manage("shell", "-c", create)


@pytest.fixture(scope="module")
def session(browser, house, staff):
    """Signed in once, as a person does: a code is good for one time."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{house.url}/admin/")
    page.fill("#id_username", "dana")
    page.fill("#id_password", PASSWORD)
    page.fill("#id_otp_token", f"{totp(KEY):06}")
    page.press("#id_otp_token", "Enter")
    page.wait_for_selector(".figures")
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def page(request, browser, house, session):
    """The first page, signed in, east of Greenwich. Nothing may be refused by the policy or come from elsewhere."""
    context = browser.new_context(
        viewport=request.param, timezone_id="Asia/Tokyo", locale="en-GB", storage_state=session
    )
    page = context.new_page()
    page.set_default_timeout(60_000)
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda line: problems.append(line.text) if line.type == "error" else None)
    page.on("request", lambda sent: None if sent.url.startswith((house.url, "data:")) else problems.append(sent.url))
    page.goto(f"{house.url}/admin/")
    page.wait_for_selector(".figures")
    yield page
    context.close()
    assert problems == []


@pytest.fixture
def charge(house, alice):
    """Alice has bought gold, and has been told so."""
    asks_to_buy(alice, "gold_1m")
    charge = alice.pays(alice.last_invoice()).charge
    alice.hears("Gold")
    house.wait_for(lambda: house.rows("SELECT FROM payments_notice WHERE sent_at IS NOT NULL"), "the confirmation")
    return charge


@pytest.fixture
def held(house, alice) -> str:
    """Alice has paid a Star less than gold costs, and has been told that it is being looked at; the charge's id."""
    alice.says("/start")
    alice.hears()
    charge = f"stxHeld{alice.id}"
    report = {
        "user_id": str(alice.id),
        "entitlement_type": "gold_1m",
        "invoice_id": "a reference of the sender",
        "telegram_payment_charge_id": charge,
        "provider_payment_charge_id": "",
        "total_amount": 499,
        "currency": "XTR",
    }
    house.sign_in(alice)
    answer = house.program("payments:ingest").post("/webhook/telegram/successful_payment", json=report)
    assert answer.json()["status"] == "held"
    return charge


class TestStaff:
    def test_find_a_payment_by_its_charge_and_read_its_whole_story(self, house, page, charge):
        page.click(".tasks >> text=Payments")
        page.fill("#searchbar", charge.id)
        page.press("#searchbar", "Enter")
        page.wait_for_url("**q=*")
        page.click("#result_list th a >> visible=true")

        told = story_on(page)

        assert [any(words in entry for entry in told) for words in STORY] == [True] * len(STORY), told
        assert overflowing(page) == 0

    def test_read_times_in_their_own_zone_and_utc_on_hover(self, house, page, charge):
        page.goto(f"{house.url}/admin/payments/paymentevent/?q={charge.id}")
        time = page.locator("#result_list time").first

        utc, shown = time.get_attribute("title"), time.inner_text()

        assert utc.endswith(" UTC")
        assert page.evaluate(
            "([utc, text]) => new Date(utc).toLocaleTimeString('en-GB', "
            "{hour: '2-digit', minute: '2-digit'}) === text.slice(-5)",
            [utc, shown],
        )

    def test_see_what_a_customer_has_and_why(self, house, page, alice, charge):
        page.goto(f"{house.url}/admin/entitlements/customer/?q={alice.id}")
        page.click("#result_list th a >> visible=true")

        assert "gold" in page.inner_text("#access")
        assert charge.id in page.inner_text("#access")
        assert "500 ⭐" in page.inner_text("#payments")
        assert overflowing(page) == 0

    def test_choose_days_follow_a_number_to_its_payments_and_export_them(self, house, page, charge):
        page.click(".tasks >> text=Revenue")
        page.click(".ranges >> text=Last 7 days")
        stars = page.locator("#XTR")
        stars.locator(".columns a").last.hover()
        assert "gross" in stars.locator(".columns a").last.locator("title").text_content()
        stars.locator("summary").click()
        expect(stars.locator("details tbody tr")).to_have_count(7)
        assert overflowing(page) == 0
        number = stars.locator('.tile:has(> span:text-is("Payments")) .value')
        payments = int(number.inner_text().replace(",", ""))

        number.click()
        page.wait_for_url("**/paymentevent/**kind=payments**")
        page.click("text=Export CSV…")
        page.fill("#id_reason", "The accountant asked for it.")
        with page.expect_download() as download:
            page.click("button >> text=Export CSV")

        rows = list(csv.DictReader(download.value.path().read_text(encoding="utf-8").splitlines()))
        assert download.value.suggested_filename.startswith("payments-20")
        assert len(rows) == payments
        assert charge.id in {row["event_id"] for row in rows}
        assert ("exported payments", "The accountant asked for it.") in house.rows(
            "SELECT what, reason FROM entitlements_auditentry"
        )

    def test_give_access_by_hand_and_are_named_on_the_page_of_the_customer(self, house, page, alice):
        buyer = house.sign_in(alice)
        assert not active_mine(buyer)
        page.goto(f"{house.url}/admin/entitlements/customer/?q={alice.id}")
        page.click("#result_list th a >> visible=true")
        page.click("#access >> text=Give access")

        page.fill("[name=entitlement]", "gold")
        page.fill("[name=days]", "30")
        page.fill("[name=reason]", "She waited a week.")
        assert overflowing(page) == 0
        page.click("#decision button")

        page.wait_for_selector("#payments >> text=dana gave access")
        assert "She waited a week." in page.inner_text("#payments")
        assert active_mine(buyer)

    def test_decide_about_a_held_payment_and_the_buyer_is_told(self, house, page, alice, held):
        page.click(".tasks >> text=Held")
        page.fill("#searchbar", held)
        page.press("#searchbar", "Enter")
        page.wait_for_url("**q=*")
        page.click("text=Decide… >> visible=true")
        assert "499 ⭐" in page.inner_text("#held")
        assert "gold for 30 days from now on" in page.inner_text("#decision")
        assert overflowing(page) == 0

        page.fill("[name=why]", "One Star too few is fine.")
        page.click("#decision button:text('Give access')")

        page.wait_for_selector("text=Decided: access granted.")
        assert active_mine(house.sign_in(alice))
        assert "Gold" in alice.hears("✅ Paid")["text"]

    def test_are_asked_why_before_they_block_a_customer(self, house, page, alice):
        house.sign_in(alice)
        page.goto(f"{house.url}/admin/entitlements/customer/?q={alice.id}")
        page.click("#result_list th a >> visible=true")
        page.fill("[name=blocked_at_0]", "2026-11-01")
        page.fill("[name=blocked_at_1]", "12:00:00")
        page.fill("[name=reason]", "Fraud.")
        page.click("[name=_continue] >> visible=true")

        page.wait_for_selector("#payments >> text=dana blocked the customer")
        assert overflowing(page) == 0

    def test_give_a_payment_back_and_see_the_chat_and_the_books_change(self, house, page, alice, charge):
        page.goto(f"{house.url}/admin/payments/paymentevent/?q={charge.id}")
        page.click("#result_list th a >> visible=true")
        page.click("#refund >> text=Refund…")
        assert page.inner_text("#taken-back") == "Access to gold ends now."
        assert overflowing(page) == 0

        page.fill("#id_reason", "Bought by mistake.")
        page.click("text=Give 500 ⭐ back")

        page.wait_for_selector("#refund >> text=Asked for by dana")
        assert "500 ⭐" in alice.hears("Returned")["text"]
        refunded = "SELECT FROM payments_paymentevent WHERE event_id = %s AND refund_of_id IS NOT NULL"
        house.wait_for(lambda: house.rows(refunded, charge.id), "the refund")
        page.reload()
        assert "given back" in page.inner_text("#refund h2")
        assert overflowing(page) == 0
        page.click(f"#refund >> text={charge.id}")
        told = story_on(page)
        assert [any(words in entry for entry in told) for words in REFUNDED] == [True] * len(REFUNDED), told
        assert [each.refunded_at is None for each in alice.charges()] == [False]


STORY = (
    "Invoice written",
    "Invoice sent",
    "Checkout approved",
    "Telegram reported it",
    "500 ⭐ received and processed",
    "Access to gold given",
    "sent",
)

REFUNDED = ("Refund asked for", "By dana: Bought by mistake.", "500 ⭐ given back", "Access to gold taken back")


class TestReconciliation:
    def test_was_done_when_the_worker_started_and_its_page_says_so(self, page, house):
        house.wait_for(
            lambda: house.rows("SELECT FROM payments_reconciliationrun WHERE outcome = 'clean'"), "a reconciliation"
        )
        page.goto(f"{house.url}/admin/payments/reconciliationrun/?outcome__exact=clean")
        page.click("#result_list tbody tr:last-child th a")

        assert "Everything is accounted for" in page.inner_text("#run h2")
        assert overflowing(page) == 0


def story_on(page) -> list[str]:
    """The entries of the page of a payment, to which a link was followed."""
    page.wait_for_url("**/paymentevent/*/change/**")
    return page.locator("#story .timeline li").all_inner_texts()


def overflowing(page) -> int:
    """By how many pixels the page is wider than the window."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
