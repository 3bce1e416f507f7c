"""From the list of plans to an invoice: plans → plan → the way to pay → invoice."""

from __future__ import annotations

from typing import TypeAlias

from telegram import InlineKeyboardMarkup

from config.api.ratelimit import RateLimited
from payments import currencies, invoicing
from payments.channels.base import ChannelError, Refused
from payments.models import PaymentMethod, Plan
from payments.stripe import selling
from telegram_bot import keyboards, texts
from telegram_bot.gateway import gateway
from telegram_bot.handlers import account
from telegram_bot.handlers.people import customer_of
from telegram_bot.keyboards import BuyPlan, OpenPortal, Remind, SeePlan, SeePlans
from telegram_bot.updates import ButtonPress, Command, Person

Screen: TypeAlias = tuple[str, InlineKeyboardMarkup | None]


def plans(command: Command) -> None:
    text, keyboard = _list_of_plans(page=0)
    gateway.send_message(chat_id=command.chat_id, text=text, keyboard=keyboard)


def buy(command: Command) -> None:
    """/buy alone shows the plans; /buy with a plan sends its invoice, or asks how it shall be paid first."""
    if not command.argument:
        plans(command)
        return
    plan = Plan.objects.on_sale().filter(code=command.argument.lower()).first()
    if plan is not None and len(invoicing.offered_prices(plan)) > 1:
        text, keyboard = _card(plan)
        gateway.send_message(chat_id=command.chat_id, text=text, keyboard=keyboard)
        return
    refusal = _send_invoice(command.sender, plan_code=command.argument.lower())
    if refusal:
        gateway.send_message(chat_id=command.chat_id, text=refusal)


def pressed(press: ButtonPress) -> None:
    """A button was pressed, or somebody made up its data. What cannot be done is said in a window above the chat."""
    if press.chat_id not in {press.sender.id, None}:
        gateway.answer_button(query_id=press.query_id, text=texts.only_in_private(), alert=True)
        return
    refusal = ""
    match keyboards.wish_of(press.data):
        case SeePlans(page):
            _show(press, _list_of_plans(page=page))
        case SeePlan(plan_code):
            plan = Plan.objects.on_sale().filter(code=plan_code).first()
            _show(press, _card(plan) if plan else _list_of_plans(page=0))
        case BuyPlan(plan_code, payment_method, currency):
            refusal = _send_invoice(press.sender, plan_code=plan_code, payment_method=payment_method, currency=currency)
        case OpenPortal():
            refusal = _send_portal(press)
        case Remind(wanted):
            text = account.set_reminders(customer_of(press.sender), wanted=wanted)
            gateway.answer_button(query_id=press.query_id, text=text)
            return
        case None:
            refusal = texts.button_out_of_date()
    gateway.answer_button(query_id=press.query_id, text=refusal, alert=bool(refusal))


def _list_of_plans(*, page: int) -> Screen:
    table = currencies.in_force()
    on_sale = Plan.objects.on_sale().prefetch_related("prices")
    offers = [(plan, prices) for plan in on_sale if (prices := invoicing.offered_prices(plan, table=table))]
    if not offers:
        return texts.nothing_on_sale(), None
    return texts.choose_a_plan(), keyboards.plans(offers, page=page)


def _card(plan: Plan) -> Screen:
    return texts.plan_card(plan), keyboards.plan(plan, invoicing.offered_prices(plan))


def _show(press: ButtonPress, screen: Screen) -> None:
    """In the message whose button was pressed; in a new one when that is gone or too old to change."""
    text, keyboard = screen
    if press.message_id is not None:
        try:
            gateway.edit_message(chat_id=press.sender.id, message_id=press.message_id, text=text, keyboard=keyboard)
        except Refused:
            pass
        else:
            return
    gateway.send_message(chat_id=press.sender.id, text=text, keyboard=keyboard)


def _send_portal(press: ButtonPress) -> str:
    """Send the way to the page of Stripe. Returns what to tell him when there is none."""
    try:
        link = selling.portal(customer_of(press.sender))
    except (selling.NeverPaidByStripe, ChannelError):
        return texts.no_portal_now()
    gateway.send_message(chat_id=press.sender.id, text=texts.portal_is_open(), keyboard=keyboards.portal(link))
    return ""


def _send_invoice(
    buyer: Person, *, plan_code: str, payment_method: PaymentMethod | None = None, currency: str | None = None
) -> str:
    """Send an invoice into the buyer's chat. Returns what to tell him when there is none."""
    customer = customer_of(buyer)
    try:
        invoicing.count_attempt(customer=customer)
        invoicing.send_invoice(customer=customer, plan_code=plan_code, currency=currency, payment_method=payment_method)
    except (RateLimited, invoicing.InvoicingError) as refusal:
        return texts.invoice_refused(refusal)
    return ""
