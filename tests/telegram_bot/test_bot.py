"""Conversations with the bot, as people have them: over a local Telegram, in English and in Russian."""

from datetime import timedelta

import httpx
import pytest
from django.utils import timezone

from config.database import database_now
from entitlements.models import Customer
from entitlements.services import grant
from payments.models import Invoice, InvoiceStatus, PaymentEvent, PaymentMethod, Plan
from payments.money import Money
from tests import updates
from tests.factories import PlanFactory

pytestmark = pytest.mark.usefixtures("local_telegram")

GREETING = {"en": "Hello, Alice!", "ru": "Здравствуйте, Alice!"}


@pytest.fixture
def gold(transactional_db):
    """Gold for a month, sold for Stars alone."""
    return PlanFactory(prices=[Money(500, "XTR")])


@pytest.fixture
def silver(transactional_db):
    """Silver, sold for Stars or by card."""
    return PlanFactory(code="silver_3m", title="Silver, 3 months", entitlement="silver", duration_days=90)


@pytest.fixture(autouse=True)
def card_payments(settings):
    settings.TELEGRAM_PAYMENT_PROVIDER_TOKEN = "284685063:TEST:abc"


@pytest.fixture(params=["en", "ru"])
def language(request):
    return request.param


@pytest.fixture
def alice(local_telegram):
    return local_telegram.person("Alice", language_code="en")


@pytest.fixture
def someone(local_telegram, language):
    """Alice, who speaks one of our languages."""
    return local_telegram.person("Alice", language_code=language)


def says(shop, person, text):
    """What the bot answers: the text of its last message."""
    person.says(text)
    shop.works()
    return person.messages()[-1].get("text", "")


def presses(shop, person, label):
    """Press a button and see what it leads to: the window above the chat, or "" when there is none."""
    pressed = person.presses(label)
    shop.works()
    return person.answer_to(pressed).get("text", "")


def buttons(person):
    markup = person.messages()[-1].get("reply_markup", {"inline_keyboard": []})
    return [button["text"] for row in markup["inline_keyboard"] for button in row]


class TestEveryCommand:
    @pytest.mark.parametrize(
        ("command", "english", "russian"),
        [
            ("/start", "Hello, Alice!", "Здравствуйте, Alice!"),
            ("/help", "This is what I can do:", "Вот что я умею:"),
            ("/plans", "Choose a plan:", "Выберите тариф:"),
            ("/buy", "Choose a plan:", "Выберите тариф:"),
            ("/buy nonsense", "There is no such plan on sale.", "Такого тарифа в продаже нет."),
            ("/status", "You have nothing yet.", "У вас пока ничего нет."),
            ("/history", "You have not paid for anything yet.", "Вы пока ничего не оплачивали."),
            ("/reminders", "I remind you before a subscription", "Я напоминаю вам, прежде чем подписка"),
            ("/paysupport", "Trouble with a payment?", "Что-то не так с оплатой?"),
            ("/support", "Something does not work", "Что-то не работает"),
            ("/terms", "Terms of sale", "Условия продажи"),
            ("/unheard_of", "I do not know that command.", "Я не знаю такой команды."),
            ("hello", "I understand commands and buttons only.", "Я понимаю только команды и кнопки."),
        ],
    )
    def test_is_answered_in_the_persons_language(self, shop, gold, someone, language, command, english, russian):
        assert {"en": english, "ru": russian}[language] in says(shop, someone, command)

    def test_may_name_the_bot_and_be_written_large(self, shop, gold, alice):
        assert says(shop, alice, "/PLANS@local_shop_bot") == "Choose a plan:"

    def test_makes_whoever_gives_it_a_customer_with_his_names(self, shop, local_telegram):
        bob = local_telegram.person("Bob", last_name="Builder", username="bob_b", language_code="ru")
        says(shop, bob, "/start")

        customer = Customer.objects.get(telegram_user_id=bob.id)
        assert (customer.display_name, customer.username, customer.language_code) == ("Bob Builder", "bob_b", "ru")

    def test_that_help_lists_is_known(self, shop, gold, alice):
        listed = [word for word in says(shop, alice, "/help").split() if word.startswith("/")]

        answers = {command: says(shop, alice, command) for command in listed}
        assert len(listed) == 9
        assert [command for command, answer in answers.items() if "do not know" in answer] == []


class TestTheListOfPlans:
    def test_shows_each_plan_with_its_first_price(self, shop, gold, silver, alice):
        says(shop, alice, "/plans")

        assert buttons(alice) == ["Gold, 1 month · 500 ⭐", "Silver, 3 months · 500 ⭐"]

    def test_leads_to_the_plans_card_and_back_in_the_same_message(self, shop, gold, silver, alice):
        says(shop, alice, "/plans")
        presses(shop, alice, "Silver")
        card = alice.messages()[-1]["text"]
        ways_to_pay = buttons(alice)
        presses(shop, alice, "« All plans")

        assert card == "Silver, 3 months\n\nSignals and three devices.\n\nAccess for 90 days."
        assert ways_to_pay == ["Pay 500 ⭐", "Pay £25.00 by card", "« All plans"]
        assert alice.messages()[-1]["text"] == "Choose a plan:"
        assert len(alice.messages()) == 2

    def test_speaks_russian_all_the_way(self, shop, silver, local_telegram):
        boris = local_telegram.person("Борис", language_code="ru")
        says(shop, boris, "/plans")
        presses(shop, boris, "Silver")

        assert boris.messages()[-1]["text"].endswith("Доступ на 90 дней.")
        assert buttons(boris) == ["Заплатить 500 ⭐", "Заплатить 25,00\N{NO-BREAK SPACE}£ картой", "« Все тарифы"]

    def test_is_turned_page_by_page_when_it_is_long(self, shop, transactional_db, alice):
        for number in range(1, 20):
            PlanFactory(code=f"plan_{number:02}", title=f"Plan {number:02}", prices=[Money(number, "XTR")])
        says(shop, alice, "/plans")
        pages = [buttons(alice)]
        for _ in range(2):
            presses(shop, alice, "»")
            pages.append(buttons(alice))

        assert [page[-1] for page in pages] == ["»", "»", "«"]
        assert [page[0] for page in pages] == ["Plan 01 · 1 ⭐", "Plan 09 · 9 ⭐", "Plan 17 · 17 ⭐"]

    def test_leaves_out_what_was_withdrawn_and_what_has_no_price_here(self, shop, gold, alice):
        PlanFactory(code="old", title="Old", withdrawn_at=timezone.now(), prices=[Money(1, "XTR")])
        PlanFactory(code="free", title="Free", prices=[])
        says(shop, alice, "/plans")

        assert buttons(alice) == ["Gold, 1 month · 500 ⭐"]

    def test_that_is_empty_says_so(self, shop, alice):
        assert says(shop, alice, "/plans").startswith("Nothing is on sale at the moment.")


class TestBuying:
    def test_with_one_way_to_pay_sends_the_invoice_at_once(self, shop, gold, alice):
        alice.says("/buy gold_1m")
        shop.works()

        invoice = alice.last_invoice()
        assert (invoice.title, invoice.currency, invoice.total_amount) == ("Gold, 1 month", "XTR", 500)
        assert Invoice.objects.get().status == InvoiceStatus.SENT
        assert Invoice.objects.get().payload == invoice.payload

    def test_with_several_ways_asks_which(self, shop, silver, alice):
        says(shop, alice, "/buy SILVER_3M")

        assert buttons(alice) == ["Pay 500 ⭐", "Pay £25.00 by card", "« All plans"]
        assert not Invoice.objects.exists()

    @pytest.mark.parametrize(
        ("label", "method", "currency", "amount"),
        [
            ("Pay 500 ⭐", PaymentMethod.TELEGRAM_STARS, "XTR", 500),
            ("Pay £25.00 by card", PaymentMethod.TELEGRAM_PROVIDER, "GBP", 2500),
        ],
    )
    def test_by_the_chosen_way_sends_its_invoice(self, shop, silver, alice, label, method, currency, amount):
        says(shop, alice, "/buy silver_3m")
        assert presses(shop, alice, label) == ""

        sent = alice.last_invoice()
        assert (sent.currency, sent.total_amount) == (currency, amount)
        assert Invoice.objects.get().payment_method == method

    def test_by_a_link_to_the_bot_leads_straight_to_the_plan(self, shop, gold, alice):
        alice.says("/start buy_gold_1m")
        shop.works()

        assert alice.last_invoice().total_amount == 500

    def test_takes_the_price_from_the_catalogue_and_not_from_the_button(self, shop, gold, alice):
        says(shop, alice, "/plans")
        presses(shop, alice, "Gold")
        gold.prices.update(amount=900)
        presses(shop, alice, "Pay 500 ⭐")

        assert alice.last_invoice().total_amount == 900

    def test_a_plan_that_renews_sends_a_button_with_the_link(self, shop, transactional_db, alice):
        PlanFactory(code="gold_sub", recurring=True, prices=[Money(400, "XTR")])
        answer = says(shop, alice, "/buy gold_sub")

        assert answer == "Gold, 1 month for 400 ⭐, renewed by itself until you cancel it."
        assert alice.presses("Pay 400 ⭐").invoice.subscription_period == 2_592_000


class TestARefusal:
    @pytest.fixture
    def customer(self, shop, alice):
        says(shop, alice, "/start")
        return Customer.objects.get(telegram_user_id=alice.id)

    def test_because_it_is_active_names_the_end_and_what_to_do(self, shop, gold, alice, customer):
        now = database_now()
        grant(customer=customer, entitlement="gold", source="staff:1", granted_at=now, duration=timedelta(days=3))
        end = now + timedelta(days=3)

        answer = says(shop, alice, "/buy gold_1m")

        assert answer.startswith("You already have this until ")
        assert f"{end.day} {end:%B %Y, %H:%M} UTC" in answer
        assert "/status" in answer

    def test_because_it_is_his_for_life_says_that_nothing_is_to_pay(self, shop, gold, alice, customer):
        grant(customer=customer, entitlement="gold", source="staff:1", granted_at=database_now())

        assert says(shop, alice, "/buy gold_1m") == "You already have this for life. There is nothing more to pay."

    def test_because_he_is_blocked_points_to_support(self, shop, gold, alice, customer):
        Customer.objects.update(blocked_at=database_now())

        assert says(shop, alice, "/buy gold_1m") == "This account cannot buy here. Send /support to ask why."
        assert says(shop, alice, "/terms").startswith("Terms of sale")

    def test_because_sales_are_paused_says_that_access_stays(self, shop, gold, alice, settings):
        settings.TELEGRAM_PAYMENT_ENABLED = False

        assert says(shop, alice, "/buy gold_1m").startswith("Sales are paused. What you have keeps working.")

    def test_because_of_too_many_attempts_says_when_to_come_again(self, shop, gold, alice):
        answers = [says(shop, alice, "/buy gold_1m") for _ in range(6)]

        assert answers[:5] == [""] * 5
        assert answers[5].startswith("That was a lot of invoices at once. Please try again in ")
        assert Invoice.objects.count() == 5

    def test_because_telegram_is_busy_says_when_to_come_again(self, shop, gold, alice, local_telegram):
        local_telegram.faults.order("sendInvoice", "429", retry_after=9)

        answer = says(shop, alice, "/buy gold_1m")

        assert answer == "The invoice could not be made just now. Please try again in 9 seconds."
        assert Invoice.objects.get().status == InvoiceStatus.VOID

    def test_because_telegram_refuses_the_invoice_names_a_way_on(self, shop, gold, alice, local_telegram):
        local_telegram.faults.order("sendInvoice", "refuse", description="CURRENCY_TOTAL_AMOUNT_INVALID")

        assert says(shop, alice, "/buy gold_1m").startswith("This plan cannot be paid that way just now.")

    def test_of_a_pressed_button_is_a_window_above_the_chat(self, shop, silver, alice, local_telegram):
        says(shop, alice, "/buy silver_3m")
        Plan.objects.update(withdrawn_at=timezone.now())
        pressed = alice.presses("Pay 500 ⭐")
        shop.works()

        answer = alice.answer_to(pressed)
        assert answer["text"] == "There is no such plan on sale. Send /plans to see those there are."
        assert answer["show_alert"] is True
        assert len(alice.messages()) == 2


class TestAButton:
    def test_that_somebody_made_up_does_nothing(self, shop, gold, alice, local_telegram):
        query = {"id": "q", "from": updates.person(alice.id), "chat_instance": "1", "data": "buy:gold_1m:sXTR:1"}
        shop.is_told({"update_id": 1, "callback_query": query})

        assert not Invoice.objects.exists()
        (call,) = local_telegram.truth.calls_of("answerCallbackQuery")
        assert call.arguments["text"] == "This button is out of date. Send /plans to choose anew."

    def test_of_a_withdrawn_plan_shows_the_others(self, shop, gold, silver, alice):
        says(shop, alice, "/plans")
        Plan.objects.filter(code="silver_3m").update(withdrawn_at=timezone.now())
        presses(shop, alice, "Silver")

        assert alice.messages()[-1]["text"] == "Choose a plan:"
        assert buttons(alice) == ["Gold, 1 month · 500 ⭐"]

    def test_under_a_message_that_is_gone_is_answered_in_a_new_one(self, shop, gold, alice, local_telegram):
        says(shop, alice, "/plans")
        alice.presses("Gold")
        httpx.post(
            f"{local_telegram.base_url}/bot{local_telegram.token}/deleteMessage",
            json={"chat_id": alice.id, "message_id": alice.messages()[-1]["message_id"]},
        )
        shop.works()

        assert alice.messages()[-1]["text"].startswith("Gold, 1 month")
        assert buttons(alice) == ["Pay 500 ⭐", "« All plans"]


class TestAGroup:
    def update(self, alice, text):
        update = updates.message(alice.id, text=text)
        update["message"]["chat"] = {"id": -100, "type": "group", "title": "Friends"}
        return update

    def test_is_asked_to_come_to_a_private_chat(self, shop, gold, alice, local_telegram):
        shop.is_told(self.update(alice, "/buy gold_1m"))

        (call,) = local_telegram.truth.calls_of("sendMessage")
        assert int(call.arguments["chat_id"]) == -100
        assert call.arguments["text"].startswith("I sell in private chats only.")
        assert not Invoice.objects.exists()

    def test_may_talk_without_being_interrupted(self, shop, gold, alice, local_telegram):
        shop.is_told(self.update(alice, "what do you think?"))

        assert local_telegram.truth.calls_of("sendMessage") == []

    def test_cannot_press_anothers_buttons(self, shop, gold, alice, local_telegram):
        shop.is_told(
            {
                "update_id": 1,
                "callback_query": {
                    "id": "q",
                    "from": updates.person(alice.id),
                    "chat_instance": "1",
                    "data": "buy:gold_1m:sXTR",
                    "message": self.update(alice, "Gold")["message"],
                },
            }
        )

        assert not Invoice.objects.exists()


class TestWhoBlockedTheBot:
    def test_is_left_alone_and_his_update_is_done(self, shop, gold, alice, logged):
        alice.says("/plans")
        alice.blocks()
        shop.works()

        assert [line for line in logged if line["event"] == "nobody there to answer to"]
        assert [line for line in logged if line["log_level"] == "error"] == []

    def test_and_starts_it_again_is_served_again(self, shop, gold, alice):
        says(shop, alice, "/start")
        alice.blocks()
        alice.unblocks()

        assert says(shop, alice, "/plans") == "Choose a plan:"


class TestStatusAndHistory:
    def test_5_6_show_what_was_bought_and_paid(self, shop, gold, alice):
        alice.says("/buy gold_1m")
        shop.works()
        paying = alice.starts_paying(alice.last_invoice())
        alice_pays(shop, paying)

        status, history = says(shop, alice, "/status"), says(shop, alice, "/history")
        payment = PaymentEvent.objects.get()
        assert status.startswith("✅ Gold, 1 month: until ")
        assert "Gold, 1 month · 500 ⭐ · paid" in history
        assert f"No. {payment.pk}" in history

    def test_tell_what_is_over(self, shop, gold, alice):
        says(shop, alice, "/start")
        long_ago = database_now() - timedelta(days=60)
        grant(
            customer=Customer.objects.get(),
            entitlement="gold",
            plan_code="gold_1m",
            source="staff:1",
            granted_at=long_ago,
            duration=timedelta(days=30),
        )

        assert says(shop, alice, "/status").startswith("▫️ Gold, 1 month: ended ")

    def test_name_what_no_plan_gives_any_more_by_its_code(self, shop, alice):
        says(shop, alice, "/start")
        grant(customer=Customer.objects.get(), entitlement="vip", source="staff:1", granted_at=database_now())

        assert says(shop, alice, "/status") == "✅ vip: for life"

    def test_show_the_latest_ten_payments(self, shop, alice, transactional_db):
        PlanFactory(code="hour", title="Hour", when_active="extend", prices=[Money(1, "XTR")])
        for _ in range(4):
            alice.says("/buy hour")
            shop.works()
            alice_pays(shop, *(alice.starts_paying(alice.last_invoice()) for _ in range(3)))

        assert PaymentEvent.objects.count() == 12
        assert says(shop, alice, "/history").count("No. ") == 10

    @pytest.mark.parametrize(("language", "word"), [("en", "returned"), ("ru", "возвращён")])
    def test_tell_of_a_payment_that_was_returned(self, shop, gold, local_telegram, language, word):
        someone = local_telegram.person("Alice", language_code=language)
        someone.says("/buy gold_1m")
        shop.works()
        alice_pays(shop, someone.starts_paying(someone.last_invoice()))
        returns(local_telegram, someone)
        shop.works()

        assert says(shop, someone, "/history").splitlines()[2].endswith(word)
        assert not says(shop, someone, "/status").startswith("✅")


def alice_pays(shop, *payings):
    """Let the shop work until the payments have gone through or not."""
    while not all(paying.done() for paying in payings):
        shop.works()
    shop.works()
    return [paying.result() for paying in payings]


def returns(local_telegram, person):
    """Somebody gives a person's last payment back."""
    answer = httpx.post(
        f"{local_telegram.base_url}/bot{local_telegram.token}/refundStarPayment",
        json={"user_id": person.id, "telegram_payment_charge_id": person.charges()[-1].id},
    )
    answer.raise_for_status()
