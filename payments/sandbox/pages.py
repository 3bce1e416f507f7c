"""The pages of the local Stripe, plain on purpose: nobody takes them for the real ones."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape

from payments.sandbox.account import Account, Json, end_of_period

STYLE = """
:root{color-scheme:light dark;--line:light-dark(#d9dee3,#34404d);--quiet:light-dark(#5c6670,#9aa8b5);
--accent:light-dark(#4b45c6,#a5a1ff)}
body{font:16px/1.5 system-ui,sans-serif;max-width:30rem;margin:2rem auto;padding:0 1rem;
background:light-dark(#fff,#161b22);color:light-dark(#0f1419,#f2f5f8)}
h1{font-size:1.4rem}h2{font-size:1rem;margin:2rem 0 .5rem}
.quiet{color:var(--quiet);font-size:.9rem}ul{list-style:none;padding:0}
li{display:flex;flex-wrap:wrap;gap:.25rem 1rem;justify-content:space-between;align-items:center;
padding:.75rem 0;border-top:1px solid var(--line)}li>:first-child{overflow-wrap:anywhere}
form{display:inline}a{color:var(--accent);margin-left:.5rem}
button{font:inherit;padding:.5rem 1rem;border:1px solid var(--line);border-radius:.5rem;cursor:pointer;
background:none;color:inherit}
button.first{background:var(--accent);border-color:transparent;color:light-dark(#fff,#161b22);font-weight:600}
"""
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>Local Stripe</title>
<style>{style}</style></head>
<body><p class="quiet"><strong>Local Stripe</strong>: no money moves here.</p>{body}</body></html>"""
# Whose smallest unit is the whole one: https://docs.stripe.com/currencies#zero-decimal
WHOLE = "bif clp djf gnf jpy kmf krw mga pyg rwf ugx vnd vuv xaf xof xpf"


def checkout(session: Json) -> str:
    """Where a buyer pays."""
    lines = "".join(_row(escape(line["name"]), _price(line)) for line in session["_lines"])
    if session["status"] != "open":
        over = "expired" if session["status"] == "expired" else "been used"
        return _page(f"<h1>This page has {over}</h1><ul>{lines}</ul>")
    total = _money(session["amount_total"], session["currency"])
    leave = f'<a href="{escape(session["cancel_url"] or "", quote=True)}">Leave without paying</a>'
    return _page(f"<h1>Pay {total}</h1><ul>{lines}</ul>{_button('pay', f'Pay {total}', 'first')} {leave}")


def portal(account: Account, customer_id: str) -> str:
    """Where a buyer sees to his subscriptions and reads his receipts."""
    own = [each for each in account.all("subscription") if each["customer"] == customer_id]
    paid = [each for each in account.all("invoice") if each["customer"] == customer_id and each["status"] == "paid"]
    subscriptions = "".join(
        _row(f"{escape(each['_name'])}, {_price(each['_price'])}<br>{_state(each)}", _changes(each)) for each in own
    )
    receipts = "".join(
        _row(_day(each["status_transitions"]["paid_at"]), _money(each["total"], each["currency"])) for each in paid
    )
    none = '<p class="quiet">None.</p>'
    return _page(
        f"<h1>Your subscriptions</h1>{f'<ul>{subscriptions}</ul>' if own else none}"
        f"<h2>Receipts of subscriptions</h2>{f'<ul>{receipts}</ul>' if paid else none}"
    )


def _state(subscription: Json) -> str:
    words = {"active": "Renews on", "past_due": "Not paid; was due on", "canceled": "Ended on"}[subscription["status"]]
    if subscription["status"] == "active" and subscription["cancel_at_period_end"]:
        words = "Cancelled; ends on"
    moment = subscription["ended_at"] or end_of_period(subscription)
    declined = "; the card will be declined" if subscription["_next_fails"] else ""
    return f'<span class="quiet">{words} {_day(moment)}{declined}</span>'


def _changes(subscription: Json) -> str:
    name, status = subscription["id"], subscription["status"]
    if status == "canceled":
        return ""
    if subscription["cancel_at_period_end"]:
        return _button(f"keep/{name}", "Renew it after all")
    decline = status == "active" and not subscription["_next_fails"]
    return (_button(f"decline/{name}", "Decline the next payment") if decline else "") + _button(
        f"cancel/{name}", "Cancel it"
    )


def _page(body: str) -> str:
    return PAGE.format(style=STYLE, body=body)


def _row(left: str, right: str) -> str:
    return f"<li><span>{left}</span><span>{right}</span></li>"


def _button(name: str, words: str, kind: str = "") -> str:
    action = f"?do={escape(name, quote=True)}"
    return f'<form method="post" action="{action}"><button class="{kind}">{escape(words)}</button></form> '


def _price(line: Json) -> str:
    recurring = line.get("recurring")
    every = f" every {int(recurring.get('interval_count', 1))} days" if recurring else ""
    return f"{_money(line['amount'], line['currency'])}{every}"


def _money(amount: int, currency: str) -> str:
    number = f"{amount:,}" if currency in WHOLE.split() else f"{amount // 100:,}.{amount % 100:02}"
    return f"{number} {escape(currency.upper())}"


def _day(moment: int) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%-d %B %Y}"
