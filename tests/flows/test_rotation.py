"""T43: secrets are rotated under load as docs/rotation.md says, and nobody but their holders notices."""

import re
import secrets
import shlex
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import zip_longest

import httpx
import pytest

from config.env import BASE_DIR

# It takes half a minute, for the house is started anew at each step.
pytestmark = [pytest.mark.xdist_group("house"), pytest.mark.alone]

DOCUMENT = (BASE_DIR / "docs" / "rotation.md").read_text()
STEP = re.compile(r"^```(env|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BUYERS = 3
EXCHANGE, ME = "/api/v1/miniapp/exchange-initdata", "/api/v1/me/entitlements"
SEND_INVOICE, ORDER = "/api/v1/telegram/payment/send-invoice", {"plan_code": "gold_1m", "delivery": "link"}


def steps_of(title: str, **values: str) -> list[tuple[str, list[str]]]:
    """The blocks of a section, each with its kind and lines, `<old>` and `<new>` filled in."""
    section = DOCUMENT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    assert section
    for name, value in values.items():
        section = section.replace(f"<{name}>", value)
    return [(kind, lines.splitlines()) for kind, lines in STEP.findall(section)]


def carry_out(house, *steps: tuple[str, list[str]]) -> None:
    """Set the variables that the steps name and start everything anew, then run their commands."""
    for kind, lines in steps:
        if kind == "env":
            house.environment.update(line.split("=", 1) for line in lines)
    if any(kind == "env" for kind, _ in steps):
        house.restart()
    for kind, lines in steps:
        if kind == "sh":
            for line in lines:
                python, program, *words = shlex.split(line)
                assert (python, program) == ("python", "manage.py")
                house.manage(*words)


@pytest.fixture
def house_of_before(house):
    """The house, with its environment and its webhook put back in the end."""
    before = dict(house.environment)
    yield house
    house.environment.clear()
    house.environment.update(before, TELEGRAM_BOT_TOKEN=house.telegram.token)
    house.restart()
    house.manage("set_webhook")


class Closed(Exception):
    """The shop has closed."""


class Customers:
    """Buyers who come one after the other, pay and look at their access, whatever happens meanwhile."""

    def __init__(self, house) -> None:
        self._house = house
        self._closed = threading.Event()
        self.bought: list[int] = []
        self.refused = Counter[int]()  # what callers with good credentials were told

    @contextmanager
    def coming(self) -> Iterator["Customers"]:
        threads = [threading.Thread(target=self._come) for _ in range(BUYERS)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._closed.set()
            for thread in threads:
                thread.join()

    def _come(self) -> None:
        with suppress(Closed):
            while True:
                self._buy(self._house.telegram.person("Alice"))

    def _buy(self, person) -> None:
        signed_in = self._asked("POST", EXCHANGE, lambda: {"init_data": person.init_data()})
        authorised = {"Authorization": f"Bearer {signed_in['access']}"}
        sent = self._asked("POST", SEND_INVOICE, lambda: ORDER, headers=authorised)
        if person.pays(person.opens(sent["invoice_link"])).paid:
            self.bought.append(person.id)
        self._asked("GET", ME, headers=authorised)

    def _asked(self, method: str, path: str, body=lambda: None, **options) -> dict:
        """The answer, in however many tries, each with a body of its own.

        :raises Closed: before there was one
        """
        while not self._closed.wait(0.02):
            try:
                answer = httpx.request(method, f"{self._house.url}{path}", json=body(), timeout=60, **options)
            except httpx.TransportError:
                continue
            if answer.status_code == 200:
                return answer.json()
            if answer.status_code != 503:
                self.refused[answer.status_code] += 1
        raise Closed

    def wait_for_more(self, count: int = 2) -> None:
        wanted = len(self.bought) + count
        self._house.wait_for(lambda: len(self.bought) >= wanted, "more buyers")


def new_secret() -> str:
    return secrets.token_urlsafe(48)


def test_secrets_are_rotated_under_load_without_a_lost_update_or_a_401(house_of_before):
    house = house_of_before
    delivered_before = len(house.telegram.truth.deliveries)
    old = dict(house.environment)
    new = {name: new_secret() for name in ("TELEGRAM_WEBHOOK_SECRET", "JWT_SIGNING_KEY", "SECRET_KEY")}
    sections = [
        steps_of(title, old=old[name], new=new[name])
        for title, name in (
            ("The webhook's secret", "TELEGRAM_WEBHOOK_SECRET"),
            ("The key of the buyers' tokens", "JWT_SIGNING_KEY"),
            ("SECRET_KEY", "SECRET_KEY"),
        )
    ]
    early_bird = house.sign_in(house.telegram.person("Bob"))

    with Customers(house).coming() as customers:
        customers.wait_for_more()
        for steps in [list(filter(None, steps)) for steps in zip_longest(*sections)]:
            assert early_bird.get(ME).status_code == 200
            carry_out(house, *steps)
            customers.wait_for_more()

    assert {name: house.environment[name] for name in new} == new
    assert early_bird.get(ME).status_code == 401  # its key is gone
    assert house.post_update(b"{}", secret=old["TELEGRAM_WEBHOOK_SECRET"]).status_code == 401
    assert customers.refused == {}
    assert_nothing_is_lost(house, customers, delivered_before)


def test_the_bots_token_is_rotated_under_load_without_a_lost_payment(house_of_before):
    house = house_of_before
    delivered_before = len(house.telegram.truth.deliveries)

    with Customers(house).coming() as customers:
        customers.wait_for_more()
        token = house.telegram.revokes_token()
        for step in steps_of("The bot's token", new=token):
            carry_out(house, step)
        customers.wait_for_more()

    assert set(customers.refused) <= {401}  # whose Mini App was opened before
    assert_nothing_is_lost(house, customers, delivered_before)


def test_an_api_key_is_replaced_while_its_program_goes_on_asking(house):
    def asks(key: str) -> int:
        answer = httpx.post(
            f"{house.url}/api/v1/entitlements/check",
            json={"entitlement": "gold", "user_ids": ["1"]},
            headers={"Authorization": f"Api-Key {key}"},
        )
        return answer.status_code

    [(_, [command])] = steps_of("An API key")
    words = shlex.split(command)[2:]
    first, second = house.manage(*words), house.manage(*words)

    assert (asks(first), asks(second)) == (200, 200)
    house.rows("UPDATE entitlements_apiclient SET revoked_at = now() WHERE prefix = %s RETURNING id", first[:8])
    assert (asks(first), asks(second)) == (401, 200)


def assert_nothing_is_lost(house, customers: Customers, delivered_before: int) -> None:
    """All who paid have their payment in the books, once; Telegram heard nothing but that it should come again."""
    house.telegram.wait_until_quiet()
    recorded = house.rows(
        "SELECT telegram_user_id, count(*) FROM payments_paymentevent JOIN entitlements_customer customer"
        " ON customer.id = customer_id WHERE telegram_user_id = ANY(%s) AND status = 'processed' GROUP BY 1",
        customers.bought,
    )
    assert sorted(recorded) == [(buyer, 1) for buyer in sorted(customers.bought)]
    statuses = {delivery.status for delivery in house.telegram.truth.deliveries[delivered_before:]}
    assert 200 in statuses
    assert statuses <= {200, 503, None}
