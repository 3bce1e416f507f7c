"""The page that describes the API, in a real browser that has it from a public address."""

import pytest

pytestmark = pytest.mark.xdist_group("house")

PUBLIC = "https://shop.example"


@pytest.fixture
def page(browser, house):
    """Nothing may be refused by the policy, or come from elsewhere."""
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(60_000)
    problems = []
    page.route(
        f"{PUBLIC}/**",
        lambda route: route.fulfill(response=route.fetch(url=route.request.url.replace(PUBLIC, house.url, 1))),
    )
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda line: problems.append(line.text) if line.type == "error" else None)
    page.on("request", lambda sent: None if sent.url.startswith((PUBLIC, "data:")) else problems.append(sent.url))
    yield page
    context.close()
    assert problems == []


def test_it_shows_every_call_and_takes_nothing_from_elsewhere(page):
    page.goto(f"{PUBLIC}/api/docs/")

    page.click('.opblock-summary-path[data-path="/api/v1/entitlements/check"]')
    page.wait_for_selector(".opblock.is-open >> text=Which of up to 1000 users may use something.")
    assert page.locator(".opblock").count() >= 16
