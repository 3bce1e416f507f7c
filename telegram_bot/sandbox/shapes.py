"""Telegram's JSON: objects as Bot API 10.3 writes them. Pure functions of the truth's records."""

from telegram_bot.sandbox.schema import Json
from telegram_bot.sandbox.truth import Bot, CallbackQuery, Charge, Invoice, Person, PreCheckout, Subscription, Webhook


def _without_nothing(**fields: object) -> Json:
    return {name: value for name, value in fields.items() if value is not None}


def user(person: Person) -> Json:
    return _without_nothing(
        id=person.id,
        is_bot=False,
        first_name=person.first_name,
        last_name=person.last_name,
        username=person.username,
        language_code=person.language_code,
    )


def bot_user(bot: Bot) -> Json:
    return {"id": bot.id, "is_bot": True, "first_name": bot.names.get("", bot.name), "username": bot.username}


def me(bot: Bot) -> Json:
    return bot_user(bot) | {
        "can_join_groups": False,
        "can_read_all_group_messages": False,
        "supports_inline_queries": False,
        "can_connect_to_business": False,
        "has_main_web_app": False,
    }


def chat(person: Person) -> Json:
    return _without_nothing(
        id=person.id,
        type="private",
        first_name=person.first_name,
        last_name=person.last_name,
        username=person.username,
    )


def invoice(record: Invoice) -> Json:
    return {
        "title": record.title,
        "description": record.description,
        "start_parameter": record.start_parameter,
        "currency": record.currency,
        "total_amount": record.total_amount,
    }


def pre_checkout_query(query: PreCheckout, invoice: Invoice, person: Person) -> Json:
    return _without_nothing(
        id=query.id,
        **{"from": user(person)},
        currency=invoice.currency,
        total_amount=invoice.total_amount,
        invoice_payload=invoice.payload,
        order_info=order_info(invoice, person),
    )


def order_info(invoice: Invoice, person: Person) -> Json | None:
    """What the buyer typed into the form, when the invoice asked for it."""
    known = {
        "name": " ".join(filter(None, (person.first_name, person.last_name))),
        "phone_number": f"+999{person.id % 10**9:09}",
        "email": f"{person.id}@example.org",
    }
    return {need: known[need] for need in invoice.needs} or None


def successful_payment(charge: Charge, invoice: Invoice, person: Person) -> Json:
    return _without_nothing(
        currency=charge.currency,
        total_amount=charge.amount,
        invoice_payload=charge.payload,
        subscription_expiration_date=charge.subscription_expiration_date,
        is_recurring=True if charge.subscription_id else None,
        is_first_recurring=True if charge.is_first_recurring else None,
        order_info=order_info(invoice, person),
        telegram_payment_charge_id=charge.id,
        provider_payment_charge_id=charge.provider_charge_id,
    )


def refunded_payment(charge: Charge) -> Json:
    return {
        "currency": charge.currency,
        "total_amount": charge.amount,
        "invoice_payload": charge.payload,
        "telegram_payment_charge_id": charge.id,
        "provider_payment_charge_id": charge.provider_charge_id,
    }


def star_transaction(charge: Charge, invoice: Invoice, person: Person, *, refund: bool = False) -> Json:
    """A row of the list: money in has a ``source``, its refund the same id and a ``receiver``."""
    partner = _without_nothing(
        type="user",
        transaction_type="invoice_payment",
        user=user(person),
        invoice_payload=charge.payload,
        subscription_period=invoice.subscription_period,
    )
    date = charge.refunded_at if refund else charge.date
    return {"id": charge.id, "amount": charge.amount, "date": date, "receiver" if refund else "source": partner}


def subscription_update(subscription: Subscription, person: Person) -> Json:
    return {"user": user(person), "invoice_payload": subscription.payload, "state": subscription.state}


def callback_query(query: CallbackQuery, message: Json, person: Person) -> Json:
    return {
        "id": query.id,
        "from": user(person),
        "message": message,
        "chat_instance": str(person.id * 7919),
        "data": query.data,
    }


def membership(bot: Bot, person: Person, *, date: int) -> Json:
    """``my_chat_member`` after the person has blocked or unblocked the bot."""
    member = {"status": "member", "user": bot_user(bot)}
    banned = {"status": "kicked", "user": bot_user(bot), "until_date": 0}
    before, after = (member, banned) if person.blocked else (banned, member)
    return {
        "chat": chat(person),
        "from": user(person),
        "date": date,
        "old_chat_member": before,
        "new_chat_member": after,
    }


def webhook_info(webhook: Webhook, *, pending: int, allowed_updates: list[str]) -> Json:
    return _without_nothing(
        url=webhook.url,
        has_custom_certificate=webhook.has_custom_certificate,
        pending_update_count=pending,
        ip_address=webhook.ip_address,
        last_error_date=webhook.last_error_date,
        last_error_message=webhook.last_error_message,
        max_connections=webhook.max_connections if webhook.url else None,
        allowed_updates=allowed_updates or None,
    )
