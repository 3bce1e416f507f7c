"""Updates as Telegram sends them, and a stand-in for the Bot API that says yes to whatever it is asked."""

import asyncio
import json
import random
import sys
import time

from aiohttp import web

PRICE = 500  # Stars, as in the plan of the benchmark
PLAN_CODE = "gold_1m"
SECRET = "benchmark-secret-of-telegram-0123456789"
TOKEN = "100000002:benchmark-token-0123456789012345678"
WEBHOOK = "/api/v1/telegram/webhook"

_CHARGE_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_update_ids = iter(range(700_000_000, 2_000_000_000))


def payment_update(*, telegram_user_id: int, payload: str) -> bytes:
    """A message with a successful payment in Stars under a charge id never used before."""
    user = _user(telegram_user_id)
    return _encode(
        message={
            "message_id": random.randrange(1, 1_000_000),
            "from": user,
            "chat": {
                "id": telegram_user_id,
                "first_name": user["first_name"],
                "username": user["username"],
                "type": "private",
            },
            "date": int(time.time()),
            "successful_payment": {
                "currency": "XTR",
                "total_amount": PRICE,
                "invoice_payload": payload,
                "telegram_payment_charge_id": "stx" + "".join(random.choices(_CHARGE_ALPHABET, k=117)),
                "provider_payment_charge_id": f"{telegram_user_id}_{random.getrandbits(31)}",
            },
        }
    )


def checkout_update(*, telegram_user_id: int, payload: str, query_id: str) -> bytes:
    """A pre-checkout query for an invoice in Stars."""
    return _encode(
        pre_checkout_query={
            "id": query_id,
            "from": _user(telegram_user_id),
            "currency": "XTR",
            "total_amount": PRICE,
            "invoice_payload": payload,
        }
    )


def _user(telegram_user_id: int) -> dict[str, object]:
    return {
        "id": telegram_user_id,
        "is_bot": False,
        "first_name": f"Customer {telegram_user_id}",
        "username": f"customer_{telegram_user_id}",
        "language_code": "en",
    }


def _encode(**fields: object) -> bytes:
    return json.dumps({"update_id": next(_update_ids), **fields}, separators=(",", ":")).encode()


async def _answer(request: web.Request) -> web.Response:
    await request.read()
    method = request.match_info["method"].lower()
    if method == "getme":
        me = {"id": 100000002, "is_bot": True, "first_name": "Benchmark", "username": "benchmark_bot"}
        return web.json_response({"ok": True, "result": me})
    if method.startswith("send"):
        chat = {"id": 1, "type": "private"}
        return web.json_response(
            {"ok": True, "result": {"message_id": 1, "date": int(time.time()), "chat": chat, "text": "."}}
        )
    return web.json_response({"ok": True, "result": True})


async def _serve(port: int) -> None:
    app = web.Application()
    app.router.add_route("*", "/bot{token}/{method}", _answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
