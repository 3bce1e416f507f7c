"""Updates as Telegram writes them, for tests that bring their own."""

import itertools
import json
import time

_ids = itertools.count(100_000_000)


def body(update: dict) -> bytes:
    return json.dumps(update).encode()


def person(telegram_user_id: int, **more) -> dict:
    return {"id": telegram_user_id, "is_bot": False, "first_name": "Alice", "language_code": "en", **more}


def message(telegram_user_id: int, *, date: int | None = None, update_id: int | None = None, **content) -> dict:
    return {
        "update_id": update_id or next(_ids),
        "message": {
            "message_id": next(_ids),
            "date": int(time.time()) if date is None else date,
            "chat": {"id": telegram_user_id, "type": "private", "first_name": "Alice"},
            "from": person(telegram_user_id),
            **content,
        },
    }


def payment(
    invoice, *, charge_id: str = "stxAlicePays", payer: int | None = None, date=None, update_id=None, **changes
):
    """A successful_payment for the invoice; `changes` replace fields of the payment."""
    return message(
        payer or invoice.customer.telegram_user_id,
        date=date,
        update_id=update_id,
        successful_payment={
            "currency": invoice.currency,
            "total_amount": invoice.amount,
            "invoice_payload": invoice.payload,
            "telegram_payment_charge_id": charge_id,
            "provider_payment_charge_id": "",
            **changes,
        },
    )


def refund(invoice, *, charge_id: str = "stxAlicePays", payer: int | None = None, date=None, **changes):
    """A refunded_payment, which the bot appears to say in the buyer's chat."""
    update = message(
        payer or invoice.customer.telegram_user_id,
        date=date,
        refunded_payment={
            "currency": invoice.currency,
            "total_amount": invoice.amount,
            "invoice_payload": invoice.payload,
            "telegram_payment_charge_id": charge_id,
            **changes,
        },
    )
    update["message"]["from"] = {"id": 100_000_001, "is_bot": True, "first_name": "Shop", "username": "shop_bot"}
    return update


def pre_checkout(invoice, *, query_id: str = "query-1", payer: int | None = None, **changes) -> dict:
    return {
        "update_id": next(_ids),
        "pre_checkout_query": {
            "id": query_id,
            "from": person(payer or invoice.customer.telegram_user_id),
            "currency": invoice.currency,
            "total_amount": invoice.amount,
            "invoice_payload": invoice.payload,
            **changes,
        },
    }


def subscription(invoice, state: str) -> dict:
    """A subscription that was begun by the invoice is canceled, active again, or was not paid: failed."""
    user = person(invoice.customer.telegram_user_id)
    return {
        "update_id": next(_ids),
        "subscription": {"user": user, "invoice_payload": invoice.payload, "state": state},
    }
