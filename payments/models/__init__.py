"""The catalogue, the quotes made from it, the ledger, and what is owed because of it."""

from payments.models.catalogue import PaymentMethod, Plan, Price, WhenActive
from payments.models.currencies import TelegramCurrency
from payments.models.invariants import InvariantCheck
from payments.models.invoices import CheckoutDecision, ExpiryUpTo, Invoice, InvoiceStatus
from payments.models.ledger import (
    EarlyRefund,
    EventStatus,
    EventType,
    Hold,
    HoldReason,
    Origin,
    PaymentEvent,
    ProviderRecord,
    Resolution,
)
from payments.models.notices import Notice, NoticeKind, WithoutReminders
from payments.models.order_info import OrderInfo
from payments.models.reconciliation import (
    Discrepancy,
    DiscrepancyKind,
    ReconciliationRun,
    RunOutcome,
)
from payments.models.refunds import (
    Direction,
    MirrorCursor,
    Refund,
    RefundResult,
    RefundStatus,
    RefundTally,
    StarTransaction,
)
from payments.models.revenue import RevenueDay, RevenueUpTo, SubscriptionDay
from payments.models.stripe import Dispute, StripeCustomer, StripeEvent, StripeEventStatus, StripeReadUpTo
from payments.models.subscriptions import (
    Order,
    Subscription,
    SubscriptionChange,
    SubscriptionOrder,
    SubscriptionPayment,
    SubscriptionState,
)
from payments.models.tallies import Tally, TallyResult, TallyUpTo

__all__ = [
    "CheckoutDecision",
    "Direction",
    "Discrepancy",
    "DiscrepancyKind",
    "Dispute",
    "EarlyRefund",
    "EventStatus",
    "EventType",
    "ExpiryUpTo",
    "Hold",
    "HoldReason",
    "InvariantCheck",
    "Invoice",
    "InvoiceStatus",
    "MirrorCursor",
    "Notice",
    "NoticeKind",
    "Order",
    "OrderInfo",
    "Origin",
    "PaymentEvent",
    "PaymentMethod",
    "Plan",
    "Price",
    "ProviderRecord",
    "ReconciliationRun",
    "Refund",
    "RefundResult",
    "RefundStatus",
    "RefundTally",
    "Resolution",
    "RevenueDay",
    "RevenueUpTo",
    "RunOutcome",
    "StarTransaction",
    "StripeCustomer",
    "StripeEvent",
    "StripeEventStatus",
    "StripeReadUpTo",
    "Subscription",
    "SubscriptionChange",
    "SubscriptionDay",
    "SubscriptionOrder",
    "SubscriptionPayment",
    "SubscriptionState",
    "Tally",
    "TallyResult",
    "TallyUpTo",
    "TelegramCurrency",
    "WhenActive",
    "WithoutReminders",
]
