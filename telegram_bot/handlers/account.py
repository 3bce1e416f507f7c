"""What somebody has, what is paid on by itself, and what he has paid."""

from __future__ import annotations

from entitlements.models import Customer
from entitlements.selectors import holdings
from payments import reminding
from payments.models import Plan
from payments.selectors import payments_of, status_of
from payments.stripe import selling
from payments.subscriptions import subscriptions_of
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
    running = subscriptions_of(customer)
    if lines or running:
        keyboard = keyboards.open_portal() if selling.has_portal(customer) else None
        parts = ["\n".join(lines), *(texts.subscription(each) for each in running)]
        parts += [texts.how_to_cancel(method) for method in sorted({each.payment_method for each in running})]
        gateway.send_message(chat_id=command.chat_id, text="\n\n".join(filter(None, parts)), keyboard=keyboard)
    else:
        gateway.send_message(chat_id=command.chat_id, text=texts.no_access_yet(), keyboard=keyboards.see_plans())


def reminders(command: Command) -> None:
    """/reminders tells whether he is reminded; with `on` or `off` it changes that."""
    customer = customer_of(command.sender)
    wanted = reminding.wants_reminders(customer)
    if command.argument.lower() in {"on", "off"}:
        wanted = command.argument.lower() == "on"
        text = set_reminders(customer, wanted=wanted)
    else:
        text = texts.reminders_on() if wanted else texts.reminders_off()
    gateway.send_message(chat_id=command.chat_id, text=text, keyboard=keyboards.reminders(wanted=wanted))


def set_reminders(customer: Customer, *, wanted: bool) -> str:
    """Do as he wishes, and return what to tell him."""
    if wanted:
        reminding.opt_in(customer)
        return texts.reminders_on()
    reminding.opt_out(customer)
    return texts.reminders_off()


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
