"""The books in the admin, for reading, by subject."""

from payments.admin import (
    catalogue,
    holds,
    invariants,
    invoices,
    ledger,
    notices,
    reconciliation,
    refunds,
    revenue,
    stripe,
    subscriptions,
)

__all__ = [
    "catalogue",
    "holds",
    "invariants",
    "invoices",
    "ledger",
    "notices",
    "reconciliation",
    "refunds",
    "revenue",
    "stripe",
    "subscriptions",
]
