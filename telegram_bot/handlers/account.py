"""What somebody has, and what he has paid."""

from __future__ import annotations

from entitlements.selectors import holdings
from payments.models import Plan
from payments.selectors import payments_of, status_of
from payments.stripe import selling
from telegram_bot import keyboards, texts
from telegram_bot.gateway import gateway
from telegram_bot.handlers.people import customer_of
from telegram_bot.updates import Command

LATEST = 10


def status(command: Command) -> None:
    customer = customer_of(command.sender)
    held = holdings(customer.user_id)
    titles = Plan.objects.in_bulk([each.leading().plan_code for each in held.entitlements])
    lines = []
    for each in held.entitlements:
        plan = titles.get(each.leading().plan_code)
        lines.append(
            texts.access(
                plan.title if plan else each.code,
                active=each.access.active_at(held.now),
                ends_at=each.access.ends_at,
            )
        )
    if lines:
        keyboard = keyboards.open_portal() if selling.has_portal(customer) else None
        gateway.send_message(chat_id=command.chat_id, text="\n".join(lines), keyboard=keyboard)
    else:
        gateway.send_message(chat_id=command.chat_id, text=texts.no_access_yet(), keyboard=keyboards.see_plans())


def history(command: Command) -> None:
    payments = payments_of(customer_of(command.sender).user_id).order_by("-occurred_at", "-pk").select_related("plan")
    entries = [
        texts.payment(
            title=payment.plan.title if payment.plan else "",
            money=payment.money,
            paid_at=payment.occurred_at,
            state=texts.payment_state(status_of(payment)),
            payment_id=str(payment.pk),
        )
        for payment in payments[:LATEST]
    ]
    if entries:
        gateway.send_message(chat_id=command.chat_id, text="\n\n".join([texts.latest_payments(), *entries]))
    else:
        gateway.send_message(chat_id=command.chat_id, text=texts.no_payments_yet(), keyboard=keyboards.see_plans())
