"""The doctor on the bot: what Telegram says of it, and what waits in the inbox."""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings
from telegram import WebhookInfo

from config.attention import how_long
from config.checkup import Finding, bad, good, skipped
from config.database import database_now
from config.health import LONGEST_WAIT
from payments.channels.base import ChannelError
from telegram_bot.attention import list_of
from telegram_bot.bot_settings import ALLOWED_UPDATES
from telegram_bot.gateway import TokenRefused, gateway
from telegram_bot.metrics import inbox_oldest_seconds
from telegram_bot.models import IncomingUpdate, UpdateStatus
from telegram_bot.webhook_watch import MOST_PENDING, RECENT

LARGEST_SKEW = 5.0  # seconds; Telegram tells whole ones
NO_TOKEN = "there is no token to ask Telegram with"  # noqa: S105 - a sentence
REGISTER = "Run `manage.py set_webhook`."


def token() -> Iterator[Finding]:
    if not settings.TELEGRAM_BOT_TOKEN:
        yield bad("bot token", "not set", "Set TELEGRAM_BOT_TOKEN to the token that @BotFather gave you.")
        return
    try:
        yield good("bot token", f"it is @{gateway.username()}'s")
    except TokenRefused:
        yield bad("bot token", "Telegram does not know it", "Set TELEGRAM_BOT_TOKEN to the one @BotFather gave you.")
    except ChannelError as error:
        yield _out_of_reach("bot token", error)


def telegrams_clock() -> Iterator[Finding]:
    try:
        theirs = gateway.clock()
    except ChannelError as error:
        yield _out_of_reach("Telegram's clock", error)
        return
    skew = (database_now() - theirs).total_seconds()
    if abs(skew) <= LARGEST_SKEW:
        yield good("Telegram's clock", f"within {LARGEST_SKEW:.0f} s of the database's")
    else:
        seen = f"the database's is {abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}"
        yield bad("Telegram's clock", seen, "Have the database's machine follow NTP: access begins and ends by it.")


def webhook() -> Iterator[Finding]:
    """Where Telegram delivers, which updates, and whether they arrive."""
    if not settings.TELEGRAM_BOT_TOKEN:
        yield skipped("webhook", NO_TOKEN)
        return
    try:
        info = gateway.webhook_info()
    except ChannelError as error:
        yield _out_of_reach("webhook", error)
        return
    if info.url or not settings.DEBUG:
        yield _address(info)
        yield _allowed_updates(info)
    else:
        yield skipped("webhook", "none is set: updates are fetched by `manage.py poll`")
    yield _deliveries(info)


def _address(info: WebhookInfo) -> Finding:
    wanted = settings.TELEGRAM_WEBHOOK_URL
    if info.url == wanted:
        return good("webhook", f"{wanted}, {info.max_connections or 40} connections at most")
    seen = f"Telegram delivers to {info.url}, not to {wanted}" if info.url else "none is set"
    return bad("webhook", seen, f"{REGISTER} Who fetches updates by `manage.py poll` needs none.")


def _allowed_updates(info: WebhookInfo) -> Finding:
    missing = [kind for kind in ALLOWED_UPDATES if kind not in (info.allowed_updates or ())]
    if missing:
        return bad("kinds of updates", f"Telegram does not send {', '.join(missing)}", REGISTER)
    return good("kinds of updates", "all that we act on")


def _deliveries(info: WebhookInfo) -> Finding:
    waiting = info.pending_update_count
    if info.last_error_date and database_now() - info.last_error_date < RECENT:
        return bad(
            "deliveries",
            f"one failed at {info.last_error_date:%H:%M} UTC: {info.last_error_message};"
            f" {_updates(waiting)} at Telegram",
            "Is the address above reached from outside, with a valid certificate, and answered by `manage.py serve`?",
        )
    if waiting > MOST_PENDING:
        return bad("deliveries", f"{_updates(waiting)} at Telegram", "Is `manage.py serve` running and quick enough?")
    return good("deliveries", f"{_updates(waiting)} at Telegram")


def _updates(waiting: int) -> str:
    return f"{waiting or 'no'} update{'s wait' if waiting > 1 else ' waits'}"


def inbox() -> Iterator[Finding]:
    waited = inbox_oldest_seconds()
    seen = f"the oldest due update has waited {how_long(waited)}" if waited else "none waits"
    if waited > LONGEST_WAIT:
        yield bad("inbox", seen, "Start `manage.py worker`, or more of them.")
    else:
        yield good("inbox", seen)
    for status, words in ((UpdateStatus.DEAD, "given up"), (UpdateStatus.QUARANTINED, "not understood")):
        count = IncomingUpdate.objects.filter(status=status).count()
        if count:
            yield bad(
                f"updates {words}",
                f"{count}",
                f"Replay or dismiss them at {settings.PUBLIC_URL}{list_of(status)}",
            )
        else:
            yield good(f"updates {words}", "none")


def _out_of_reach(what: str, error: ChannelError) -> Finding:
    return bad(what, f"Telegram does not answer: {error}", f"Is {settings.TELEGRAM_API_BASE_URL} reached from here?")
