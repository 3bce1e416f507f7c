"""Every word the bot says, in the language that is active: see `speaking`. Longer texts are in templates/telegram/."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime

from babel.dates import format_datetime
from django.conf import settings
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.translation import get_language, ngettext
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as N_

from config.api.ratelimit import RateLimited
from payments.checkout import Reason
from payments.invoicing import (
    AlreadyActive,
    ChannelRefused,
    ChannelUnavailable,
    CurrencyNotOffered,
    CustomerBlocked,
    InvoicingError,
    PaymentsDisabled,
    UnknownPlan,
)
from payments.models import HoldReason, PaymentMethod, Plan, Price, Subscription, SubscriptionState
from payments.money import Money
from payments.selectors import PaymentStatus

COMMANDS = {
    "plans": N_("Plans and prices"),
    "buy": N_("Buy a plan"),
    "status": N_("What I have, and until when"),
    "history": N_("My payments"),
    "reminders": N_("Reminders of my subscriptions"),
    "paysupport": N_("Help with a payment"),
    "support": N_("Help with anything else"),
    "terms": N_("Terms of sale"),
    "help": N_("What this bot can do"),
}

CHECKOUT_REFUSALS = {
    Reason.UNKNOWN_PAYLOAD: N_("This invoice is not one of ours. Nothing was charged. Send /buy for a new one."),
    Reason.FOREIGN_PAYER: N_(
        "This invoice was made for somebody else. Nothing was charged. Send /buy to this bot for one of your own."
    ),
    Reason.CURRENCY_MISMATCH: N_(
        "The currency is not the one of the invoice. Nothing was charged. Send /buy for a new invoice."
    ),
    Reason.AMOUNT_MISMATCH: N_(
        "The amount is not the one of the invoice. Nothing was charged. Send /buy for a new invoice."
    ),
    Reason.ALREADY_PAID: N_(
        "This invoice has been paid already. Nothing more was charged. Send /status to see what you have."
    ),
    Reason.EXPIRED: N_("This invoice has expired. Nothing was charged. Send /buy for a new one."),
    Reason.CUSTOMER_BLOCKED: N_("This account cannot buy here. Nothing was charged. Send /support to ask why."),
    Reason.PAYMENTS_DISABLED: N_("Sales are paused. Nothing was charged. Please try again later."),
    Reason.PLAN_UNAVAILABLE: N_("This plan is no longer sold. Nothing was charged. Send /plans to see the others."),
    Reason.ALREADY_ACTIVE: N_("You already have this. Nothing was charged. Send /status to see until when."),
}


# --- Languages, dates, times --------------------------------------------------------------------------------------


def language_of(language_code: str) -> str:
    """The language we speak with somebody whose Telegram is set to `language_code`; English when we do not know it."""
    try:
        return translation.get_supported_language_variant(language_code.lower())
    except LookupError:
        return settings.LANGUAGE_CODE


def speaking(language_code: str) -> AbstractContextManager[None]:
    """Within it, every text is in the language nearest to `language_code`."""
    return translation.override(language_of(language_code))


def _language() -> str:
    return get_language() or settings.LANGUAGE_CODE


def moment(at: datetime) -> str:
    """Like `21 December 2026, 10:00 UTC`."""
    return format_datetime(at.astimezone(UTC), "d MMMM y, HH:mm 'UTC'", locale=_language())


def amount(money: Money) -> str:
    return money.in_words(_language())


def try_again_in(seconds: int) -> str:
    return ngettext("Please try again in %(n)d second.", "Please try again in %(n)d seconds.", seconds) % {"n": seconds}


# --- The bot itself -------------------------------------------------------------------------------------------------


def commands() -> dict[str, str]:
    """What each command does, for the list that Telegram shows."""
    return {name: _(what) for name, what in COMMANDS.items()}


def description() -> str:
    """At most 512 characters, in an empty chat."""
    return _("Choose a plan, pay in two taps, and use it at once. I also show what you have and what you have paid.")


def short_description() -> str:
    """At most 120 characters, on the bot's profile."""
    return _("Plans, payments and access, in two taps.")


def welcome(name: str) -> str:
    greeting = _("Hello, %(name)s!") % {"name": name} if name else _("Hello!")
    return "\n\n".join([greeting, description(), _("Send /help to see all I can do.")])


def help_text() -> str:
    lines = [f"/{name} — {what}" for name, what in commands().items()]
    return "\n".join([_("This is what I can do:"), "", *lines])


def unknown_command() -> str:
    return _("I do not know that command. Send /help to see those I know.")


def not_understood() -> str:
    return _("I understand commands and buttons only. Send /plans to buy, /status to see what you have, or /help.")


def only_in_private() -> str:
    return _("I sell in private chats only. Please open a chat with me and send /start there.")


def button_out_of_date() -> str:
    return _("This button is out of date. Send /plans to choose anew.")


# --- The shop -------------------------------------------------------------------------------------------------------


def see_plans() -> str:
    return _("See the plans")


def all_plans() -> str:
    return _("« All plans")


def choose_a_plan() -> str:
    return _("Choose a plan:")


def nothing_on_sale() -> str:
    return _("Nothing is on sale at the moment. What you have keeps working; see /status.")


def plan_button(plan: Plan, prices: Sequence[Price]) -> str:
    return " · ".join([plan.title, *(amount(price.money) for price in prices[:1])])


def plan_card(plan: Plan) -> str:
    return "\n\n".join([plan.title, plan.description, _duration(plan)])


def _duration(plan: Plan) -> str:
    days = plan.duration_days
    if days is None:
        return _("Access for life.")
    if plan.recurring:
        text = ngettext(
            "Access for %(n)d day, renewed by itself until you cancel it.",
            "Access for %(n)d days, renewed by itself until you cancel it.",
            days,
        )
    else:
        text = ngettext("Access for %(n)d day.", "Access for %(n)d days.", days)
    return text % {"n": days}


def pay(money: Money) -> str:
    return _("Pay %(price)s") % {"price": amount(money)}


def pay_button(price: Price) -> str:
    """On a button of the plan's card; it says how, because there may be several ways."""
    words = {"price": amount(price.money)}
    match price.payment_method:
        case PaymentMethod.TELEGRAM_PROVIDER:
            return _("Pay %(price)s by card") % words
        case PaymentMethod.STRIPE:
            return _("Pay %(price)s with Stripe") % words
    return pay(price.money)


def pay_by_link(*, title: str, money: Money, renews: bool) -> str:
    words = {"title": title, "price": amount(money)}
    if renews:
        return _("%(title)s for %(price)s, renewed by itself until you cancel it.") % words
    return _("%(title)s for %(price)s. The button opens the page where you pay.") % words


def invoice_refused(error: InvoicingError | RateLimited) -> str:
    """Why there is no invoice, and what to do next."""
    match error:
        case RateLimited():
            return " ".join([_("That was a lot of invoices at once."), try_again_in(error.retry_after)])
        case ChannelUnavailable():
            return " ".join([_("The invoice could not be made just now."), try_again_in(error.retry_after)])
        case AlreadyActive(renews=True):
            return _("You subscribe to this already, and it is renewed by itself. See /status.")
        case AlreadyActive(ends_at=None):
            return _("You already have this for life. There is nothing more to pay.")
        case AlreadyActive(ends_at=datetime() as end):
            return _("You already have this until %(end)s. It can be bought again after that. See /status.") % {
                "end": moment(end)
            }
        case PaymentsDisabled():
            return _("Sales are paused. What you have keeps working. Please try again later.")
        case CustomerBlocked():
            return _("This account cannot buy here. Send /support to ask why.")
        case UnknownPlan():
            return _("There is no such plan on sale. Send /plans to see those there are.")
        case CurrencyNotOffered():
            return _("This plan is no longer sold that way. Send /plans to choose anew.")
        case ChannelRefused():
            return _("This plan cannot be paid that way just now. Try another one in /plans, or send /paysupport.")
    raise error


def checkout_refused(reason: str) -> str:
    """Why Pay does not go on, in at most 200 characters, which is all that Telegram shows."""
    return _(CHECKOUT_REFUSALS[Reason(reason)])


# --- What one has and has paid --------------------------------------------------------------------------------------


def open_portal() -> str:
    return _("Cards, receipts, subscriptions")


def portal_is_open() -> str:
    return _("Here you see to your cards, receipts and subscriptions at Stripe. The link works for a few minutes.")


def no_portal_now() -> str:
    return _("That page cannot be opened just now. Please try again later.")


def no_access_yet() -> str:
    return _("You have nothing yet. Send /plans to see what there is.")


def access(title: str, *, active: bool, ends_at: datetime | None) -> str:
    """One line of /status."""
    if ends_at is None:
        return _("✅ %(title)s: for life") % {"title": title}
    line = _("✅ %(title)s: until %(end)s") if active else _("▫️ %(title)s: ended %(end)s")
    return line % {"title": title, "end": moment(ends_at)}


def subscription(subscription: Subscription) -> str:
    """A paragraph of /status: what is charged when, or when it ends."""
    words = _words_of(subscription)
    match subscription.state:
        case SubscriptionState.ACTIVE:
            return _("🔁 %(title)s: renews on %(end)s for %(price)s.") % words
        case SubscriptionState.FAILED:
            return _("⚠️ %(title)s: the renewal of %(price)s, due on %(end)s, was not paid.") % words
    ends = _("⏹ %(title)s: cancelled, ends on %(end)s.") % words
    if subscription.stopped_at or subscription.payment_method == PaymentMethod.STRIPE:
        return ends
    return " ".join([ends, _("Until then you can turn it on again in Telegram.")])


def how_to_cancel(payment_method: str) -> str:
    if payment_method == PaymentMethod.STRIPE:
        return _("To cancel, renew or change the card at Stripe: send /status and press the button.")
    return _("To cancel or renew: Telegram's Settings → My Stars → My subscriptions.")


def subscription_reminder(subscription: Subscription) -> str:
    """What is about to happen to it, or has happened, and what to do."""
    words = _words_of(subscription)
    match subscription.state:
        case SubscriptionState.ACTIVE if subscription.payment_method == PaymentMethod.STRIPE:
            text = _("🔁 %(title)s is renewed on %(end)s: %(price)s from your card.")
        case SubscriptionState.FAILED if subscription.payment_method == PaymentMethod.STRIPE:
            text = _(
                "⚠️ %(price)s for %(title)s could not be charged to your card. What you have lasts until %(grace)s."
            )
        case SubscriptionState.ACTIVE:
            text = _("🔁 %(title)s is renewed on %(end)s for %(price)s. Please see that you have enough Stars by then.")
        case SubscriptionState.CANCELED:
            text = _("⏹ %(title)s ends on %(end)s, because it was cancelled.")
        case SubscriptionState.FAILED:
            text = _(
                "⚠️ %(price)s for %(title)s could not be charged. What you have lasts until %(grace)s. "
                "To keep it, add Stars and renew it."
            )
        case _ended:
            return _("▫️ %(title)s ended on %(end)s. Send /plans to have it again.") % words
    return "\n\n".join(
        [text % words, *([] if subscription.stopped_at else [how_to_cancel(subscription.payment_method)])]
    )


def _words_of(subscription: Subscription) -> dict[str, str]:
    return {
        "title": subscription.plan.title if subscription.plan else amount(subscription.money),
        "price": amount(subscription.money),
        "end": moment(subscription.current_period_end),
        "grace": moment(subscription.grace_ends_at),
    }


def no_reminders() -> str:
    return _("No more reminders")


def remind_me() -> str:
    return _("Remind me")


def reminders_on() -> str:
    return _("I remind you before a subscription is renewed or ends. Send /reminders off to be left alone.")


def reminders_off() -> str:
    return _("I send you no reminders of subscriptions. Send /reminders on to have them again.")


def no_payments_yet() -> str:
    return _("You have not paid for anything yet. Send /plans to see what there is.")


def latest_payments() -> str:
    return _("Your latest payments:")


def payment(*, title: str, money: Money, paid_at: datetime, state: str, payment_id: str) -> str:
    """One entry of /history; the number is what support asks for."""
    head = " · ".join(part for part in (moment(paid_at), title, amount(money), state) if part)
    return "\n".join([head, _("No. %(number)s") % {"number": payment_id}])


def payment_state(status: PaymentStatus) -> str:
    """What became of a payment, in a word or two."""
    match status:
        case PaymentStatus.PROCESSED:
            return _("paid")
        case PaymentStatus.HELD:
            return _("being looked at")
        case PaymentStatus.REFUNDED:
            return _("returned")
        case PaymentStatus.DISMISSED:
            return _("closed")


# --- Notices --------------------------------------------------------------------------------------------------------


def _lasts_until(ends_at: datetime | None) -> str:
    if ends_at is None:
        return _("Your access is for life.")
    return _("Your access lasts until %(end)s.") % {"end": moment(ends_at)}


def payment_confirmed(*, title: str, money: Money) -> str:
    return _("✅ Paid: %(title)s, %(price)s.") % {"title": title, "price": amount(money)}


def payment_held(*, money: Money, reason: HoldReason, payment_id: str) -> str:
    received = _("Your payment of %(price)s has arrived.") % {"price": amount(money)}
    if reason == HoldReason.BOUGHT_TWICE:
        why = _("You had paid for this already, so this second payment is kept for you and will be returned.")
    else:
        why = _(
            "Somebody has to look at it before access is given. Please do not pay again: we will write to you here."
        )
    ask = _("Questions: /paysupport, with the number %(number)s.") % {"number": payment_id}
    return "\n\n".join([received, why, ask])


def payment_returned(*, title: str, money: Money) -> str:
    return _("↩️ Returned: %(price)s for %(title)s.") % {"title": title, "price": amount(money)}


def refund_failed(*, title: str, money: Money, payment_id: str) -> str:
    failed = _("⚠️ Your %(price)s for %(title)s did not reach you: your bank sent it back.") % {
        "title": title,
        "price": amount(money),
    }
    ask = _("We look for another way. Questions: /paysupport, with the number %(number)s.") % {"number": payment_id}
    return f"{failed} {ask}"


def access_now(*, active: bool, ends_at: datetime | None) -> str:
    """What a customer has after what was just announced."""
    return _lasts_until(ends_at) if active else _("The access it had bought has ended. Send /plans to choose anew.")


# --- Pages ----------------------------------------------------------------------------------------------------------


def page(name: str) -> str:
    """A text of the house: `terms`, `support` or `paysupport`, from `templates/telegram/<name>.<language>.txt`."""
    return render_to_string(f"telegram/{name}.{_language()}.txt", {"public_url": settings.PUBLIC_URL}).strip()
