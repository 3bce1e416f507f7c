"""What a bot may write, and to whom."""

import pytest

from tests.sandbox.conftest import assert_shape, stars


class TestWhomABotMayWriteTo:
    def test_not_to_somebody_who_never_wrote(self, telegram, api):
        carol = telegram.person("Carol")

        answer = api("sendMessage", chat_id=carol.id, text="Hi")

        assert answer["error_code"] == 403
        assert answer["description"] == "Forbidden: bot can't initiate conversation with a user"

    def test_not_to_somebody_who_blocked_it(self, api, alice):
        alice.blocks()

        assert api.refusal("sendMessage", chat_id=alice.id, text="Hi") == "Forbidden: bot was blocked by the user"

    def test_again_after_they_unblocked_it(self, api, alice):
        alice.blocks()
        alice.unblocks()

        assert api("sendMessage", chat_id=alice.id, text="Hi")["ok"]

    @pytest.mark.parametrize("chat_id", [4, "@nobody"])
    def test_not_to_a_chat_there_is_not(self, api, chat_id):
        assert api.refusal("sendMessage", chat_id=chat_id, text="Hi") == "Bad Request: chat not found"


class TestText:
    def test_is_shown_as_a_message_of_the_bot_api(self, api, alice):
        assert_shape("Message", api.result("sendMessage", chat_id=alice.id, text="See https://example.org or /buy"))

    def test_in_html_becomes_text_and_entities(self, api, alice):
        source = 'A 😀 <b>bold <i>and</i></b> &lt;plain&gt; <a href="https://example.org/?a&amp;b">link</a>'
        message = api.result("sendMessage", chat_id=alice.id, text=source, parse_mode="HTML")

        assert message["text"] == "A 😀 bold and <plain> link"
        assert message["entities"] == [
            {"type": "bold", "offset": 5, "length": 8},
            {"type": "italic", "offset": 10, "length": 3},
            {"type": "text_link", "offset": 22, "length": 4, "url": "https://example.org/?a&b"},
        ]

    @pytest.mark.parametrize(
        ("source", "words"),
        [
            ("1 < 2", "Unclosed start tag at byte offset 2"),
            ("<blink>x</blink>", 'Unsupported start tag "blink" at byte offset 0'),
            ("é<b>x</i>", 'Unmatched end tag at byte offset 6, expected "</b>", found "</i>"'),
            ("<b>x", 'Can\'t find end tag corresponding to start tag "b"'),
            ("x</b>", "Unexpected end tag at byte offset 1"),
        ],
    )
    def test_in_wrong_html_is_refused(self, api, alice, source, words):
        answer = api.refusal("sendMessage", chat_id=alice.id, text=source, parse_mode="HTML")

        assert answer == f"Bad Request: can't parse entities: {words}"

    def test_in_another_parse_mode_is_refused_rather_than_shown_wrong(self, api, alice):
        assert "understands HTML" in api.refusal("sendMessage", chat_id=alice.id, text="*x*", parse_mode="MarkdownV2")

    @pytest.mark.parametrize(("text", "words"), [(" ", "message text is empty"), ("x" * 4097, "message is too long")])
    def test_has_a_length(self, api, alice, text, words):
        assert api.refusal("sendMessage", chat_id=alice.id, text=text) == f"Bad Request: {words}"

    def test_may_answer_a_message(self, api, alice):
        asked = alice.says("Where is my key?")
        reply = {"message_id": asked["message_id"]}
        message = api.result("sendMessage", chat_id=alice.id, text="Here", reply_parameters=reply)

        assert message["reply_to_message"]["text"] == "Where is my key?"
        assert_shape("Message", message)

    def test_cannot_answer_a_message_there_is_not(self, api, alice):
        words = api.refusal("sendMessage", chat_id=alice.id, text="Here", reply_parameters={"message_id": 999})

        assert words == "Bad Request: message to be replied not found"


class TestButtons:
    def send(self, api, alice, *buttons):
        return api("sendMessage", chat_id=alice.id, text="Choose", reply_markup={"inline_keyboard": [list(buttons)]})

    @pytest.mark.parametrize(
        ("button", "words"),
        [
            ({"text": "x", "callback_data": "y" * 65}, "BUTTON_DATA_INVALID"),
            ({"text": "x", "callback_data": "ё" * 33}, "BUTTON_DATA_INVALID"),
            ({"text": "x", "callback_data": ""}, "BUTTON_DATA_INVALID"),
            ({"text": "x", "url": "here"}, "inline keyboard button URL 'here' is invalid: Wrong HTTP URL"),
            ({"text": "x", "pay": True}, "BUTTON_TYPE_INVALID"),
            ({"text": "x"}, "can't parse inline keyboard button: exactly one kind of button must be chosen"),
        ],
    )  # fmt: skip
    def test_have_their_limits(self, api, alice, button, words):
        assert self.send(api, alice, button)["description"] == f"Bad Request: {words}"

    def test_hold_64_bytes(self, api, alice):
        assert self.send(api, alice, {"text": "x", "callback_data": "ё" * 32})["ok"]

    def test_of_an_invoice_begin_with_pay(self, api, alice):
        pay, more = {"text": "Pay ★500", "pay": True}, {"text": "Terms", "callback_data": "terms"}

        def send(*row):
            return api("sendInvoice", chat_id=alice.id, **stars(), reply_markup={"inline_keyboard": [list(row)]})

        assert send(pay, more)["ok"]
        assert send(more, pay)["description"] == "Bad Request: REPLY_MARKUP_BUY_EMPTY"

    def test_ask_the_bot_when_pressed(self, api, alice):
        self.send(api, alice, {"text": "Gold", "callback_data": "gold"})
        pressed = alice.presses("Gold")

        query = api.updates()[-1]["callback_query"]
        assert (query["data"], query["from"]["id"], query["message"]["text"]) == ("gold", alice.id, "Choose")
        assert api("answerCallbackQuery", callback_query_id=query["id"], text="Done")["ok"]
        assert alice.answer_to(pressed) == {"text": "Done"}

    def test_are_answered_once(self, api, alice):
        self.send(api, alice, {"text": "Gold", "callback_data": "gold"})
        query_id = alice.presses("Gold").query.id
        api.result("answerCallbackQuery", callback_query_id=query_id)

        words = api.refusal("answerCallbackQuery", callback_query_id=query_id)
        assert words.startswith("Bad Request: query is too old")

    def test_cannot_be_answered_late(self, telegram, api, alice):
        self.send(api, alice, {"text": "Gold", "callback_data": "gold"})
        query_id = alice.presses("Gold").query.id
        telegram.advance(seconds=151)

        assert "query is too old" in api.refusal("answerCallbackQuery", callback_query_id=query_id)

    def test_that_are_not_there_cannot_be_pressed(self, api, alice):
        self.send(api, alice, {"text": "Gold", "callback_data": "gold"})

        with pytest.raises(LookupError, match=r"no button 'Silver' among \['Gold'\]"):
            alice.presses("Silver")

    def test_with_an_invoice_link_open_the_invoice(self, api, alice):
        link = api.link(alice)
        self.send(api, alice, {"text": "Subscribe", "url": link.link})

        assert alice.presses("Subscribe").invoice == link

    def test_under_the_input_are_shown_until_they_are_removed(self, telegram, api, alice):
        keyboard = {"keyboard": [[{"text": "/plans"}]]}
        message = api.result("sendMessage", chat_id=alice.id, text="Hi", reply_markup=keyboard)
        assert "reply_markup" not in message

        shown = api.client.get(f"{telegram.base_url}/local/state?person={alice.id}").json()["chat"]["keyboard"]
        assert shown == keyboard
        api.result("sendMessage", chat_id=alice.id, text="Hi", reply_markup={"remove_keyboard": True})
        gone = api.client.get(f"{telegram.base_url}/local/state?person={alice.id}").json()["chat"]["keyboard"]
        assert gone is None


class TestEditing:
    @pytest.fixture
    def message(self, api, alice):
        markup = {"inline_keyboard": [[{"text": "Gold", "callback_data": "gold"}]]}
        return api.result("sendMessage", chat_id=alice.id, text="Choose", reply_markup=markup)

    def edit(self, api, message, **changes):
        return api("editMessageText", chat_id=message["chat"]["id"], message_id=message["message_id"], **changes)

    def test_replaces_text_and_buttons(self, api, alice, message):
        edited = self.edit(api, message, text="Chosen")["result"]

        assert edited["text"] == "Chosen"
        assert "reply_markup" not in edited
        assert_shape("Message", edited)
        assert alice.hears("Chosen")["message_id"] == message["message_id"]

    def test_to_the_same_is_refused(self, api, message):
        answer = self.edit(api, message, text="Choose", reply_markup=message["reply_markup"])

        assert answer["description"].startswith("Bad Request: message is not modified")

    def test_of_a_message_there_is_not_is_refused(self, api, message):
        answer = self.edit(api, message | {"message_id": 999}, text="x")

        assert answer["description"] == "Bad Request: message to edit not found"

    def test_of_somebody_elses_message_is_refused(self, api, alice, message):
        said = alice.says("mine")

        assert self.edit(api, said, text="x")["description"] == "Bad Request: message can't be edited"

    def test_of_buttons_alone_leaves_the_text(self, api, alice, message):
        edited = api.result("editMessageReplyMarkup", chat_id=alice.id, message_id=message["message_id"])

        assert edited["text"] == "Choose"
        assert "reply_markup" not in edited

    def test_by_deleting_happens_once(self, api, alice, message):
        where = {"chat_id": alice.id, "message_id": message["message_id"]}

        assert api.result("deleteMessage", **where) is True
        assert api.refusal("deleteMessage", **where) == "Bad Request: message to delete not found"
        assert all(one["message_id"] != message["message_id"] for one in alice.messages())


class TestTheBotItself:
    def test_has_commands_for_each_language(self, api):
        buy = [{"command": "buy", "description": "Buy"}]
        kupit = [{"command": "buy", "description": "Купить"}]
        api.result("setMyCommands", commands=buy)
        api.result("setMyCommands", commands=kupit, language_code="ru")

        assert api.result("getMyCommands") == buy
        assert api.result("getMyCommands", language_code="ru") == kupit
        assert api.result("getMyCommands", language_code="de") == []

    def test_shows_a_person_the_menu_in_their_language(self, telegram, api, alice):
        api.result("setMyCommands", commands=[{"command": "buy", "description": "Buy"}])
        api.result("setMyCommands", commands=[{"command": "buy", "description": "Купить"}], language_code="ru")

        chat = api.client.get(f"{telegram.base_url}/local/state?person={alice.id}").json()["chat"]
        assert chat["commands"] == [{"command": "buy", "description": "Купить"}]

    @pytest.mark.parametrize("command", ["Buy", "buy-now", "", "b" * 33])
    def test_refuses_commands_that_are_none(self, api, command):
        words = api.refusal("setMyCommands", commands=[{"command": command, "description": "Buy"}])

        assert words == "Bad Request: BOT_COMMAND_INVALID"

    def test_describes_itself(self, api):
        api.result("setMyDescription", description="Sells gold")
        api.result("setMyShortDescription", short_description="Gold")
        api.result("setMyName", name="Shop")

        assert api.result("getMyDescription", language_code="ru") == {"description": "Sells gold"}
        assert api.result("getMyShortDescription") == {"short_description": "Gold"}
        assert api.result("getMyName") == {"name": "Shop"}
        assert api.result("getMe")["first_name"] == "Shop"
        assert "too long" in api.refusal("setMyShortDescription", short_description="x" * 121)

    def test_has_a_menu_button(self, api, alice):
        button = {"type": "web_app", "text": "Shop", "web_app": {"url": "https://example.org/"}}
        api.result("setChatMenuButton", menu_button=button)
        api.result("setChatMenuButton", chat_id=alice.id, menu_button={"type": "commands"})

        assert api.result("getChatMenuButton") == button
        assert api.result("getChatMenuButton", chat_id=alice.id) == {"type": "commands"}
        assert "invalid" in api.refusal("setChatMenuButton", menu_button={"type": "shop"})

    def test_says_what_it_is(self, api, alice):
        assert_shape("User", api.result("getMe"))
        assert_shape("ChatFullInfo", api.result("getChat", chat_id=alice.id))
        assert api.result("sendChatAction", chat_id=alice.id, action="typing") is True
