"""Paying: who is asked, who may pay, what the bot hears of it."""

import asyncio
import threading

import pytest

from telegram_bot.sandbox.errors import BadRequest, NotPossible
from telegram_bot.sandbox.world import Options, World
from tests.sandbox.conftest import Reply, assert_shape, called, stars


def decline(update):
    query = update.get("pre_checkout_query")
    if query is None:
        return Reply()
    return called("answerPreCheckoutQuery", pre_checkout_query_id=query["id"], ok=False, error_message="Sold out.")


class TestAPayment:
    def test_is_approved_in_the_answer_of_the_webhook(self, telegram, api, hooked, alice):
        outcome = alice.pays(api.invoice(alice))
        telegram.wait_until_quiet()

        assert outcome.paid
        payment = hooked.updates()[-1]["message"]
        assert payment["from"]["id"] == alice.id
        assert payment["successful_payment"] == {
            "currency": "XTR",
            "total_amount": 500,
            "invoice_payload": "order 1",
            "telegram_payment_charge_id": outcome.charge.id,
            "provider_payment_charge_id": "",
        }

    def test_is_approved_by_a_call(self, api, alice):
        paying = alice.starts_paying(api.invoice(alice))
        query = api.client.get("getUpdates", params={"timeout": 5, "offset": 0}).json()["result"][-1]

        assert api.result("answerPreCheckoutQuery", pre_checkout_query_id=query["pre_checkout_query"]["id"], ok=True)
        assert paying.result().paid

    def test_asks_with_the_invoices_payload_and_price(self, api, hooked, alice):
        alice.pays(api.invoice(alice, amount=7, payload="order 7"))

        query = hooked.updates("pre_checkout_query")[0]["pre_checkout_query"]
        assert (query["invoice_payload"], query["total_amount"], query["currency"]) == ("order 7", 7, "XTR")
        assert query["from"]["id"] == alice.id

    def test_declined_shows_the_bots_sentence_and_takes_nothing(self, telegram, api, hooked, alice):
        hooked.answer = decline

        outcome = alice.pays(api.invoice(alice))

        assert (outcome.status, outcome.sentence, outcome.charge) == ("declined", "Sold out.", None)
        assert telegram.truth.charges == []
        assert telegram.truth.balance == 0

    def test_nobody_answers_takes_nothing(self, telegram, api, hooked, alice):
        hooked.answer = lambda update: Reply()

        paying = alice.starts_paying(api.invoice(alice))
        telegram.wait_until_quiet()
        telegram.advance(seconds=3)

        assert paying.result().status == "timed_out"
        assert telegram.truth.charges == []

    def test_has_ids_that_depend_on_letter_case(self, api, hooked, alice):
        charge_id = alice.pays(api.invoice(alice)).charge.id

        assert charge_id.startswith("stx")
        assert 110 <= len(charge_id) <= 131
        assert charge_id not in (charge_id.lower(), charge_id.upper())

    def test_in_pounds_goes_through_the_provider(self, telegram, api, hooked, alice):
        fiat = {"currency": "GBP", "provider_token": "1:TEST:2", "need_email": True}
        message = api.result("sendInvoice", chat_id=alice.id, **stars(amount=2500) | fiat)

        outcome = alice.pays(alice.opens(message_id=message["message_id"]))
        telegram.wait_until_quiet()

        payment = hooked.updates()[-1]["message"]["successful_payment"]
        assert outcome.paid
        assert (payment["currency"], payment["total_amount"]) == ("GBP", 2500)
        assert payment["order_info"] == {"email": f"{alice.id}@example.org"}
        assert payment["provider_payment_charge_id"].startswith("ch_")
        assert telegram.truth.transactions == []


class TestAPreCheckout:
    def ask(self, api, alice):
        paying = alice.starts_paying(api.invoice(alice))
        updates = api.result("getUpdates", timeout=5)
        query = next(one["pre_checkout_query"] for one in updates if "pre_checkout_query" in one)
        return paying, query["id"]

    def test_is_answered_once(self, api, alice):
        paying, query_id = self.ask(api, alice)
        api.result("answerPreCheckoutQuery", pre_checkout_query_id=query_id, ok=True)

        words = api.refusal("answerPreCheckoutQuery", pre_checkout_query_id=query_id, ok=True)

        assert words == "Bad Request: query is too old and response timeout expired or query ID is invalid"
        assert paying.result().paid

    def test_is_answered_in_time(self, telegram, api, alice):
        paying, query_id = self.ask(api, alice)
        telegram.advance(seconds=3)

        assert "query is too old" in api.refusal("answerPreCheckoutQuery", pre_checkout_query_id=query_id, ok=True)
        assert paying.result().status == "timed_out"
        assert telegram.truth.charges == []

    def test_is_not_answered_in_the_very_moment_its_time_is_over(self):
        async def in_one_moment() -> str:
            world = World(Options())
            alice = world.buyers.add("Alice")
            link = await world.methods.do("createInvoiceLink", stars())
            paying = asyncio.create_task(world.checkout.pay(world.buyers.invoice(alice, link=link), alice))
            await asyncio.sleep(0)
            world.clock.move_to(world.clock.now() + 10)
            with pytest.raises(BadRequest, match="query is too old"):
                world.checkout.answer(next(iter(world.truth.checkouts)), ok=True, error_message=None)
            return (await paying).status

        assert asyncio.run(in_one_moment()) == "timed_out"

    def test_is_declined_with_a_sentence(self, api, alice):
        paying, query_id = self.ask(api, alice)

        words = api.refusal("answerPreCheckoutQuery", pre_checkout_query_id=query_id, ok=False)
        api.result("answerPreCheckoutQuery", pre_checkout_query_id=query_id, ok=False, error_message="No.")

        assert words == "Bad Request: error message is empty"
        assert paying.result().sentence == "No."

    def test_waits_ten_seconds_unless_told_otherwise(self):
        assert Options().checkout_seconds == 10

    def test_still_arrives_late_so_that_its_answer_is_refused(self, telegram, api, receiver, alice):
        # The webhook is down while Alice pays: the query comes when it is up again, and is too old by then.
        api.result("setWebhook", url="http://127.0.0.1:9/hook")
        paying = alice.starts_paying(api.invoice(alice))
        telegram.advance(seconds=5)
        assert paying.result().status == "timed_out"

        api.result("setWebhook", url=receiver.url)
        telegram.wait_until_quiet()

        assert len(receiver.updates("pre_checkout_query")) == 1
        refused = telegram.truth.calls_of("answerPreCheckoutQuery")[0]
        assert (refused.via, refused.code) == ("webhook", 400)

    def test_goes_beside_the_persons_messages(self, telegram, api, hooked, alice):
        """Its queue is its own: a message that hangs does not keep the buyer waiting."""
        paid = threading.Event()
        hooked.answer = lambda update: paid.wait(60) and Reply() if "text" in update.get("message", {}) else called(
            "answerPreCheckoutQuery", pre_checkout_query_id=update["pre_checkout_query"]["id"], ok=True
        ) if "pre_checkout_query" in update else Reply()  # fmt: skip
        alice.says("slow")

        outcome = alice.pays(api.invoice(alice))
        paid.set()

        assert outcome.paid


class TestAnInvoice:
    def test_is_paid_twice_by_two_quick_taps(self, telegram, api, hooked, alice):
        invoice = api.invoice(alice)

        outcomes = [tap.result() for tap in [alice.starts_paying(invoice), alice.starts_paying(invoice)]]

        assert [outcome.paid for outcome in outcomes] == [True, True]
        assert outcomes[0].charge.id != outcomes[1].charge.id
        assert telegram.truth.balance == 1000

    def test_forwarded_is_paid_by_somebody_else(self, api, hooked, alice, bob):
        invoice = api.invoice(alice)
        alice.forwards(invoice, to=bob)

        outcome = bob.pays(invoice)

        assert outcome.paid
        assert hooked.updates("pre_checkout_query")[-1]["pre_checkout_query"]["from"]["id"] == bob.id

    def test_of_another_chat_cannot_be_paid_unseen(self, api, hooked, alice, bob):
        with pytest.raises(NotPossible, match="forward it first"):
            bob.pays(api.invoice(alice))

    def test_with_a_start_parameter_forwards_as_a_link_without_pay(self, api, hooked, alice, bob):
        invoice = api.invoice(alice, start_parameter="gold")
        alice.forwards(invoice, to=bob)

        with pytest.raises(NotPossible):
            bob.pays(invoice)

    def test_that_is_protected_cannot_be_forwarded(self, api, alice, bob):
        invoice = api.invoice(alice, protect_content=True)

        with pytest.raises(NotPossible, match="protected"):
            alice.forwards(invoice, to=bob)

    def test_by_link_is_paid_by_anybody_who_has_it(self, telegram, api, hooked, alice):
        carol = telegram.person("Carol")
        link = api.link(alice).link

        assert carol.pays(carol.opens(link)).paid
        # Paying is not writing: the bot still may not begin a conversation.
        assert "can't initiate" in api.refusal("sendMessage", chat_id=carol.id, text="Thank you")


class TestARefund:
    @pytest.fixture
    def charge(self, telegram, api, hooked, alice):
        charge = alice.pays(api.invoice(alice)).charge
        telegram.wait_until_quiet()
        return charge

    def refund(self, api, person, charge_id):
        return api("refundStarPayment", user_id=person.id, telegram_payment_charge_id=charge_id)

    def test_gives_the_stars_back(self, telegram, api, alice, charge):
        assert self.refund(api, alice, charge.id)["result"] is True

        assert telegram.truth.balance == 0
        assert [one.id for one in telegram.truth.refunds] == [charge.id]

    def test_is_told_in_a_message_the_bot_appears_to_send(self, telegram, api, hooked, alice, charge):
        self.refund(api, alice, charge.id)
        telegram.wait_until_quiet()

        message = hooked.updates()[-1]["message"]
        assert message["from"]["id"] == telegram.truth.bot.id
        assert message["from"]["is_bot"] is True
        assert message["chat"]["id"] == alice.id
        assert message["refunded_payment"]["telegram_payment_charge_id"] == charge.id

    def test_is_made_once(self, api, alice, charge):
        self.refund(api, alice, charge.id)

        assert self.refund(api, alice, charge.id)["description"] == "Bad Request: CHARGE_ALREADY_REFUNDED"

    def test_of_an_unknown_charge_is_refused(self, api, alice, charge):
        for unknown in (charge.id.lower(), charge.id + " ", "stx"):
            assert self.refund(api, alice, unknown)["description"] == "Bad Request: CHARGE_NOT_FOUND"

    def test_of_somebody_elses_charge_is_refused(self, api, bob, charge):
        assert self.refund(api, bob, charge.id)["description"] == "Bad Request: CHARGE_NOT_FOUND"

    def test_leaves_a_second_row_with_the_same_id(self, api, alice, charge):
        self.refund(api, alice, charge.id)

        paid, refunded = api.result("getStarTransactions")["transactions"]
        assert paid["id"] == refunded["id"] == charge.id
        assert paid["source"]["user"]["id"] == refunded["receiver"]["user"]["id"] == alice.id
        assert "receiver" not in paid
        assert "source" not in refunded


class TestTheListOfTransactions:
    @pytest.fixture
    def charges(self, api, hooked, alice):
        return [alice.pays(api.invoice(alice, amount=amount)).charge for amount in (1, 2, 3, 4, 5)]

    def ids(self, api, **page):
        answer = api.result("getStarTransactions", **page)
        assert_shape("StarTransactions", answer)
        return [row["id"] for row in answer["transactions"]]

    def test_is_oldest_first(self, api, charges):
        assert self.ids(api) == [charge.id for charge in charges]

    def test_is_read_from_a_count_on(self, api, charges):
        assert self.ids(api, offset=2, limit=2) == [charge.id for charge in charges[2:4]]
        assert self.ids(api, offset=5) == []

    @pytest.mark.parametrize("page", [{"limit": 0}, {"limit": 101}, {"offset": -1}])
    def test_has_pages_of_at_most_a_hundred(self, api, page):
        assert "Bad Request" in api.refusal("getStarTransactions", **page)

    def test_adds_up_to_the_balance(self, telegram, api, charges):
        telegram.adds_transaction(
            {"id": "out", "amount": 5, "nanostar_amount": 1, "date": 1, "receiver": {"type": "fragment"}}
        )

        answer = api.result("getMyStarBalance")
        assert_shape("StarAmount", answer)
        assert answer == {"amount": 9, "nanostar_amount": 999_999_999}

    def test_takes_no_row_that_telegram_could_not_write(self, telegram):
        with pytest.raises(ValueError, match="lacks date"):
            telegram.adds_transaction({"id": "out", "amount": 5})
        with pytest.raises(ValueError, match="source or a receiver"):
            telegram.adds_transaction({"id": "out", "amount": 5, "date": 1})
