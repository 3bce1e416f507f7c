"""A payment travels the whole way, from /buy to access, over HTTP and through real processes."""

import json

import httpx
import pytest

pytestmark = pytest.mark.xdist_group("house")


class TestABuyer:
    def test_buys_in_the_chat_and_a_program_sees_the_access_at_once(self, house, alice):
        """3.1-3.3, 3.8, 5.4, 5.6"""
        program = house.program("entitlements:read")
        asks_to_buy(alice, "gold_1m")

        outcome = alice.pays(alice.last_invoice())

        assert outcome.paid
        house.wait_for(lambda: active(program, alice) is not None, "the access")
        assert "Gold" in alice.hears("Gold")["text"]
        mine = house.sign_in(alice).get("/api/v1/me/entitlements").json()["entitlements"]
        assert [(each["entitlement"], each["plan_code"], each["active"]) for each in mine] == [
            ("gold", "gold_1m", True)
        ]

    def test_buys_by_the_api_and_the_invoice_stands_in_the_chat(self, house, alice):
        """1.1-1.3, 1.9, 1.10"""
        alice.says("/start")
        alice.hears()
        sent_before = house.metric("telegram_payments_total", result="sent", plan_code="gold_1m")

        answer = house.sign_in(alice).post("/api/v1/telegram/payment/send-invoice", json={"plan_code": "gold_1m"})

        assert answer.status_code == 200
        assert (answer.json()["amount"], answer.json()["currency"]) == (500, "XTR")
        assert alice.last_invoice().total_amount == 500
        assert house.metric("telegram_payments_total", result="sent", plan_code="gold_1m") == sent_before + 1

    def test_who_never_started_the_bot_is_told_to_ask_for_a_link(self, house, alice):
        buyer = house.sign_in(alice)

        refused = buyer.post("/api/v1/telegram/payment/send-invoice", json={"plan_code": "gold_1m"})
        link = buyer.post(
            "/api/v1/telegram/payment/send-invoice", json={"plan_code": "gold_1m", "delivery": "link"}
        ).json()["invoice_link"]

        assert (refused.status_code, refused.json()["code"]) == (409, "chat_unavailable")
        assert alice.pays(alice.opens(link)).paid

    def test_cannot_pay_an_invoice_that_was_quoted_to_another(self, house, alice, bob):
        """2.6, 4.5"""
        asks_to_buy(alice, "gold_1m")
        invoice = alice.last_invoice()
        alice.forwards(invoice, to=bob)

        outcome = bob.pays(invoice)

        assert outcome.status == "declined"
        assert "/buy" in outcome.sentence
        assert not bob.charges()

    def test_cannot_buy_twice_what_is_sold_once(self, house, alice):
        """1.5"""
        buyer = house.sign_in(alice)
        alice.says("/start")
        alice.hears()
        buyer.post("/api/v1/telegram/payment/send-invoice", json={"plan_code": "gold_1m"}).raise_for_status()
        assert alice.pays(alice.last_invoice()).paid
        house.wait_for(lambda: active_mine(buyer), "the access")

        second = buyer.post("/api/v1/telegram/payment/send-invoice", json={"plan_code": "gold_1m"})

        assert (second.status_code, second.json()["code"]) == (409, "already_active")

    def test_paying_one_invoice_twice_at_once_is_charged_once_or_given_back(self, house, alice):
        asks_to_buy(alice, "gold_1m")
        invoice = alice.last_invoice()

        outcomes = [paying.result() for paying in [alice.starts_paying(invoice), alice.starts_paying(invoice)]]

        charges = [outcome.charge for outcome in outcomes if outcome.paid]
        returned = charges[1:]
        house.wait_for(lambda: len(events_of(house, alice)) == len(charges) + len(returned), "the payments")
        statuses = [status for status, _ in events_of(house, alice)]
        assert statuses == ["processed", "held", "processed"][: len(statuses)]
        assert sum(charge.refunded_at is not None for charge in alice.charges()) == len(returned)

    def test_is_told_of_a_refund_and_loses_exactly_that_access(self, house, alice):
        asks_to_buy(alice, "gold_1m")
        charge = alice.pays(alice.last_invoice()).charge
        buyer = house.sign_in(alice)
        house.wait_for(lambda: active_mine(buyer), "the access")

        httpx.post(
            f"{house.telegram.base_url}/bot{house.telegram.token}/refundStarPayment",
            json={"user_id": alice.id, "telegram_payment_charge_id": charge.id},
        ).raise_for_status()

        house.wait_for(lambda: not active_mine(buyer), "the end of the access")
        house.wait_for(
            lambda: any("Returned" in message.get("text", "") for message in alice.messages()), "the message"
        )

    def test_reads_russian_in_russian(self, house):
        pavel = house.telegram.person("Павел", language_code="ru")

        pavel.says("/help")

        assert any("а" <= letter <= "я" for letter in pavel.hears()["text"])


class TestTelegramDeliversAgain:
    def test_after_the_web_server_was_killed(self, house, alice):
        asks_to_buy(alice, "gold_1m")
        invoice = alice.last_invoice()
        house.telegram.faults.updates(unheard=2, kind="successful_payment")
        assert alice.pays(invoice).paid

        house.kill("serve")
        house.restart_web()

        house.wait_for(lambda: events_of(house, alice) == [("processed", "gold_1m")], "the payment")
        house.wait_for(lambda: len(confirmations(alice)) == 1, "the confirmation")

    def test_the_same_payment_under_other_ids_and_nothing_changes(self, house, alice):
        house.telegram.faults.updates(duplicate=3)
        asks_to_buy(alice, "silver_3m")
        assert alice.pays(alice.last_invoice()).paid

        house.wait_for(lambda: len(confirmations(alice)) == 1, "the confirmation")
        assert events_of(house, alice) == [("processed", "silver_3m")]


def test_every_answer_to_telegram_is_empty_or_one_answer_to_a_checkout(house):
    """T16"""
    for delivery in house.telegram.truth.deliveries:
        if delivery.status == 200 and delivery.reply:
            answer = json.loads(delivery.reply)
            assert answer["method"] == "answerPreCheckoutQuery"
            assert set(answer) <= {"method", "pre_checkout_query_id", "ok", "error_message"}
        else:
            assert delivery.status in {200, 503, None}


def asks_to_buy(person, plan_code: str) -> None:
    """Asks for the plan and chooses Stars."""
    person.says(f"/buy {plan_code}")
    person.hears()
    person.presses("⭐")


def active(program: httpx.Client, person) -> object:
    answer = program.post("/api/v1/entitlements/check", json={"entitlement": "gold", "user_ids": [str(person.id)]})
    return answer.raise_for_status().json()["active"].get(str(person.id))


def active_mine(buyer: httpx.Client) -> bool:
    mine = buyer.get("/api/v1/me/entitlements").raise_for_status().json()["entitlements"]
    return any(each["active"] for each in mine)


def events_of(house, person) -> list[tuple[str, str]]:
    return house.rows(
        """SELECT status, plan_id FROM payments_paymentevent JOIN entitlements_customer customer
           ON customer.id = customer_id WHERE telegram_user_id = %s ORDER BY received_at, payments_paymentevent.id""",
        person.id,
    )


def confirmations(person) -> list[dict]:
    return [message for message in person.messages() if message.get("text", "").startswith("✅ Paid")]
