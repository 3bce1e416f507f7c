"""How a request reaches a method: token, name, parameters in every form a client may choose."""

import json

import httpx
import pytest

from telegram_bot.sandbox.schema import Schema


class TestTheToken:
    def test_a_wrong_token_is_unauthorized(self, telegram):
        answer = httpx.get(f"{telegram.base_url}/bot123456:wrong/getMe")

        assert answer.status_code == 401
        assert answer.json() == {"ok": False, "error_code": 401, "description": "Unauthorized"}

    def test_the_right_one_is_the_bots(self, telegram, api):
        assert api.result("getMe")["id"] == int(telegram.token.split(":")[0])


class TestTheMethod:
    def test_an_unknown_one_is_not_found(self, api):
        assert api("sendMoney") == {"ok": False, "error_code": 404, "description": "Not Found: method not found"}

    def test_letter_case_does_not_matter(self, api):
        assert api("GETME")["ok"]

    def test_one_that_telegram_has_and_the_local_one_does_not_is_said_to_be_missing(self, api):
        answer = api("getStickerSet", name="Animals")

        assert answer["error_code"] == 501
        assert "getStickerSet" in answer["description"]


class TestParameters:
    MARKUP = {"inline_keyboard": [[{"text": "Press", "callback_data": "x"}]]}

    def test_come_as_json(self, api, alice):
        message = api.result("sendMessage", chat_id=alice.id, text="Hi", reply_markup=self.MARKUP)

        assert message["reply_markup"] == self.MARKUP

    def test_come_as_json_with_objects_written_as_text(self, api, alice):
        message = api.result("sendMessage", chat_id=str(alice.id), text="Hi", reply_markup=json.dumps(self.MARKUP))

        assert message["reply_markup"] == self.MARKUP

    def test_come_as_a_form(self, api, alice):
        form = {
            "chat_id": str(alice.id),
            "text": "Hi",
            "reply_markup": json.dumps(self.MARKUP),
            "protect_content": "true",
        }
        message = api.client.post("sendMessage", data=form).json()["result"]

        assert message["reply_markup"] == self.MARKUP
        assert message["has_protected_content"] is True

    def test_come_as_a_query(self, api, alice):
        assert (
            api.client.get("sendMessage", params={"chat_id": alice.id, "text": "Hi"}).json()["result"]["text"] == "Hi"
        )

    def test_come_as_multipart_with_files(self, api):
        answer = api.client.post(
            "setWebhook", data={"url": "https://example.org/hook"}, files={"certificate": ("public.pem", b"PEM")}
        )

        assert answer.json()["ok"]
        assert api.result("getWebhookInfo")["has_custom_certificate"] is True

    @pytest.mark.parametrize(
        ("parameters", "words"),
        [
            ({"text": "Hi"}, "chat_id is empty"),
            ({"chat_id": 1}, "message text is empty"),
            ({"chat_id": 1, "text": "Hi", "parse_mod": "HTML"}, "unknown parameter parse_mod"),
            ({"chat_id": 1, "text": 5}, "can't parse text: text must be of type String"),
            ({"chat_id": True, "text": "Hi"}, "can't parse chat_id: chat_id must be of type Integer"),
            ({"chat_id": 2**63, "text": "Hi"}, "can't parse chat_id: chat_id must be of type Integer"),
            ({"chat_id": 1, "text": "Hi", "protect_content": "maybe"}, "protect_content must be of type Boolean"),
            ({"chat_id": 1, "text": "Hi", "reply_markup": {"inline_keyboard": [[{"callback_data": "x"}]]}},
             "reply_markup.inline_keyboard[0][0] lacks text"),
            ({"chat_id": 1, "text": "Hi", "reply_markup": {"inline_keyboard": [[{"text": "x", "data": "x"}]]}},
             "reply_markup.inline_keyboard[0][0] has an unknown field data"),
            ({"chat_id": 1, "text": "Hi", "entities": "{"}, "entities must be an Array of MessageEntity"),
            ({"chat_id": 1, "text": "Hi", "link_preview_options": []}, "must be an object of type LinkPreviewOptions"),
        ],
    )  # fmt: skip
    def test_that_do_not_fit_are_refused_and_named(self, api, parameters, words):
        answer = api("sendMessage", **parameters)

        assert answer["error_code"] == 400
        assert answer["description"].startswith("Bad Request: ")
        assert words in answer["description"]

    @pytest.mark.parametrize("body", [b"{", b"[]", b'"text"', b"\xff\xfe", b"[" * 100_000], ids=range(5))
    def test_in_a_broken_body_are_refused(self, api, body):
        answer = api.client.post("getMe", content=body, headers={"Content-Type": "application/json"})

        assert answer.status_code == 400
        assert answer.json()["ok"] is False

    def test_are_remembered_with_the_answer(self, telegram, api, alice):
        api.result("sendMessage", chat_id=str(alice.id), text="Hi")

        call = telegram.truth.calls_of("sendMessage")[0]
        assert call.arguments == {"chat_id": alice.id, "text": "Hi"}
        assert call.answer["result"]["text"] == "Hi"


class TestTheDescription:
    def test_every_type_a_field_names_is_described(self):
        schema = Schema.load()
        simple = {"Integer", "Float", "String", "Boolean", "True"}
        named = {
            kind.replace("Array of ", "")
            for entries in (schema.methods, schema.types)
            for fields in entries.values()
            for field in fields.values()
            for kind in field.types
        }

        assert named <= simple | schema.types.keys() | schema.unions.keys()

    def test_a_form_of_a_union_is_enough(self):
        schema = Schema.load()
        partner = {"type": "fragment"}

        assert schema.problem("TransactionPartner", partner) is None
        assert (
            schema.problem("TransactionPartner", {"kind": "fragment"}) == "TransactionPartner is no TransactionPartner"
        )
