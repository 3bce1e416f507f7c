"""T04: one charge delivered a thousand times at once, as the same update and as a thousand others."""

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from django.conf import settings

from telegram_bot.webhook import PATH, SECRET_HEADER
from tests import updates

pytestmark = pytest.mark.xdist_group("house")

DELIVERIES = 1000
AT_ONCE = 50


@pytest.fixture
def paid(house, alice):
    """A payment by Alice for an invoice of hers, ready to be posted; she started the bot."""
    alice.says("/start")
    alice.hears()
    answer = house.sign_in(alice).post(
        "/api/v1/telegram/payment/send-invoice", json={"plan_code": "gold_1m", "delivery": "link"}
    )
    invoice = alice.opens(answer.json()["invoice_link"])
    return updates.message(
        alice.id,
        successful_payment={
            "currency": "XTR",
            "total_amount": 500,
            "invoice_payload": invoice.payload,
            "telegram_payment_charge_id": f"stxStorm{alice.id}",
            "provider_payment_charge_id": "",
        },
    )


@pytest.mark.parametrize("disguise", ["same update", "other update ids"])
def test_a_charge_delivered_a_thousand_times_at_once_counts_once(house, alice, paid, disguise):
    bodies = [
        updates.body(paid if disguise == "same update" else {**paid, "update_id": 500_000_000 + number})
        for number in range(DELIVERIES)
    ]

    answers = post_all(house, bodies)

    assert set(answers) <= {200, 503}
    assert 200 in answers
    house.wait_for(lambda: confirmations(alice) == 1, "the confirmation")
    time.sleep(1)  # a second confirmation would come in this time
    assert confirmations(alice) == 1
    assert count(house, "payments_paymentevent", alice) == 1
    assert count(house, "entitlements_grant", alice) == 1
    assert house.rows(
        "SELECT active_until - latest_grant_at = interval '30 days', version FROM entitlements_entitlement e"
        " JOIN entitlements_customer c ON c.id = customer_id WHERE telegram_user_id = %s",
        alice.id,
    ) == [(True, 1)]


def post_all(house, bodies: list[bytes]) -> list[int]:
    headers = {SECRET_HEADER: settings.TELEGRAM_WEBHOOK_SECRETS[0]}
    limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)
    with (
        httpx.Client(base_url=house.url, headers=headers, limits=limits, timeout=60) as telegram,
        ThreadPoolExecutor(AT_ONCE) as threads,
    ):
        return [answer.status_code for answer in threads.map(lambda body: telegram.post(PATH, content=body), bodies)]


def confirmations(person) -> int:
    return sum(message.get("text", "").startswith("✅ Paid") for message in person.messages())


def count(house, table: str, person) -> int:
    [(rows,)] = house.rows(
        f"SELECT count(*) FROM {table} JOIN entitlements_customer customer ON customer.id = customer_id"
        " WHERE telegram_user_id = %s",
        person.id,
    )
    return rows
