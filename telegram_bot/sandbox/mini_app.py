"""What a Mini App gets from Telegram when a person opens it."""

import hashlib
import hmac
import json
import secrets
from urllib.parse import quote, urlencode

from telegram_bot.sandbox.truth import Person


def init_data(person: Person, *, token: str, auth_date: int) -> str:
    """``Telegram.WebApp.initData`` signed with the bot's token.

    ``signature`` is Telegram's own, made with a key nobody else has: here it is noise, and as there it is
    covered by ``hash``.
    """
    user = {
        "id": person.id,
        "first_name": person.first_name,
        "last_name": person.last_name or "",
        "username": person.username,
        "language_code": person.language_code,
        "allows_write_to_pm": person.started and not person.blocked,
    }
    fields = {
        "query_id": f"AA{secrets.token_urlsafe(15)}",
        "user": json.dumps({name: value for name, value in user.items() if value is not None}, separators=(",", ":")),
        "auth_date": str(auth_date),
        "signature": secrets.token_urlsafe(64),
    }
    lines = "\n".join(f"{name}={value}" for name, value in sorted(fields.items()))
    key = hmac.digest(b"WebAppData", token.encode(), "sha256")
    fields["hash"] = hmac.new(key, lines.encode(errors="surrogatepass"), hashlib.sha256).hexdigest()
    return urlencode(fields, quote_via=quote)
