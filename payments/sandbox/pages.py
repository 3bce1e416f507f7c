"""The pages of the local Stripe, plain on purpose: nobody takes them for the real ones."""

from __future__ import annotations

from html import escape

from payments.sandbox.account import Account, Json

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>Local Stripe</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:30rem;margin:3rem auto;padding:0 1rem}}
button{{font:inherit;padding:.5rem 1rem;margin:.25rem .5rem .25rem 0}}li{{margin:.5rem 0}}</style></head>
<body><p><strong>Local Stripe</strong>: no money moves here.</p>{body}</body></html>"""


def checkout(session: Json) -> str:
    """Where a buyer pays."""
    lines = "".join(f"<li>{escape(line['name'])}: {_money(line)}</li>" for line in session["_lines"])
    if session["status"] != "open":
        over = "expired" if session["status"] == "expired" else "been used"
        return PAGE.format(body=f"<h1>This page has {over}</h1><ul>{lines}</ul>")
    leave = f"<a href='{escape(session['cancel_url'] or '', quote=True)}'>Leave</a>"
    return PAGE.format(body=f"<h1>Pay</h1><ul>{lines}</ul>{_button('pay', 'Pay')}{leave}")


def portal(account: Account, customer_id: str) -> str:
    """Where a buyer sees to his subscriptions."""
    own = [each for each in account.all("subscription") if each["customer"] == customer_id]
    rows = "".join(f"<li>{escape(each['id'])}: {_state(each)} {_change(each)}</li>" for each in own)
    return PAGE.format(body=f"<h1>Your subscriptions</h1><ul>{rows or '<li>None.</li>'}</ul>")


def _state(subscription: Json) -> str:
    return escape("ends with its period" if subscription["cancel_at_period_end"] else subscription["status"])


def _change(subscription: Json) -> str:
    if subscription["status"] == "canceled":
        return ""
    if subscription["cancel_at_period_end"]:
        return _button(f"keep/{subscription['id']}", "Renew it after all")
    return _button(f"cancel/{subscription['id']}", "Cancel it")


def _button(name: str, words: str) -> str:
    return f"<form method='post' action='?do={escape(name, quote=True)}'><button>{escape(words)}</button></form>"


def _money(line: Json) -> str:
    return f"{line['amount']} of the smallest unit of {escape(line['currency'].upper())}"
