"""Why there is no invoice, or no refund, as problems."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from config.api.formats import rfc3339, rfc3339_or_null
from config.api.problems import Code, Problem
from payments import invoicing, refunding

REFUSAL_RETRY_AFTER = 60  # seconds; a person has to mend the catalogue or the settings


@contextmanager
def refusals_as_problems() -> Iterator[None]:
    """:raises Problem: for every InvoicingError and RefundingError"""
    try:
        yield
    except (invoicing.InvoicingError, refunding.RefundingError) as error:
        raise problem_of(error) from error


def problem_of(error: invoicing.InvoicingError | refunding.RefundingError) -> Problem:
    match error:
        case invoicing.PaymentsDisabled():
            return Problem(Code.PAYMENTS_DISABLED, retry_after=REFUSAL_RETRY_AFTER)
        case invoicing.CustomerBlocked():
            return Problem(Code.CUSTOMER_BLOCKED)
        case invoicing.UnknownPlan():
            return Problem(Code.UNKNOWN_PLAN)
        case invoicing.CurrencyNotOffered():
            return Problem(Code.CURRENCY_NOT_OFFERED)
        case invoicing.AlreadyActive():
            return Problem(Code.ALREADY_ACTIVE, expires_at=rfc3339_or_null(error.ends_at))
        case invoicing.ChatUnavailable():
            return Problem(Code.CHAT_UNAVAILABLE)
        case invoicing.ChannelRefused():
            return Problem(
                Code.UNAVAILABLE, "The invoice was refused by who takes the money.", retry_after=REFUSAL_RETRY_AFTER
            )
        case invoicing.ChannelUnavailable():
            return Problem(Code.UNAVAILABLE, "Who takes the money is out of reach.", retry_after=error.retry_after)
        case refunding.UnknownPayment():
            return Problem(Code.NOT_FOUND)
        case refunding.NotRefundable():
            return Problem(Code.NOT_REFUNDABLE, str(error))
        case refunding.AlreadyRefunded():
            asked = f" {_asked(error.asked)}" if error.asked else ""
            return Problem(Code.ALREADY_REFUNDED, f"Given back at {rfc3339(error.refunded_at)}.{asked}")
        case refunding.RefundPending():
            return Problem(Code.REFUND_PENDING, _asked(error.asked), refund_id=str(error.refund_id))
    raise error


def _asked(asked: refunding.Asked) -> str:
    return f"Asked for by {asked.by} at {rfc3339(asked.at)}."
