"""What Telegram refuses although its shape is right: limits of texts, keyboards, invoices, commands.

The capital words of invoices are those developers report; a few others are guesses in the same manner.
"""

import re
from urllib.parse import urlsplit

from telegram_bot.sandbox.errors import BadRequest
from telegram_bot.sandbox.schema import Json

MAX_STARS = 100_000
MAX_SUBSCRIPTION_STARS = 10_000
SUBSCRIPTION_PERIOD = 2_592_000
STARS_REFUSE = (
    "max_tip_amount", "suggested_tip_amounts", "provider_data", "need_name", "need_phone_number", "need_email",
    "need_shipping_address", "send_phone_number_to_provider", "send_email_to_provider", "is_flexible",
)  # fmt: skip
CURRENCIES = {
    "AED", "AFN", "ALL", "AMD", "ARS", "AUD", "AZN", "BAM", "BDT", "BGN", "BHD", "BND", "BOB", "BRL",
    "BYN", "CAD", "CHF", "CLP", "CNY", "COP", "CRC", "CZK", "DKK", "DOP", "DZD", "EGP", "ETB", "EUR",
    "GBP", "GEL", "GHS", "GTQ", "HKD", "HNL", "HRK", "HUF", "IDR", "ILS", "INR", "IQD", "ISK", "JMD",
    "JOD", "JPY", "KES", "KGS", "KRW", "KZT", "LBP", "LKR", "MAD", "MDL", "MMK", "MNT", "MOP", "MUR",
    "MVR", "MXN", "MYR", "MZN", "NGN", "NIO", "NOK", "NPR", "NZD", "PAB", "PEN", "PHP", "PKR", "PLN",
    "PYG", "QAR", "RON", "RSD", "RUB", "SAR", "SEK", "SGD", "THB", "TJS", "TMT", "TRY", "TTD", "TWD",
    "TZS", "UAH", "UGX", "USD", "UYU", "UZS", "VND", "YER", "ZAR",
}  # fmt: skip


def check_text(text: str) -> None:
    if not text.strip():
        raise BadRequest("message text is empty")
    if len(text) > 4096:
        raise BadRequest("message is too long")


def check_invoice(asked: Json) -> None:
    """The rules of ``sendInvoice`` and ``createInvoiceLink``."""
    if not 1 <= len(asked["title"]) <= 32:
        raise BadRequest("INVOICE_TITLE_INVALID")
    if not 1 <= len(asked["description"]) <= 255:
        raise BadRequest("INVOICE_DESCRIPTION_INVALID")
    if not 1 <= len(asked["payload"].encode(errors="surrogatepass")) <= 128:
        raise BadRequest("INVOICE_PAYLOAD_INVALID")
    if asked["currency"] == "XTR":
        _check_stars(asked)
    else:
        _check_fiat(asked)


def _check_stars(asked: Json) -> None:
    if len(asked["prices"]) != 1 or asked.get("provider_token") or any(asked.get(name) for name in STARS_REFUSE):
        raise BadRequest("STARS_INVOICE_INVALID")
    if not 1 <= asked["prices"][0]["amount"] <= MAX_STARS:
        raise BadRequest("CURRENCY_TOTAL_AMOUNT_INVALID")


def _check_fiat(asked: Json) -> None:
    if asked["currency"] not in CURRENCIES:
        raise BadRequest("CURRENCY_INVALID")
    if not asked.get("provider_token"):
        raise BadRequest("PAYMENT_PROVIDER_INVALID")
    if not asked["prices"] or sum(price["amount"] for price in asked["prices"]) <= 0:
        raise BadRequest("CURRENCY_TOTAL_AMOUNT_INVALID")
    if asked.get("is_flexible") or asked.get("need_shipping_address"):
        raise BadRequest("SHIPPING_UNAVAILABLE: the local Telegram ships nothing")


def check_subscription(asked: Json) -> None:
    period = asked.get("subscription_period")
    if not period:
        return
    if period != SUBSCRIPTION_PERIOD or asked["currency"] != "XTR":
        raise BadRequest("SUBSCRIPTION_PERIOD_INVALID")
    if asked["prices"][0]["amount"] > MAX_SUBSCRIPTION_STARS:
        raise BadRequest("SUBSCRIPTION_PRICE_INVALID")


def check_inline_keyboard(markup: Json, *, carries_invoice: bool = False) -> None:
    rows = markup["inline_keyboard"]
    for button in (button for row in rows for button in row):
        _check_button(button)
    paying = [(at, place) for at, row in enumerate(rows) for place, button in enumerate(row) if button.get("pay")]
    if carries_invoice and rows and paying != [(0, 0)]:
        raise BadRequest("REPLY_MARKUP_BUY_EMPTY")
    if paying and not carries_invoice:
        raise BadRequest("BUTTON_TYPE_INVALID")


def _check_button(button: Json) -> None:
    if not button["text"].strip():
        raise BadRequest("can't parse inline keyboard button: Text buttons are unallowed in the inline keyboard")
    if len(button.keys() - {"text", "icon_custom_emoji_id", "style"}) != 1:
        raise BadRequest("can't parse inline keyboard button: exactly one kind of button must be chosen")
    if "callback_data" in button and not 1 <= len(button["callback_data"].encode()) <= 64:
        raise BadRequest("BUTTON_DATA_INVALID")
    if "url" in button and not is_address(button["url"], schemes=("http", "https", "tg")):
        raise BadRequest(f"inline keyboard button URL '{button['url']}' is invalid: Wrong HTTP URL")
    if "web_app" in button and not is_address(button["web_app"]["url"]):
        raise BadRequest(f"inline keyboard button Web App URL '{button['web_app']['url']}' is invalid")


def check_commands(commands: list[Json]) -> None:
    if len(commands) > 100:
        raise BadRequest("BOT_COMMANDS_TOO_MUCH")
    for command in commands:
        if not re.fullmatch(r"[a-z0-9_]{1,32}", command["command"].removeprefix("/")):
            raise BadRequest("BOT_COMMAND_INVALID")
        if not 1 <= len(command["description"]) <= 256:
            raise BadRequest("BOT_COMMAND_DESCRIPTION_INVALID")


def check_webhook(asked: Json) -> None:
    """Unlike the hosted Bot API this one also takes plain http, any port and this machine's addresses."""
    if asked["url"] and not is_address(asked["url"]):
        raise BadRequest("bad webhook: invalid webhook URL specified")
    if not re.fullmatch(r"[A-Za-z0-9_-]{0,256}", asked.get("secret_token", "")):
        raise BadRequest("secret token contains unallowed characters")
    if not 1 <= asked.get("max_connections", 40) <= 100:
        raise BadRequest("max_connections must be from 1 to 100")


def is_address(url: str, *, schemes: tuple[str, ...] = ("http", "https")) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in schemes and bool(parts.netloc)
