"""What a bot may ask for: one function for each method of the Bot API that a shop needs."""

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from telegram_bot.sandbox import rules, shapes
from telegram_bot.sandbox.checkout import TOO_OLD, Checkout
from telegram_bot.sandbox.clock import Clock
from telegram_bot.sandbox.delivery import CHECKOUT_LIFE, Deliveries
from telegram_bot.sandbox.entities import formatted
from telegram_bot.sandbox.errors import BadRequest, Forbidden, NotFound, NotImplementedHere
from telegram_bot.sandbox.schema import Json, Schema
from telegram_bot.sandbox.subscriptions import Subscriptions
from telegram_bot.sandbox.truth import Invoice, Person, Truth, Webhook

SAME_CONTENT = (
    "message is not modified: specified new message content and reply markup are exactly the same"
    " as a current content and reply markup of the message"
)


@dataclass(frozen=True)
class Described:
    """A result that comes with a sentence."""

    result: object
    description: str


@dataclass(frozen=True)
class Raw:
    """A result that is JSON already, maybe not even valid UTF-8."""

    json: bytes


class Methods:
    def __init__(
        self, truth: Truth, clock: Clock, deliveries: Deliveries, checkout: Checkout, subscriptions: Subscriptions
    ) -> None:
        self._truth = truth
        self._clock = clock
        self._deliveries = deliveries
        self._checkout = checkout
        self._subscriptions = subscriptions
        self._schema = Schema.load()

    def check(self, name: str, given: Json) -> tuple[str, Json]:
        """The method as the Bot API spells it, and its parameters as JSON values.

        :raises NotFound: no such method
        :raises BadRequest: unknown, missing or wrongly typed parameter
        """
        method = self._schema.method(name)
        if method is None:
            raise NotFound("method not found")
        if method == "sendInvoice" and "subscription_period" in given:
            # No parameter of this method, but Telegram reads it all the same, to say that subscriptions need a link.
            raise BadRequest("SUBSCRIPTION_EXPORT_MISSING")
        return method, self._schema.arguments(method, given)

    async def do(self, method: str, arguments: Json) -> object:
        """What a checked request asks. All but ``getUpdates`` happen at once or not at all.

        :raises BotApiError: as Telegram would
        """
        if method == "getUpdates":
            return await self._get_updates(**arguments)
        implementation: Callable[..., object] | None = getattr(self, "_" + _snake(method), None)
        if implementation is None:
            raise NotImplementedHere(f"the local Telegram does not do {method}")
        result = implementation(**arguments)
        self._truth.touch()
        return result

    # Updates

    async def _get_updates(
        self,
        offset: int = 0,
        limit: int = 100,
        timeout: int = 0,  # noqa: ASYNC109 the Bot API's name
        allowed_updates: list[str] | None = None,
    ) -> Raw:
        if not 1 <= limit <= 100:
            raise BadRequest("limit must be from 1 to 100")
        if allowed_updates is not None and not self._truth.webhook.url:
            self._truth.allowed_updates = allowed_updates
        bodies = await self._deliveries.get_updates(offset=offset, limit=limit, wait=max(0, min(timeout, 50)))
        return Raw(b"[" + b",\n".join(bodies) + b"]")

    def _set_webhook(
        self,
        url: str,
        certificate: object = None,
        ip_address: str | None = None,
        max_connections: int = 40,
        allowed_updates: list[str] | None = None,
        drop_pending_updates: bool = False,
        secret_token: str = "",
    ) -> Described:
        rules.check_webhook({"url": url, "secret_token": secret_token, "max_connections": max_connections})
        if not url:
            return self._delete_webhook(drop_pending_updates=drop_pending_updates)
        known = self._schema.types["Update"].keys() - {"update_id"}
        if allowed_updates is not None:
            # Telegram ignores names it does not know; here a misspelt one is told.
            if unknown := [name for name in allowed_updates if name not in known]:
                raise BadRequest(f"unknown update type {unknown[0]}")
            self._truth.allowed_updates = allowed_updates
        webhook = Webhook(url, secret_token, max_connections, certificate is not None, ip_address)
        changed = self._deliveries.set_webhook(webhook, drop_pending=drop_pending_updates)
        return Described(True, "Webhook was set" if changed else "Webhook is already set")

    def _delete_webhook(self, drop_pending_updates: bool = False) -> Described:
        changed = self._deliveries.set_webhook(Webhook(), drop_pending=drop_pending_updates)
        return Described(True, "Webhook was deleted" if changed else "Webhook is already deleted")

    def _get_webhook_info(self) -> Json:
        return shapes.webhook_info(
            self._truth.webhook, pending=len(self._truth.updates), allowed_updates=self._truth.allowed_updates
        )

    # Messages

    def _send_message(
        self,
        chat_id: int | str,
        text: str,
        parse_mode: str | None = None,
        entities: list[Json] | None = None,
        reply_markup: Json | None = None,
        **how: object,
    ) -> Json:
        person = self._reachable(chat_id)
        return self._post(person, self._text(text, parse_mode, entities), reply_markup, how)

    def _text(self, text: str, parse_mode: str | None, entities: list[Json] | None) -> Json:
        shown, marks = formatted(text, parse_mode, entities)
        rules.check_text(shown)
        return {"text": shown} | ({"entities": marks} if marks else {})

    def _post(self, person: Person, content: Json, reply_markup: Json | None, how: Json) -> Json:
        """A message of the bot's in a person's chat. Bots are not told of their own messages."""
        message: Json = {
            "message_id": self._truth.number("message"),
            "from": shapes.bot_user(self._truth.bot),
            "chat": shapes.chat(person),
            "date": self._clock.today(),
        } | content
        if how.get("protect_content"):
            message["has_protected_content"] = True
        if reply := how.get("reply_parameters"):
            message |= self._reply(person, reply)
        self._add_keyboard(person, message, reply_markup)
        self._messages(person)[message["message_id"]] = message
        return message

    def _reply(self, person: Person, reply: Json) -> Json:
        answered = self._messages(person).get(reply.get("message_id", 0))
        if answered is None and not reply.get("allow_sending_without_reply"):
            raise BadRequest("message to be replied not found")
        if answered is None:
            return {}
        return {"reply_to_message": {name: value for name, value in answered.items() if name != "reply_to_message"}}

    def _add_keyboard(self, person: Person, message: Json, markup: Json | None) -> None:
        if not markup:
            return
        if "inline_keyboard" in markup:
            rules.check_inline_keyboard(markup, carries_invoice="invoice" in message)
            message["reply_markup"] = markup
        elif "keyboard" in markup:
            self._truth.keyboards[person.id] = markup
        elif "remove_keyboard" in markup:
            self._truth.keyboards.pop(person.id, None)

    def _edit_message_text(
        self,
        chat_id: int | str | None = None,
        message_id: int | None = None,
        text: str = "",
        parse_mode: str | None = None,
        entities: list[Json] | None = None,
        reply_markup: Json | None = None,
        **_: object,
    ) -> Json:
        person, message = self._own_message(chat_id, message_id)
        if "text" not in message:
            raise BadRequest("there is no text in the message to edit")
        return self._edit(person, message, self._text(text, parse_mode, entities), reply_markup)

    def _edit_message_reply_markup(
        self,
        chat_id: int | str | None = None,
        message_id: int | None = None,
        reply_markup: Json | None = None,
        **_: object,
    ) -> Json:
        person, message = self._own_message(chat_id, message_id)
        return self._edit(person, message, {}, reply_markup)

    def _edit(self, person: Person, message: Json, content: Json, markup: Json | None) -> Json:
        if markup:
            rules.check_inline_keyboard(markup, carries_invoice="invoice" in message)
        replaced = {"reply_markup", "edit_date"} | ({"text", "entities"} if content else set())
        kept = {name: value for name, value in message.items() if name not in replaced}
        keyboard = {"reply_markup": markup} if markup and markup["inline_keyboard"] else {}
        edited = kept | content | keyboard
        if edited == {name: value for name, value in message.items() if name != "edit_date"}:
            raise BadRequest(SAME_CONTENT)
        edited["edit_date"] = self._clock.today()
        self._messages(person)[message["message_id"]] = edited
        return edited

    def _delete_message(self, chat_id: int | str, message_id: int) -> bool:
        messages = self._messages(self._chat(chat_id))
        if messages.pop(message_id, None) is None:
            raise BadRequest("message to delete not found")
        return True

    def _send_chat_action(self, chat_id: int | str, action: str, **_: object) -> bool:
        self._reachable(chat_id)
        return True

    def _answer_callback_query(self, callback_query_id: str, **answer: object) -> bool:
        query = self._truth.callbacks.get(callback_query_id)
        if query is None or query.answer is not None or self._clock.now() > query.date + CHECKOUT_LIFE:
            raise BadRequest(TOO_OLD)
        if len(str(answer.get("text", ""))) > 200:
            raise BadRequest("MESSAGE_TOO_LONG")
        query.answer = answer
        return True

    def _get_chat(self, chat_id: int | str) -> Json:
        nothing = dict.fromkeys(
            ("unlimited_gifts", "limited_gifts", "unique_gifts", "premium_subscription", "gifts_from_channels"), False
        )
        return shapes.chat(self._chat(chat_id)) | {
            "accent_color_id": 0,
            "max_reaction_count": 11,
            "accepted_gift_types": nothing,
        }

    # Payments

    def _send_invoice(self, chat_id: int | str, reply_markup: Json | None = None, **asked: object) -> Json:
        rules.check_invoice(asked)
        person = self._reachable(chat_id)
        invoice = self._invoice(asked)
        markup = reply_markup if reply_markup and reply_markup["inline_keyboard"] else None
        message = self._post(person, {"invoice": shapes.invoice(invoice)}, markup, asked)
        invoice.chat_id, invoice.message_id = person.id, message["message_id"]
        self._truth.add_invoice(invoice)
        return message

    def _create_invoice_link(self, **asked: object) -> str:
        rules.check_invoice(asked)
        rules.check_subscription(asked)
        invoice = self._invoice(asked)
        invoice.link = f"https://t.me/${secrets.token_urlsafe(12)}"
        self._truth.add_invoice(invoice)
        return invoice.link

    def _invoice(self, asked: Json) -> Invoice:
        return Invoice(
            id=self._truth.number("invoice"),
            title=asked["title"],
            description=asked["description"],
            payload=asked["payload"],
            currency=asked["currency"],
            prices=asked["prices"],
            date=self._clock.today(),
            provider_token=asked.get("provider_token", ""),
            start_parameter=asked.get("start_parameter", ""),
            subscription_period=asked.get("subscription_period") or None,
            needs=[need for need in ("name", "phone_number", "email") if asked.get(f"need_{need}")],
        )

    def _answer_pre_checkout_query(
        self, pre_checkout_query_id: str, ok: bool, error_message: str | None = None
    ) -> bool:
        self._checkout.answer(pre_checkout_query_id, ok=ok, error_message=error_message)
        return True

    def _answer_shipping_query(
        self, shipping_query_id: str, ok: bool, shipping_options: object = None, error_message: str | None = None
    ) -> bool:
        if not ok and not error_message:
            raise BadRequest("error message is empty")
        raise BadRequest(TOO_OLD)  # nothing is shipped here, so nobody has asked

    def _refund_star_payment(self, user_id: int, telegram_payment_charge_id: str) -> bool:
        self._checkout.refund(telegram_payment_charge_id, self._person(user_id))
        return True

    def _get_star_transactions(self, offset: int = 0, limit: int = 100) -> Json:
        if offset < 0 or not 1 <= limit <= 100:
            raise BadRequest("offset must not be negative and limit must be from 1 to 100")
        return {"transactions": self._truth.transactions[offset : offset + limit]}

    def _get_my_star_balance(self) -> Json:
        return self._truth.balance()

    def _edit_user_star_subscription(self, user_id: int, telegram_payment_charge_id: str, is_canceled: bool) -> bool:
        person = self._person(user_id)
        self._subscriptions.edit_by_bot(person, telegram_payment_charge_id, is_canceled=is_canceled)
        return True

    # The bot itself

    def _get_me(self) -> Json:
        return shapes.me(self._truth.bot)

    def _set_my_commands(self, commands: list[Json], scope: Json | None = None, language_code: str = "") -> bool:
        rules.check_commands(commands)
        self._delete_my_commands(scope, language_code)
        if commands:
            scope = scope or {"type": "default"}
            entry = {"scope": scope, "language_code": language_code, "commands": commands}
            self._truth.bot.commands.append(entry)
        return True

    def _get_my_commands(self, scope: Json | None = None, language_code: str = "") -> list[Json]:
        place = (scope or {"type": "default"}, language_code)
        entries = self._truth.bot.commands
        return next((one["commands"] for one in entries if (one["scope"], one["language_code"]) == place), [])

    def _delete_my_commands(self, scope: Json | None = None, language_code: str = "") -> bool:
        place = (scope or {"type": "default"}, language_code)
        bot = self._truth.bot
        bot.commands = [one for one in bot.commands if (one["scope"], one["language_code"]) != place]
        return True

    def _set_my_name(self, name: str = "", language_code: str = "") -> bool:
        return _set_words(self._truth.bot.names, language_code, name, limit=64)

    def _get_my_name(self, language_code: str = "") -> Json:
        return {"name": _words(self._truth.bot.names, language_code) or self._truth.bot.name}

    def _set_my_description(self, description: str = "", language_code: str = "") -> bool:
        return _set_words(self._truth.bot.descriptions, language_code, description, limit=512)

    def _get_my_description(self, language_code: str = "") -> Json:
        return {"description": _words(self._truth.bot.descriptions, language_code)}

    def _set_my_short_description(self, short_description: str = "", language_code: str = "") -> bool:
        return _set_words(self._truth.bot.short_descriptions, language_code, short_description, limit=120)

    def _get_my_short_description(self, language_code: str = "") -> Json:
        return {"short_description": _words(self._truth.bot.short_descriptions, language_code)}

    def _set_chat_menu_button(self, chat_id: int | None = None, menu_button: Json | None = None) -> bool:
        button = menu_button or {"type": "default"}
        if button["type"] not in ("commands", "web_app", "default"):
            raise BadRequest("MenuButton type is invalid")
        if button["type"] == "web_app" and not rules.is_address(button.get("web_app", {}).get("url", "")):
            raise BadRequest("menu button Web App URL is invalid")
        place = "" if chat_id is None else str(self._person(chat_id).id)
        self._truth.bot.menu_buttons[place] = button
        return True

    def _get_chat_menu_button(self, chat_id: int | None = None) -> Json:
        buttons = self._truth.bot.menu_buttons
        return buttons.get(str(chat_id)) or buttons.get("") or {"type": "default"}

    # Whom it is about

    def _person(self, user_id: int) -> Person:
        person = self._truth.people.get(user_id)
        if person is None:
            raise BadRequest("user not found")
        return person

    def _chat(self, chat_id: int | str | None) -> Person:
        """The person whose private chat it is: there are no groups and channels here."""
        person = self._truth.people.get(chat_id) if isinstance(chat_id, int) else None
        if person is None:
            raise BadRequest("chat not found")
        return person

    def _reachable(self, chat_id: int | str) -> Person:
        person = self._chat(chat_id)
        if person.blocked:
            raise Forbidden("bot was blocked by the user")
        if not person.started:
            raise Forbidden("bot can't initiate conversation with a user")
        return person

    def _messages(self, person: Person) -> dict[int, Json]:
        return self._truth.messages.setdefault(person.id, {})

    def _own_message(self, chat_id: int | str | None, message_id: int | None) -> tuple[Person, Json]:
        person = self._chat(chat_id)
        message = self._messages(person).get(message_id or 0)
        if message is None:
            raise BadRequest("message to edit not found")
        if message["from"]["id"] != self._truth.bot.id:
            raise BadRequest("message can't be edited")
        return person, message


def _snake(method: str) -> str:
    return re.sub(r"(?=[A-Z])", "_", method).lower()


def _set_words(words: dict[str, str], language_code: str, text: str, *, limit: int) -> bool:
    if len(text) > limit:
        raise BadRequest("text is too long")
    words[language_code] = text
    return True


def _words(words: dict[str, str], language_code: str) -> str:
    return words.get(language_code) or words.get("", "")
