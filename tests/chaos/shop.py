"""The load: buyers who pay what they were quoted, in the local Telegram, and a program that asks for refunds."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID

import aiohttp
import psycopg

from payments import payloads
from payments.identifiers import uuid7
from payments.money import Money
from telegram_bot.sandbox.faults import Fault, UpdateOrder
from telegram_bot.sandbox.truth import Charge, Invoice, Person
from telegram_bot.sandbox.world import World
from tests.chaos.database import CrashingPostgres
from tests.chaos.plan import FIRST_BUYER, Deal, Refunder, Repeat
from tests.chaos.watch import Watch

AT_ONCE = 32  # buyers who are paying
QUOTED_AT_ONCE = 500
PAUSE = 0.5  # seconds before a person or a program tries again
MOST_TRIES = 100
MOST_LOOKS = 240  # for a payment that Telegram has not told us of yet
PAYMENT = "successful_payment"

CUSTOMERS = """
    INSERT INTO entitlements_customer (user_id, user_id_origin, telegram_user_id, display_name, username, language_code)
    SELECT buyer, 'ours', buyer, 'Buyer ' || buyer, '', 'en' FROM generate_series(%s::bigint, %s) AS buyer
    ON CONFLICT DO NOTHING
"""
# As send-invoice leaves them: sent, open for an hour of Telegram's. Written once, however often the database dies.
INVOICES = """
    INSERT INTO payments_invoice (
        id, customer_id, plan_id, payment_method, amount, currency, entitlement, features, duration, recurring,
        when_active, payload, status, expires_at, sent_at, link)
    SELECT quote.id, customer.id, code, payment_method, amount, currency, entitlement, features,
           duration_days * interval '1 day', recurring, when_active, payload, 'sent',
           to_timestamp(%s) + interval '1 hour', now(), ''
    FROM unnest(%s::uuid[], %s::bigint[], %s::text[], %s::text[]) AS quote (id, buyer, plan, payload)
    JOIN entitlements_customer AS customer ON telegram_user_id = buyer
    JOIN payments_plan ON code = plan JOIN payments_price ON plan_id = code
    ON CONFLICT (id) DO NOTHING
"""


class Shop:
    """`may_begin` is asked before each payment, and lets it begin when its time has come."""

    def __init__(
        self,
        world: World,
        watch: Watch,
        database: CrashingPostgres,
        *,
        api: aiohttp.ClientSession,
        may_begin: Callable[[Deal], Awaitable[None]],
    ) -> None:
        self._world = world
        self._watch = watch
        self._database = database
        self._api = api
        self._may_begin = may_begin
        self.paid = 0
        self.surprises: Counter[str] = Counter()
        """What a buyer or a program was told that it should never be told."""

    async def open(self, deals: Sequence[Deal]) -> None:
        """Let everybody in who is going to buy; all have written to the bot before."""
        last = max(deal.buyer for deal in deals)
        for buyer in range(FIRST_BUYER, last + 1):
            person = self._world.buyers.add(f"Buyer {buyer}", user_id=buyer)
            person.started = True
        await self._write(CUSTOMERS, FIRST_BUYER, last)

    async def sell(self, deals: Sequence[Deal]) -> None:
        """Have all deals made, and wait until the last refund is asked for."""
        quoted: asyncio.Queue[tuple[Deal, Invoice] | None] = asyncio.Queue(QUOTED_AT_ONCE)
        async with asyncio.TaskGroup() as refunds, asyncio.TaskGroup() as buyers:
            for _ in range(AT_ONCE):
                buyers.create_task(self._buy_one_by_one(quoted, refunds))
            async for quote in self.quotes(deals):
                await quoted.put(quote)
            for _ in range(AT_ONCE):
                await quoted.put(None)

    def charge(self, deal: Deal, invoice: Invoice) -> Charge:
        """Take the money of somebody whose checkout was approved before: we are not asked any more."""
        self.paid += 1
        return self._world.checkout.charge(invoice, self._person(deal))

    async def quotes(self, deals: Sequence[Deal]) -> AsyncIterator[tuple[Deal, Invoice]]:
        """The invoices that these buyers have been sent, some hundred at a time."""
        for start in range(0, len(deals), QUOTED_AT_ONCE):
            some = deals[start : start + QUOTED_AT_ONCE]
            ids = [uuid7() for _ in some]
            invoices = [self._invoice(deal, invoice_id) for deal, invoice_id in zip(some, ids, strict=True)]
            columns = zip(*((deal.buyer, deal.bought.code) for deal in some), strict=True)
            payloads_of_all = [invoice.payload for invoice in invoices]
            await self._write(INVOICES, self._world.clock.now(), ids, *map(list, columns), payloads_of_all)
            for deal, invoice in zip(some, invoices, strict=True):
                self._world.truth.add_invoice(invoice)
                yield deal, invoice

    def _invoice(self, deal: Deal, invoice_id: UUID) -> Invoice:
        price = Money(deal.bought.price, "XTR")
        return Invoice(
            id=self._world.truth.number("invoice"),
            title=deal.bought.title,
            description="A pass to the archive.",
            payload=payloads.encode(invoice_id=invoice_id, plan_code=deal.bought.code, payer=deal.buyer, price=price),
            currency=price.currency,
            prices=[{"label": deal.bought.title, "amount": price.amount}],
            date=self._world.clock.today(),
            chat_id=deal.buyer,
        )

    async def _write(self, statement: str, *parameters: object) -> None:
        """Execute a statement that may be repeated, until the database has done it."""

        def write() -> None:
            with self._database.connect() as connection:
                connection.execute(statement, parameters)

        while True:
            try:
                return await asyncio.to_thread(write)
            except psycopg.OperationalError:
                await asyncio.sleep(PAUSE)

    async def _buy_one_by_one(
        self, quoted: asyncio.Queue[tuple[Deal, Invoice] | None], refunds: asyncio.TaskGroup
    ) -> None:
        while (quote := await quoted.get()) is not None:
            deal, invoice = quote
            await self._may_begin(deal)
            charge = await self._pay(deal, invoice)
            if charge is not None and deal.refunder is not Refunder.NOBODY:
                refunds.create_task(self._have_refunded(deal, charge))

    async def _pay(self, deal: Deal, invoice: Invoice) -> Charge | None:
        """Press Pay until it is paid, as people do."""
        self._order_faults(deal)
        person = self._person(deal)
        for _ in range(MOST_TRIES):
            outcome = await self._world.buyers.pay(person, invoice.id)
            del self._world.truth.checkouts[outcome.query_id]
            if outcome.charge is not None:
                self.paid += 1
                return outcome.charge
            if outcome.sentence is not None:
                self.surprises[f"checkout declined: {outcome.sentence}"] += 1
            await asyncio.sleep(PAUSE)
        self.surprises["a buyer gave up"] += 1
        return None

    def _order_faults(self, deal: Deal) -> None:
        """Those of updates befall the next payment that is told, which is this one or a neighbour's."""
        orders = {"duplicate": deal.repeat is Repeat.SAME, "unheard": deal.answer_is_cut}
        self._world.faults.order_updates(UpdateOrder(fault, times, PAYMENT) for fault, times in orders.items())
        if deal.repeat is Repeat.DISGUISED:
            self._watch.disguise_next()
        if deal.call_fails is not None:
            method, kind = deal.call_fails
            self._world.faults.order(Fault(method, kind, retry_after=1, person=deal.buyer))

    async def _have_refunded(self, deal: Deal, charge: Charge) -> None:
        await asyncio.sleep(deal.refund_delay)
        if deal.refunder is Refunder.TELEGRAM:
            self._world.checkout.refund(charge.id, self._person(deal))
            return
        payment_id = await self._payment_id(deal)
        if payment_id is None:
            self.surprises["a payment to be refunded is not known"] += 1
            return
        await self._ask(
            "POST",
            f"/api/v1/payments/{payment_id}/refund",
            json={"reason": "The buyer changed his mind."},
            headers={"Idempotency-Key": f"refund-{deal.number}"},
        )

    def _person(self, deal: Deal) -> Person:
        return self._world.truth.people[deal.buyer]

    async def _payment_id(self, deal: Deal) -> str | None:
        """Ours, as soon as we know the payment; None when we never do."""
        for _ in range(MOST_LOOKS):
            answer = await self._ask("GET", f"/api/v1/customers/{deal.buyer}/payments")
            for payment in answer["results"]:
                if payment["plan_code"] == deal.bought.code:
                    return str(payment["payment_id"])
            await asyncio.sleep(PAUSE)
        return None

    async def _ask(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        """What the API answers, asked again while it is out of reach or at work on the same request."""
        while True:
            try:
                async with self._api.request(method, path, **request) as response:
                    answer: dict[str, Any] = await response.json()
            except (aiohttp.ClientError, TimeoutError):
                answer = {"code": "unavailable"}
            match answer.get("code"):
                case None | "refund_pending" | "already_refunded":
                    return answer
                case "unavailable" | "idempotency_in_progress":
                    await asyncio.sleep(PAUSE)
                case code:
                    self.surprises[f"{method} {path.rpartition('/')[2]}: {response.status} {code}"] += 1
                    await asyncio.sleep(PAUSE)
