"""The chat in a browser: what it may load, and that it shows text as text."""

import re

import httpx
import pytest

from tests.sandbox.conftest import called, eventually


class TestItsFiles:
    @pytest.mark.parametrize(
        ("path", "kind"), [("/", "text/html"), ("/chat.css", "text/css"), ("/chat.js", "javascript")]
    )
    def test_are_served_under_a_strict_policy(self, telegram, path, kind):
        answer = httpx.get(telegram.base_url + path)

        assert kind in answer.headers["Content-Type"]
        assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
        assert "unsafe" not in answer.headers["Content-Security-Policy"]

    def test_come_from_nowhere_else(self, telegram):
        page = httpx.get(telegram.base_url).text

        assert re.findall(r'(?:src|href)="(?!#|data:)([^"]+)"', page) == ["/chat.css", "/chat.js"]

    def test_never_make_markup_of_text(self, telegram):
        script = httpx.get(f"{telegram.base_url}/chat.js").text

        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script)

    def test_do_not_include_others(self, telegram):
        for path in ("/chat.html", "/../server.py", "/static/chat.js"):
            assert httpx.get(telegram.base_url + path).status_code == 404


@pytest.fixture
def page(browser, telegram):
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(60_000)
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda line: problems.append(line.text) if line.type == "error" else None)
    page.goto(telegram.base_url)
    yield page
    page.close()
    assert problems == []


class TestABuyer:
    def test_starts_pays_and_a_second_person_is_declined(self, telegram, api, hooked, page):
        """The whole way by mouse: a new person, Start, Pay, forward, another person, Pay."""
        hooked.answer = the_shop(api, hooked.answer)

        page.click("text=Alice, in English")
        page.click("#start")
        page.click("text=Pay ★ 500")
        page.click("text=Confirm and pay ★ 500")
        page.wait_for_selector(".outcome.paid >> text=Paid ★ 500")
        page.click("#confirm")
        page.wait_for_selector("text=You paid ★ 500")
        page.wait_for_selector("#balance >> text=★ 500")

        page.click("text=Add a person")
        page.fill("[name=first_name]", "Bob")
        page.click("#add-form .primary")
        page.wait_for_selector("#start:visible")
        page.click(".person:has-text('Alice')")
        page.click("text=Pay ★ 500")
        page.select_option("#forward-to", label="Bob")
        page.click(".person:has-text('Bob')")
        page.wait_for_selector("text=Forwarded from Alice")
        page.click("text=Pay ★ 500")
        page.click("#confirm")
        page.wait_for_selector(".outcome.bad >> text=This invoice is Alice's.")

        assert [charge.amount for charge in telegram.truth.charges] == [500]

    def test_sees_markup_as_text(self, telegram, api, page):
        hostile = "<img src=x onerror=alert(1)>"
        mallory = telegram.person(hostile)
        mallory.says(hostile)
        text = f"{hostile} <b>bold</b>".replace("<img", "&lt;img")
        markup = {"inline_keyboard": [[{"text": hostile, "callback_data": hostile}]]}
        api.result("sendMessage", chat_id=mallory.id, text=text, parse_mode="HTML", reply_markup=markup)
        invoice = {"title": hostile, "description": hostile, "payload": hostile}
        prices = [{"label": hostile, "amount": 5}]
        api.result("sendInvoice", chat_id=mallory.id, **invoice, currency="XTR", prices=prices)

        page.wait_for_selector("text=Pay ★ 5")
        page.click("text=Pay ★ 5")
        page.wait_for_selector("#checkout[open]")
        page.keyboard.press("Escape")
        page.click("text=Wire")
        page.wait_for_selector("#wire details")

        assert page.locator("img").count() == 0
        assert page.inner_text(".message .text >> nth=1") == f"{hostile} bold"
        assert page.locator(".message strong").inner_text() == "bold"

    def test_orders_a_fault(self, telegram, page):
        page.click("text=Faults")
        page.select_option("#order-fault [name=method]", "sendInvoice")
        page.select_option("#order-fault [name=kind]", "cut_after_effect")
        page.click("#order-fault .primary")
        page.wait_for_selector("text=sendInvoice: cut after effect × 1")

        assert [(one.method, one.kind) for one in telegram.faults.ordered] == [("sendInvoice", "cut_after_effect")]
        page.click("text=Take all back")
        eventually(lambda: telegram.faults.ordered == [])

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_on_a_phone_sees_one_thing_at_a_time(self, telegram, api, page, scheme):
        alice = telegram.person("Alice")
        alice.says("hello")
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": 390, "height": 844})
        page.goto("about:blank")
        page.goto(telegram.base_url)

        page.wait_for_selector(".person")
        assert not page.is_visible("#messages")
        page.click(".person")
        page.wait_for_selector(".message")
        assert not page.is_visible("#people")
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        page.click("#back")
        assert page.is_visible("#people")


def the_shop(api, agree):
    def answer(update):
        query, message = update.get("pre_checkout_query"), update.get("message", {})
        if message.get("text") == "/start":
            api.invoice_to(message["chat"]["id"])
        if query and query["from"]["first_name"] != "Alice":
            return called(
                "answerPreCheckoutQuery",
                pre_checkout_query_id=query["id"],
                ok=False,
                error_message="This invoice is Alice's.",
            )
        return agree(update)

    return answer
