"""``/local/…``: what people do and what goes wrong, as JSON over HTTP, for the page and for tests elsewhere.

Answers 200, or ``{"error": sentence}`` with 400 (not understood), 404 (no such thing) or 409 (not possible).
"""

import asyncio
import base64
import json
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import asdict, fields, is_dataclass
from typing import Any, TypeVar

from aiohttp import web

from telegram_bot.sandbox import shapes
from telegram_bot.sandbox.checkout import Outcome
from telegram_bot.sandbox.errors import NotPossible
from telegram_bot.sandbox.faults import Fault, UpdateOrder
from telegram_bot.sandbox.mini_app import init_data
from telegram_bot.sandbox.schema import Json
from telegram_bot.sandbox.truth import Invoice, Person, Subscription
from telegram_bot.sandbox.world import World

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
T = TypeVar("T")
SHOWN_MESSAGES = 300
SHOWN_WIRE = 200
FACTS = (
    "people", "messages", "invoices", "checkouts", "charges", "subscriptions", "transactions", "callbacks",
    "forwards", "updates", "past_updates", "calls", "deliveries", "webhook", "allowed_updates",
)  # fmt: skip


class Control:
    def __init__(self, world: World) -> None:
        self._world = world
        self._truth = world.truth
        self.closing = asyncio.Event()

    def routes(self) -> list[web.RouteDef]:
        person = "/local/people/{person}"
        subscription = "/local/subscriptions/{subscription}"
        routes: list[tuple[str, str, Callable[[web.Request], Awaitable[object]]]] = [
            ("GET", "/local/state", self._state),
            ("GET", "/local/truth", self._everything),
            ("GET", "/local/wire", self._wire),
            ("GET", "/local/quiet", self._quiet),
            ("GET", "/local/people", self._people),
            ("POST", "/local/people", self._add_person),
            ("POST", f"{person}/say", self._say),
            ("POST", f"{person}/press", self._press),
            ("POST", f"{person}/open", self._open),
            ("POST", f"{person}/pay", self._pay),
            ("POST", f"{person}/forward", self._forward),
            ("POST", f"{person}/block", self._block),
            ("POST", f"{person}/unblock", self._unblock),
            ("GET", f"{person}/init_data", self._init_data),
            ("POST", f"{subscription}/cancel", self._cancel),
            ("POST", f"{subscription}/reenable", self._reenable),
            ("POST", f"{subscription}/renew", self._renew),
            ("POST", f"{subscription}/fail", self._fail),
            ("POST", f"{subscription}/next", self._next),
            ("POST", "/local/updates", self._inject),
            ("POST", "/local/updates/{update_id}/redeliver", self._redeliver),
            ("POST", "/local/transactions", self._add_transaction),
            ("GET", "/local/faults", self._faults),
            ("POST", "/local/faults", self._order_fault),
            ("POST", "/local/faults/updates", self._order_update_fault),
            ("DELETE", "/local/faults", self._clear_faults),
            ("POST", "/local/clock", self._move_clock),
        ]
        events = web.get("/local/events", self._events)
        return [events, *(web.route(verb, path, _answered(act)) for verb, path, act in routes)]

    # People

    async def _people(self, request: web.Request) -> object:
        return list(self._truth.people.values())

    async def _add_person(self, request: web.Request) -> object:
        asked = await _read(request)
        return self._world.buyers.add(
            _take(asked, "first_name", str),
            user_id=_maybe(asked, "id", int),
            last_name=_maybe(asked, "last_name", str),
            username=_maybe(asked, "username", str),
            language_code=_maybe(asked, "language_code", str),
        )

    async def _say(self, request: web.Request) -> object:
        asked = await _read(request)
        return self._world.buyers.say(self._person(request), _take(asked, "text", str))

    async def _press(self, request: web.Request) -> object:
        """Answers when the bot has, or after the time the button spins."""
        asked = await _read(request)
        person, data = self._person(request), _take(asked, "data", str)
        query = self._world.buyers.press(person, _take(asked, "message_id", int), data)
        await self._truth.until(lambda: query.answer is not None, within=_maybe(asked, "timeout", int) or 5)
        return query

    async def _open(self, request: web.Request) -> object:
        asked = await _read(request)
        link, message_id = _maybe(asked, "link", str), _maybe(asked, "message_id", int)
        return _card(self._world.buyers.invoice(self._person(request), link=link, message_id=message_id))

    async def _pay(self, request: web.Request) -> object:
        """Answers when the buyer sees how it ended. The payment goes on if whoever asked goes away."""
        invoice_id = _take(await _read(request), "invoice_id", int)
        paying = asyncio.create_task(self._world.buyers.pay(self._person(request), invoice_id))
        return _outcome(await asyncio.shield(paying))

    async def _forward(self, request: web.Request) -> object:
        asked = await _read(request)
        to = self._world.buyers.find(_take(asked, "to", int))
        return self._world.buyers.forward(self._person(request), _take(asked, "invoice_id", int), to)

    async def _block(self, request: web.Request) -> object:
        self._world.buyers.block(self._person(request))
        return {}

    async def _unblock(self, request: web.Request) -> object:
        self._world.buyers.unblock(self._person(request))
        return {}

    async def _init_data(self, request: web.Request) -> object:
        """``?age=SECONDS`` makes it older."""
        auth_date = self._world.clock.unmoved() - int(request.query.get("age", "0"))
        return {"init_data": init_data(self._person(request), token=self._truth.bot.token, auth_date=auth_date)}

    # Subscriptions

    async def _cancel(self, request: web.Request) -> object:
        return self._changed(request, self._world.subscriptions.cancel)

    async def _reenable(self, request: web.Request) -> object:
        return self._changed(request, self._world.subscriptions.reenable)

    async def _renew(self, request: web.Request) -> object:
        return self._changed(request, self._world.subscriptions.renew)

    async def _fail(self, request: web.Request) -> object:
        return self._changed(request, self._world.subscriptions.fail)

    async def _next(self, request: web.Request) -> object:
        """``{"fails": true}`` has the next renewal fail when it falls due."""
        fails = _take(await _read(request), "fails", bool)
        return self._changed(request, lambda one: self._world.subscriptions.let_next_fail(one, fails=fails))

    def _changed(self, request: web.Request, change: Callable[[Subscription], object]) -> Subscription:
        subscription = self._truth.subscriptions.get(int(request.match_info["subscription"]))
        if subscription is None:
            raise LookupError("there is no such subscription")
        change(subscription)
        return subscription

    # Updates, faults, time

    async def _inject(self, request: web.Request) -> object:
        """The body is sent to the bot byte for byte."""
        self._world.deliveries.inject(await request.read())
        return {}

    async def _redeliver(self, request: web.Request) -> object:
        asked = await _read(request)
        update_id = int(request.match_info["update_id"])
        anew = _maybe(asked, "under_new_id", bool) or False
        return {"update_id": self._world.deliveries.redeliver(update_id, under_new_id=anew)}

    async def _add_transaction(self, request: web.Request) -> object:
        self._world.add_transaction(await _read(request))
        return {}

    async def _faults(self, request: web.Request) -> object:
        return {"calls": self._world.faults.calls, "updates": self._world.faults.updates}

    async def _order_fault(self, request: web.Request) -> object:
        self._world.faults.order(Fault(**await _read(request)))
        self._truth.touch()
        return await self._faults(request)

    async def _order_update_fault(self, request: web.Request) -> object:
        self._world.faults.order_updates([UpdateOrder(**await _read(request))])
        self._truth.touch()
        return await self._faults(request)

    async def _clear_faults(self, request: web.Request) -> object:
        self._world.faults.clear()
        self._world.deliveries.release_held()
        self._truth.touch()
        return {}

    async def _move_clock(self, request: web.Request) -> object:
        await self._world.subscriptions.pass_time(_take(await _read(request), "advance", float))
        return {"now": self._world.clock.now()}

    async def _quiet(self, request: web.Request) -> object:
        """Waits until every update has arrived; ``?timeout=SECONDS``."""
        within = float(request.query.get("timeout", "10"))
        quiet = await self._truth.until(self._world.deliveries.quiet, within=within)
        return {"quiet": quiet, "unrest": self._world.deliveries.unrest()}

    # What is so

    async def _everything(self, request: web.Request) -> object:
        facts = {name: getattr(self._truth, name) for name in FACTS}
        return {name: _rows(fact) for name, fact in facts.items()} | {"balance": self._truth.balance()}

    async def _wire(self, request: web.Request) -> object:
        return {
            "calls": list(self._truth.calls)[-SHOWN_WIRE:],
            "deliveries": list(self._truth.deliveries)[-SHOWN_WIRE:],
        }

    async def _state(self, request: web.Request) -> object:
        """What the page shows; ``?person=ID`` adds that person's chat."""
        truth = self._truth
        state: Json = {
            "version": truth.version,
            "now": self._world.clock.now(),
            "followed": self._world.follow is not None,
            "bot": shapes.bot_user(truth.bot),
            "balance": truth.balance()["amount"],
            "webhook": {"url": truth.webhook.url, "last_error_message": truth.webhook.last_error_message},
            "pending": len(truth.updates),
            "faults": await self._faults(request),
            "people": [self._summary(person) for person in truth.people.values()],
        }
        person = truth.people.get(int(request.query.get("person", "0")))
        return state | ({"chat": self._chat(person)} if person else {})

    def _summary(self, person: Person) -> Json:
        messages = self._truth.messages.get(person.id)
        last = messages[next(reversed(messages))] if messages else None
        return asdict(person) | {"last": last}

    def _chat(self, person: Person) -> Json:
        truth = self._truth
        messages = list(truth.messages.get(person.id, {}).values())[-SHOWN_MESSAGES:]
        invoices = [truth.invoice_of(person.id, message["message_id"]) for message in messages if "invoice" in message]
        forwards = [one for one in truth.forwards if one.to_id == person.id]
        subscriptions = [one for one in truth.subscriptions.values() if one.person_id == person.id]
        return {
            "messages": messages,
            "invoices": {invoice.message_id: _card(invoice) for invoice in invoices if invoice},
            "forwards": [
                asdict(one)
                | {"from": truth.people[one.from_id].first_name, "invoice": _card(truth.invoices[one.invoice_id])}
                for one in forwards
            ],
            "paid": [charge.invoice_id for charge in truth.charges_of(person.id)],
            "subscriptions": [
                asdict(one) | {"title": truth.invoices[one.invoice_id].title, "renews": one.renews}
                for one in subscriptions
            ],
            "keyboard": truth.keyboards.get(person.id),
            "commands": self._commands(person),
            "menu_button": truth.bot.menu_buttons.get(str(person.id)) or truth.bot.menu_buttons.get(""),
            "description": truth.bot.descriptions.get(person.language_code or "") or truth.bot.descriptions.get(""),
        }

    def _commands(self, person: Person) -> list[Json]:
        """The menu Telegram would show: the narrowest scope first, the own language before everybody's."""
        chat = {"type": "chat", "chat_id": person.id}
        scopes: tuple[Json, ...] = (chat, {"type": "all_private_chats"}, {"type": "default"})
        sets = {(json.dumps(one["scope"]), one["language_code"]): one["commands"] for one in self._truth.bot.commands}
        places = [(json.dumps(scope), language) for scope in scopes for language in (person.language_code or "", "")]
        return next((sets[place] for place in places if place in sets), [])

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: the truth's version, whenever it has changed."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        shown = -1
        while not self.closing.is_set():
            if shown != self._truth.version:
                shown = self._truth.version
                await response.write(f"data: {shown}\n\n".encode())
                await asyncio.sleep(0.05)  # a burst of changes is one event
            else:
                if not await self._truth.until(lambda: self._truth.version != shown, within=15):  # noqa: B023
                    await response.write(b": still here\n\n")
        return response

    def close(self) -> None:
        self.closing.set()
        self._truth.touch()

    def _person(self, request: web.Request) -> Person:
        return self._world.buyers.find(int(request.match_info["person"]))


def _answered(act: Callable[[web.Request], Awaitable[object]]) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return _respond(200, await act(request))
        except LookupError as error:
            return _respond(404, {"error": str(error)})
        except NotPossible as error:
            return _respond(409, {"error": str(error)})
        except (ValueError, TypeError) as error:
            return _respond(400, {"error": str(error)})

    return answer


def _respond(status: int, content: object) -> web.Response:
    body = json.dumps(content, default=_plain).encode()
    headers = {"Cache-Control": "no-store"}
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


def _plain(value: object) -> object:
    """Records and bytes as JSON; bytes as text to read and as base64 to compare."""
    if isinstance(value, bytes):
        text = value.decode(errors="backslashreplace")
        return {"text": text, "base64": base64.b64encode(value).decode()}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    raise TypeError(f"{type(value).__name__} has no place in JSON")


def _rows(fact: Any) -> Any:
    return list(fact.values()) if isinstance(fact, dict) else list(fact) if isinstance(fact, deque) else fact


def _card(invoice: Invoice) -> Json:
    return asdict(invoice) | {"total_amount": invoice.total_amount}


def _outcome(outcome: Outcome) -> Json:
    return {
        "status": outcome.status,
        "sentence": outcome.sentence,
        "pre_checkout_query_id": outcome.query_id,
        "charge": outcome.charge,
    }


async def _read(request: web.Request) -> Json:
    content = json.loads(await request.read() or b"{}")
    if not isinstance(content, dict):
        raise TypeError("a JSON object was expected")
    return content


def _take(asked: Json, name: str, kind: type[T]) -> T:
    value = _maybe(asked, name, kind)
    if value is None:
        raise ValueError(f"{name} is missing")
    return value


def _maybe(asked: Json, name: str, kind: type[T]) -> T | None:
    value = asked.get(name)
    if kind is float and isinstance(value, int):
        value = float(value)
    if value is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
        raise ValueError(f"{name} must be of type {kind.__name__}")
    return value
