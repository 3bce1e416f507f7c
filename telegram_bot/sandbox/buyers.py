"""What people do: write, press, pay, pass on, block."""

import secrets

from telegram_bot.sandbox import shapes
from telegram_bot.sandbox.checkout import Checkout, Outcome
from telegram_bot.sandbox.clock import Clock
from telegram_bot.sandbox.delivery import CHECKOUT_LIFE, Deliveries
from telegram_bot.sandbox.entities import find_entities
from telegram_bot.sandbox.errors import NotPossible
from telegram_bot.sandbox.schema import Json
from telegram_bot.sandbox.truth import CallbackQuery, Forward, Invoice, Person, Truth

MAX_ID = 2**52


class Buyers:
    """``:raises LookupError:`` for people, messages, buttons and invoices that are not there;
    ``:raises NotPossible:`` for what Telegram's client would not let them do."""

    def __init__(self, truth: Truth, clock: Clock, deliveries: Deliveries, checkout: Checkout) -> None:
        self._truth = truth
        self._clock = clock
        self._deliveries = deliveries
        self._checkout = checkout

    def add(
        self,
        first_name: str,
        *,
        user_id: int | None = None,
        last_name: str | None = None,
        username: str | None = None,
        language_code: str | None = "en",
    ) -> Person:
        """A new person; without ``user_id`` a random one above 32 bits, as many of Telegram's are."""
        chosen = user_id if user_id is not None else 2**33 + secrets.randbelow(2**33)
        if not 0 < chosen < MAX_ID:
            raise NotPossible("ids of people are positive and have up to 52 bits")
        if chosen in self._truth.people or chosen == self._truth.bot.id:
            raise NotPossible(f"somebody has the id {chosen} already")
        if not 1 <= len(first_name) <= 64:
            raise NotPossible("first names have 1 to 64 characters")
        person = Person(chosen, first_name, last_name, username, language_code)
        self._truth.people[chosen] = person
        self._truth.touch()
        return person

    def find(self, person_id: int) -> Person:
        person = self._truth.people.get(person_id)
        if person is None:
            raise LookupError(f"there is no person {person_id}")
        return person

    def say(self, person: Person, text: str) -> Json:
        if person.blocked:
            raise NotPossible(f"{person.first_name} has blocked the bot")
        if not text.strip() or len(text) > 4096:
            raise NotPossible("a message has 1 to 4096 characters")
        person.started = True
        entities = find_entities(text)
        message: Json = {
            "message_id": self._truth.number("message"),
            "from": shapes.user(person),
            "chat": shapes.chat(person),
            "date": self._clock.today(),
            "text": text,
        } | ({"entities": entities} if entities else {})
        self._truth.messages.setdefault(person.id, {})[message["message_id"]] = message
        self._deliveries.send("message", message, lane=f"chat:{person.id}")
        self._truth.touch()
        return message

    def press(self, person: Person, message_id: int, data: str) -> CallbackQuery:
        """Press the button of a message that carries ``data``."""
        if person.blocked:
            raise NotPossible(f"{person.first_name} has blocked the bot")
        message = self._message(person, message_id)
        if not any(button.get("callback_data") == data for button in buttons_of(message)):
            raise LookupError(f"message {message_id} has no button with these data")
        query_id = str(secrets.randbelow(2**62) + 2**62)
        query = CallbackQuery(query_id, person.id, message_id, data, date=self._clock.now())
        self._truth.callbacks[query.id] = query
        content = shapes.callback_query(query, message, person)
        self._deliveries.send("callback_query", content, lane=f"button:{person.id}", life=CHECKOUT_LIFE)
        self._truth.touch()
        return query

    def invoice(self, person: Person, *, link: str | None = None, message_id: int | None = None) -> Invoice:
        """The invoice behind a link, or the one in a message of this person's chat."""
        if link is not None:
            invoice = self._truth.invoice_by_link(link)
        else:
            message = self._message(person, message_id or 0)
            invoice = self._truth.invoice_of(person.id, message["message_id"])
        if invoice is None:
            raise LookupError("there is no such invoice")
        return invoice

    async def pay(self, person: Person, invoice_id: int) -> Outcome:
        """Pay an invoice, seen in the own chat, by its link, or in a forwarded copy.

        Nothing keeps a person from paying one twice, or at the same time as somebody else: Telegram does not either.
        """
        invoice = self._truth.invoices.get(invoice_id)
        if invoice is None:
            raise LookupError(f"there is no invoice {invoice_id}")
        if not self._may_see(person, invoice):
            raise NotPossible(f"{person.first_name} cannot see this invoice: forward it first")
        return await self._checkout.pay(invoice, person)

    def _may_see(self, person: Person, invoice: Invoice) -> bool:
        """A forwarded copy keeps its Pay button only when the invoice has no start_parameter."""
        forwarded = any((one.to_id, one.invoice_id) == (person.id, invoice.id) for one in self._truth.forwards)
        return bool(invoice.link) or invoice.chat_id == person.id or (forwarded and not invoice.start_parameter)

    def forward(self, person: Person, invoice_id: int, to: Person) -> Forward:
        invoice = self._truth.invoices.get(invoice_id)
        if invoice is None or invoice.chat_id is None:
            raise LookupError(f"there is no invoice message {invoice_id}")
        shown = self._truth.messages[invoice.chat_id].get(invoice.message_id or 0, {})
        if shown.get("has_protected_content"):
            raise NotPossible("the bot has protected this message from being forwarded")
        place = self._truth.number("message")  # forwards and messages are one sequence in the chat
        forward = Forward(place, person.id, to.id, invoice_id, self._clock.today())
        self._truth.forwards.append(forward)
        self._truth.touch()
        return forward

    def block(self, person: Person) -> None:
        self._set_blocked(person, blocked=True)

    def unblock(self, person: Person) -> None:
        self._set_blocked(person, blocked=False)

    def _set_blocked(self, person: Person, *, blocked: bool) -> None:
        if person.blocked == blocked:
            raise NotPossible(f"{person.first_name} has {'already' if blocked else 'not'} blocked the bot")
        person.blocked = blocked
        content = shapes.membership(self._truth.bot, person, date=self._clock.today())
        self._deliveries.send("my_chat_member", content, lane=f"chat:{person.id}")
        self._truth.touch()

    def _message(self, person: Person, message_id: int) -> Json:
        message = self._truth.messages.get(person.id, {}).get(message_id)
        if message is None:
            raise LookupError(f"{person.first_name} has no message {message_id}")
        return message


def buttons_of(message: Json) -> list[Json]:
    """A message's inline buttons, row by row."""
    rows = message.get("reply_markup", {}).get("inline_keyboard", [])
    return [button for row in rows for button in row]
