"""The admin's menu, by task and not by table; whoever may not see a list does not see its entry."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse_lazy

Item = dict[str, Any]


def _item(title: str, icon: str, model: str, *, needs: str = "") -> Item:
    """An entry for the list of a model, like `payments.hold`, which may need a setting to be there."""
    app_label, _, name = model.partition(".")

    def may_see(request: HttpRequest) -> bool:
        is_there = not needs or bool(getattr(settings, needs))
        return is_there and request.user.has_perms([f"{app_label}.view_{name}"])

    address = reverse_lazy(f"admin:{app_label}_{name}_changelist")
    return {"title": title, "icon": icon, "link": address, "permission": may_see}


def _page(title: str, icon: str, name: str, permission: str) -> Item:
    """An entry for a page that is no list."""

    def may_see(request: HttpRequest) -> bool:
        return request.user.has_perm(permission)

    return {"title": title, "icon": icon, "link": reverse_lazy(f"admin:{name}"), "permission": may_see}


def _group(title: str, *items: Item) -> dict[str, Any]:
    return {"title": title, "separator": True, "items": list(items)}


NAVIGATION = [
    {"items": [{"title": "Overview", "icon": "home", "link": reverse_lazy("admin:index")}]},
    _group(
        "Money",
        _item("Payments", "payments", "payments.paymentevent"),
        _item("Held", "pan_tool", "payments.hold"),
        _item("Refunds", "undo", "payments.refund"),
        _item("Disputes", "gavel", "payments.dispute", needs="STRIPE_SECRET_KEY"),
        _item("Subscriptions", "autorenew", "payments.subscription"),
        _page("Revenue", "monitoring", "payments_revenue", "payments.view_revenue"),
    ),
    _group(
        "Access",
        _item("Customers", "group", "entitlements.customer"),
        _item("Entitlements", "verified_user", "entitlements.entitlement"),
        _item("Grants", "card_giftcard", "entitlements.grant"),
    ),
    _group(
        "Shop",
        _item("Plans", "sell", "payments.plan"),
        _item("Prices", "price_change", "payments.price"),
        _item("Invoices", "receipt_long", "payments.invoice"),
    ),
    _group(
        "Operations",
        _item("Updates", "inbox", "telegram_bot.incomingupdate"),
        _item("Webhook", "webhook", "telegram_bot.webhookstate"),
        _item("Events of Stripe", "inbox", "payments.stripeevent", needs="STRIPE_SECRET_KEY"),
        _item("Messages", "outbox", "payments.notice"),
        _item("Reconciliation", "balance", "payments.reconciliationrun"),
        _item("Discrepancies", "rule", "payments.discrepancy"),
        _item("Checks", "rule", "payments.invariantcheck"),
        _item("Jobs", "manufacturing", "procrastinate.procrastinatejob"),
    ),
    _group(
        "Settings",
        _item("API clients", "key", "entitlements.apiclient"),
        _item("Staff", "badge", "auth.user"),
        _item("Groups", "groups", "auth.group"),
        _item("Audit", "fact_check", "entitlements.auditentry"),
    ),
]
