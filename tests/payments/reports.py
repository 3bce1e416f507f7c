"""Reports of money as a channel brings them, made from an invoice."""

from datetime import UTC, datetime

from payments.channels.base import Cost
from payments.models import EventType, Origin, PaymentMethod
from payments.money import Money
from payments.recording import ReceivedPayment, ReceivedRefund


def payment_of(invoice, *, charge_id="stxAlicePays", **changes) -> ReceivedPayment:
    return ReceivedPayment(
        **{
            "method": PaymentMethod(invoice.payment_method),
            "charge_id": charge_id,
            "money": Money(invoice.amount, invoice.currency),
            "payer": invoice.customer.telegram_user_id,
            "payload": invoice.payload,
            "occurred_at": datetime.now(UTC).replace(microsecond=0),
            "origin": Origin.WEBHOOK,
            "raw": b'{"telegram_payment_charge_id": "stxAlicePays"}',
            **changes,
        }
    )


def refund_of(invoice, *, charge_id="stxAlicePays", **changes) -> ReceivedRefund:
    return ReceivedRefund(
        **{
            "method": PaymentMethod(invoice.payment_method),
            "charge_id": charge_id,
            "money": Money(invoice.amount, invoice.currency),
            "payer": invoice.customer.telegram_user_id,
            "payload": invoice.payload,
            "occurred_at": datetime.now(UTC).replace(microsecond=0),
            "origin": Origin.WEBHOOK,
            "raw": b'{"refunded": true}',
            **changes,
        }
    )


def cost(event_type: EventType, amount: int, *, cost_id="txn1", currency="GBP", **changes) -> Cost:
    return Cost(
        **{
            "event_type": event_type,
            "cost_id": cost_id,
            "money": Money(amount, currency),
            "occurred_at": datetime.now(UTC).replace(microsecond=0),
            "raw": b'{"id": "txn1"}',
            **changes,
        }
    )
