"""Recording money: one idempotent operation for payments and one for refunds, whoever brings them.

The same event again changes nothing. What matches its invoice is processed, access included; anything odd is
recorded and held for a person. Nothing that was paid is dropped. `payments.ordinary` is the same operation for
the ordinary payment in a single statement.
"""

from payments.recording.costs import record_costs
from payments.recording.ledger import hold_unreadable, is_held, is_recorded
from payments.recording.payments import record_payment
from payments.recording.refunds import apply_waiting_refunds, count_refund, record_failed_refund, record_refund
from payments.recording.reports import Details, FailedRefund, Outcome, ReceivedPayment, ReceivedRefund, Recorded

__all__ = [
    "Details",
    "FailedRefund",
    "Outcome",
    "ReceivedPayment",
    "ReceivedRefund",
    "Recorded",
    "apply_waiting_refunds",
    "count_refund",
    "hold_unreadable",
    "is_held",
    "is_recorded",
    "record_costs",
    "record_failed_refund",
    "record_payment",
    "record_refund",
]
