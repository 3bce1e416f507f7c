"""Paying: the pre-checkout query with its ten seconds, the charge, the refund."""

import asyncio
import secrets
import string
from dataclasses import dataclass
from typing import Literal

from telegram_bot.sandbox import shapes
from telegram_bot.sandbox.clock import Clock
from telegram_bot.sandbox.delivery import CHECKOUT_LIFE, Deliveries
from telegram_bot.sandbox.errors import BadRequest
from telegram_bot.sandbox.schema import Json
from telegram_bot.sandbox.truth import Charge, Invoice, Person, PreCheckout, Subscription, Truth

ANSWER_SECONDS = 10.0
TOO_OLD = "query is too old and response timeout expired or query ID is invalid"
LETTERS = string.ascii_letters + string.digits + "_-"


@dataclass(frozen=True)
class Outcome:
    """What the buyer sees after pressing Pay. ``sentence`` is the bot's, when it declined."""

    status: Literal["paid", "declined", "timed_out"]
    query_id: str
    sentence: str | None = None
    charge: Charge | None = None

    @property
    def paid(self) -> bool:
        return self.status == "paid"


class Checkout:
    def __init__(
        self, truth: Truth, clock: Clock, deliveries: Deliveries, *, answer_seconds: float = ANSWER_SECONDS
    ) -> None:
        self._truth = truth
        self._clock = clock
        self._deliveries = deliveries
        self._answer_seconds = answer_seconds
        self._answers: dict[str, asyncio.Future[None]] = {}
        """Where somebody waits for the answer to a query, by its id."""

    async def pay(self, invoice: Invoice, person: Person) -> Outcome:
        """Ask the bot, wait for its answer, and take the money if it agreed in time."""
        query = self._ask(invoice, person)
        answered = self._answers[query.id] = asyncio.get_running_loop().create_future()
        try:
            await self._clock.sleep(self._answer_seconds, alarm=answered)
        finally:
            del self._answers[query.id]
        self._truth.touch()
        if query.ok is None:
            return Outcome("timed_out", query.id)
        if not query.ok:
            return Outcome("declined", query.id, sentence=query.error_message)
        return Outcome("paid", query.id, charge=self.charge(invoice, person))

    def _ask(self, invoice: Invoice, person: Person) -> PreCheckout:
        query = PreCheckout(
            id=str(secrets.randbelow(2**62) + 2**62), person_id=person.id, invoice_id=invoice.id, date=self._clock.now()
        )
        self._truth.checkouts[query.id] = query
        content = shapes.pre_checkout_query(query, invoice, person)
        self._deliveries.send("pre_checkout_query", content, lane=f"checkout:{person.id}", life=CHECKOUT_LIFE)
        return query

    def answer(self, query_id: str, *, ok: bool, error_message: str | None) -> None:
        """The bot's word. :raises BadRequest: no such query, too late, or answered before"""
        answered = self._answers.get(query_id)
        if answered is None or answered.done():
            raise BadRequest(TOO_OLD)
        if not ok and not error_message:
            raise BadRequest("error message is empty")
        query = self._truth.checkouts[query_id]
        query.ok, query.error_message = ok, None if ok else error_message
        answered.set_result(None)

    def charge(self, invoice: Invoice, person: Person, *, subscription: Subscription | None = None) -> Charge:
        """Take the money, and tell the bot. ``subscription`` is the one a renewal belongs to."""
        charge = Charge(
            id=self._charge_id(invoice, person),
            person_id=person.id,
            invoice_id=invoice.id,
            payload=invoice.payload,
            currency=invoice.currency,
            amount=invoice.total_amount,
            date=self._clock.today(),
            provider_charge_id="" if invoice.currency == "XTR" else f"ch_{_letters(24)}",
        )
        if subscription is not None:
            _renew(subscription, charge)
        elif invoice.subscription_period:
            self._subscribe(charge, invoice, person, invoice.subscription_period)
        self._truth.charges[charge.id] = charge
        if charge.currency == "XTR":
            self._truth.transactions.append(shapes.star_transaction(charge, invoice, person))
        payment = shapes.successful_payment(charge, invoice, person)
        self._tell(person, {"from": shapes.user(person)}, {"successful_payment": payment}, charge.date)
        return charge

    def _charge_id(self, invoice: Invoice, person: Person) -> str:
        if invoice.currency == "XTR":
            return f"stx{_letters(117)}"
        number = self._truth.number("fiat charge")
        return f"{secrets.randbelow(10**10)}_{person.id}_{number}_{secrets.randbelow(10**18)}"

    def _subscribe(self, charge: Charge, invoice: Invoice, person: Person, period: int) -> None:
        subscription = Subscription(
            id=self._truth.number("subscription"),
            person_id=person.id,
            invoice_id=invoice.id,
            payload=invoice.payload,
            amount=charge.amount,
            period=period,
            first_charge_id=charge.id,
            expires_at=charge.date,
        )
        self._truth.subscriptions[subscription.id] = subscription
        charge.is_first_recurring = True
        _renew(subscription, charge)

    def refund(self, charge_id: str, person: Person) -> None:
        """Give a Stars payment back, whole and once.

        :raises BadRequest: ``CHARGE_NOT_FOUND``, also for another person's; ``CHARGE_ALREADY_REFUNDED``
        """
        charge = self._truth.charges.get(charge_id)
        if charge is None or charge.person_id != person.id or charge.currency != "XTR":
            raise BadRequest("CHARGE_NOT_FOUND")
        if charge.refunded_at is not None:
            raise BadRequest("CHARGE_ALREADY_REFUNDED")
        charge.refunded_at = self._clock.today()
        invoice = self._truth.invoices[charge.invoice_id]
        self._truth.transactions.append(shapes.star_transaction(charge, invoice, person, refund=True))
        content = {"refunded_payment": shapes.refunded_payment(charge)}
        self._tell(person, {"from": shapes.bot_user(self._truth.bot)}, content, charge.refunded_at)

    def _tell(self, person: Person, sender: Json, content: Json, date: int) -> None:
        """A service message in the chat, which the bot hears of."""
        message_id = self._truth.number("message")
        message = {"message_id": message_id, **sender, "chat": shapes.chat(person), "date": date, **content}
        self._truth.messages.setdefault(person.id, {})[message_id] = message
        self._deliveries.send("message", message, lane=f"chat:{person.id}")
        self._truth.touch()


def _renew(subscription: Subscription, charge: Charge) -> None:
    """The paid time begins where the last one ends, also when the charge comes early."""
    subscription.expires_at += subscription.period
    charge.subscription_id = subscription.id
    charge.subscription_expiration_date = subscription.expires_at


def _letters(count: int) -> str:
    return "".join(secrets.choice(LETTERS) for _ in range(count))
