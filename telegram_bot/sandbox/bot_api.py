"""The Bot API over HTTP: ``/bot<token>/<method>``, by GET or POST, with a query, a form, JSON or files."""

import asyncio
import hmac
import json
import time
from typing import Literal

from aiohttp import BodyPartReader, web

from telegram_bot.sandbox.clock import Clock
from telegram_bot.sandbox.errors import BadRequest, BotApiError, Unauthorized
from telegram_bot.sandbox.faults import Fault, Faults
from telegram_bot.sandbox.methods import Described, Methods, Raw
from telegram_bot.sandbox.schema import Json, Schema, Upload
from telegram_bot.sandbox.truth import Call, Truth

JSON_TYPE = "application/json"
MAX_REQUEST = 50 * 2**20


class BotApi:
    def __init__(self, truth: Truth, clock: Clock, faults: Faults, methods: Methods) -> None:
        self._truth = truth
        self._clock = clock
        self._faults = faults
        self._methods = methods

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get(r"/bot{token:[^/]+}/{method}", self._handle),
            web.post(r"/bot{token:[^/]+}/{method}", self._handle),
        ]

    async def call_in_answer(self, method: str, given: Json) -> None:
        """A call in a webhook's answer. Nobody is told what comes of it."""
        await self._execute(method, given, via="webhook")

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        if not self._is_ours(request.match_info["token"]):
            return _respond(401, json.dumps(Unauthorized().body()).encode())
        try:
            given = await read_arguments(request)
        except BadRequest as error:
            return _respond(error.code, json.dumps(error.body()).encode())
        fault = self._faults.take(Schema.load().method(method) or method, given)
        if fault is None:
            return _respond(*await self._execute(method, given))
        return await self._fail(fault, request, method, given)

    def _is_ours(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(), self._truth.bot.token.encode())

    async def _execute(
        self, method: str, given: Json, *, via: Literal["http", "webhook"] = "http", fault: str | None = None
    ) -> tuple[int, bytes]:
        """Do it, remember it, and say what the answer is."""
        date, began = self._clock.now(), time.perf_counter()
        try:
            method, given = self._methods.check(method, given)
            code, body = 200, _body(await self._methods.do(method, given))
        except BotApiError as error:
            code, body = error.code, json.dumps(error.body()).encode()
        self._remember(method, given, via, fault, code, body, date, began)
        return code, body

    def _remember(
        self,
        method: str,
        given: Json,
        via: Literal["http", "webhook"],
        fault: str | None,
        code: int | None,
        body: bytes | None,
        date: float,
        began: float,
    ) -> None:
        call = Call(
            number=self._truth.number("call"),
            date=date,
            method=method,
            arguments=_printable(given),
            via=via,
            code=code,
            answer=None if body is None else _parsed(body),
            fault=fault,
            seconds=time.perf_counter() - began,
        )
        self._truth.calls.append(call)
        self._truth.touch()

    async def _fail(self, fault: Fault, request: web.Request, method: str, given: Json) -> web.StreamResponse:
        """What was ordered. A call whose effect happens is remembered with its true answer."""
        code, body = 200, b""
        if fault.has_effect:
            code, body = await self._execute(method, given, fault=fault.kind)
        else:
            self._remember(method, given, "http", fault.kind, None, None, self._clock.now(), time.perf_counter())
        match fault.kind:
            case "refuse" | "refuse_after_effect":
                return _respond(400, json.dumps(BadRequest(fault.description).body()).encode())
            case "429":
                words = {"ok": False, "error_code": 429, "parameters": {"retry_after": fault.retry_after}}
                words["description"] = f"Too Many Requests: retry after {fault.retry_after}"
                return _respond(429, json.dumps(words).encode(), {"Retry-After": str(fault.retry_after)})
            case "500" | "500_after_effect":
                words = {"ok": False, "error_code": 500, "description": "Internal Server Error"}
                return _respond(500, json.dumps(words).encode())
            case "502":
                page = b"<html><head><title>502 Bad Gateway</title></head></html>"
                return web.Response(status=502, body=page, content_type="text/html")
            case "slow":
                await asyncio.sleep(fault.seconds)
                return _respond(code, body)
            case "half_json":
                return _respond(code, body[: len(body) // 2])
            case "hang" | "hang_after_effect":
                await asyncio.sleep(fault.seconds)
                return _cut(request)
            case "cut_before" | "cut_after_effect":
                return _cut(request)


async def read_arguments(request: web.Request) -> Json:
    """Everything given, wherever it stood. :raises BadRequest: a body that cannot be read"""
    given: Json = dict(request.query)
    if not request.can_read_body:
        return given
    if request.content_type == JSON_TYPE:
        return given | await _read_json(request)
    if request.content_type == "multipart/form-data":
        return given | await _read_parts(request)
    if request.content_type == "application/x-www-form-urlencoded":
        form = await request.post()
        return given | {name: value for name, value in form.items() if isinstance(value, str)}
    return given


async def _read_json(request: web.Request) -> Json:
    try:
        content = json.loads(await request.read())
    except (ValueError, RecursionError):
        raise BadRequest("can't parse JSON object") from None
    if not isinstance(content, dict):
        raise BadRequest("object expected as request")
    return content


async def _read_parts(request: web.Request) -> Json:
    given: Json = {}
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader) or not part.name:
            continue
        if part.filename is None:
            given[part.name] = await part.text()
        else:
            given[part.name] = Upload(part.filename, bytes(await part.read(decode=True)))
    return given


def _body(result: object) -> bytes:
    if isinstance(result, Raw):
        return b'{"ok":true,"result":' + result.json + b"}"
    if isinstance(result, Described):
        return json.dumps({"ok": True, "result": result.result, "description": result.description}).encode()
    return json.dumps({"ok": True, "result": result}).encode()


def _respond(status: int, body: bytes, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, body=body, headers=headers, content_type=JSON_TYPE)


def _cut(request: web.Request) -> web.Response:
    """Close the connection without a word."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _parsed(body: bytes) -> object:
    """An answer as it is shown: its JSON, or its text when updates in it were not JSON."""
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")


def _printable(given: Json) -> Json:
    """Arguments as they are shown: files by their names."""
    return {name: f"file {value.filename}" if isinstance(value, Upload) else value for name, value in given.items()}
