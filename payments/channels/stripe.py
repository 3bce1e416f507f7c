"""HTTP to Stripe and Stripe's JSON, and the only file that knows them: synchronous calls by its own SDK, each limited
in time, with typed errors.

What comes back is read once, here, in the version of the API that the SDK asks for, whatever version events come in.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from django.conf import settings
from django.db import connections

from entitlements.models import Customer
from payments.channels.base import (
    AlreadyRefunded,
    ChannelError,
    Cost,
    Faulty,
    NotRenewing,
    Refused,
    Unavailable,
    Unclear,
)
from payments.models import EventType, Invoice, Price
from payments.money import Money

if TYPE_CHECKING:
    from stripe import StripeClient, StripeError, StripeObject

# The SDK is imported where it is used: that takes a third of a second, and only who sells by Stripe needs it.

CONNECT_LIMIT, READ_LIMIT = 2.0, 5.0  # seconds, per call
TOLERANCE = timedelta(minutes=5)  # how old a signature may be, or how far in the future
PAYLOAD, USER, INTENT = "starledger_payload", "starledger_user_id", "starledger_refund"  # in metadata: whose it is
AT_ONCE = 100
DISPUTE_IS_OVER = ("won", "lost", "warning_closed", "prevented")

Json = dict[str, Any]


class KeyRefused(Unavailable):
    """Stripe does not take the key. Nothing works until STRIPE_SECRET_KEY is right and allows what we do."""


class Missing(Refused):
    """There is no such thing at Stripe, in this account and mode; `what` is the parameter that named it."""

    def __init__(self, description: str, *, what: str = "") -> None:
        super().__init__(description)
        self.what = what


class BadSignature(Exception):
    """It was not signed by Stripe for us, or too long ago."""


class CallInsideTransaction(Exception):
    """Stripe was to be called while a database transaction was open, which would hold its locks for seconds."""


def is_set_up() -> bool:
    """Whether anything is sold by Stripe here."""
    return bool(settings.STRIPE_SECRET_KEY)


def is_live() -> bool:
    """Whether the key is for real money."""
    return "_live_" in settings.STRIPE_SECRET_KEY


def probe() -> None:
    """See that Stripe answers and takes the key, of the mode that it says it is, also for what the balance is made of.

    :raises ChannelError: see payments.channels.base
    """
    if _call(lambda client: client.v1.balance.retrieve())["livemode"] is not is_live():
        raise Refused("the key is of another mode than it looks")
    _call(lambda client: client.v1.balance_transactions.list({"limit": 1}))  # without these no payment can be read


# --- Events -----------------------------------------------------------------------------------------------------------


def verify(body: bytes, *, signature: str) -> datetime:
    """See that Stripe signed these bytes for us, and return when. Two secrets are taken while they are rotated.

    :param signature: the header Stripe-Signature
    :raises BadSignature:
    """
    from stripe import SignatureVerificationError, WebhookSignature

    try:
        signed_at = next(int(part[2:]) for part in signature.split(",") if part.startswith("t="))
        moment = datetime.fromtimestamp(signed_at, UTC)
    except (StopIteration, ValueError, OverflowError, OSError) as error:
        raise BadSignature("no time") from error
    for secret in settings.STRIPE_WEBHOOK_SECRETS:
        try:
            WebhookSignature.verify_header(body, signature, secret)
        except (SignatureVerificationError, ValueError, TypeError):
            continue
        return moment
    raise BadSignature("not ours")


def is_timely(signed_at: datetime, *, now: datetime) -> bool:
    """Whether a signature is of these minutes: what was recorded on the way is of no use later."""
    return abs(now - signed_at) <= TOLERANCE


def events_since(moment: datetime, kinds: Sequence[str]) -> Iterator[Json]:
    """Stripe's own list of events of these kinds since then, newest first; it reaches back 30 days."""
    page: Json = {"has_more": True, "data": []}
    while page["has_more"]:
        last = {"starting_after": page["data"][-1]["id"]} if page["data"] else {}
        asked: Any = {"types": list(kinds), "created": {"gte": int(moment.timestamp())}, "limit": AT_ONCE, **last}
        page = _events(asked)
        yield from page["data"]
        if not page["data"]:
            return


def _events(asked: Any) -> Json:
    return _call(lambda client: client.v1.events.list(asked))


# --- Selling ----------------------------------------------------------------------------------------------------------


def create_customer(customer: Customer, *, attempt: UUID) -> str:
    """Give a customer of ours a name at Stripe, and return it. Repeating the same attempt gives the same."""
    params: Any = {"metadata": {USER: customer.user_id}}
    if customer.display_name:
        params["name"] = customer.display_name[:256]
    key = f"starledger-customer-{attempt}"
    return str(_call(lambda client: client.v1.customers.create(params, {"idempotency_key": key}))["id"])


def create_session(invoice: Invoice, *, stripe_customer: str, price: Price | None) -> str:
    """Make the page on which an invoice is paid, and return its address. Repeating it gives the same.

    :param price: the catalogue's, whose price at Stripe is taken if it names one
    :raises Refused: also when Stripe's price is not the invoice's
    """
    ours = {PAYLOAD: invoice.payload, USER: invoice.customer.user_id}
    back = f"{settings.PUBLIC_URL}/pay/stripe"
    params: Any = {
        "mode": "subscription" if invoice.recurring else "payment",
        "customer": stripe_customer,
        "client_reference_id": str(invoice.pk),
        "line_items": [_line_item(invoice, price)],
        "metadata": ours,
        "success_url": f"{back}/done",
        "cancel_url": f"{back}/left",
        "expires_at": int(invoice.expires_at.timestamp()),
    }
    # Stripe copies them to what comes of the session, by which each event and each object can be known for ours.
    params["subscription_data" if invoice.recurring else "payment_intent_data"] = {"metadata": ours}
    key = f"starledger-invoice-{invoice.pk}-{stripe_customer}"
    session = _call(lambda client: client.v1.checkout.sessions.create(params, {"idempotency_key": key}))
    asked = Money(session["amount_total"], session["currency"].upper())
    if asked != invoice.price:
        _call(lambda client: client.v1.checkout.sessions.expire(session["id"]))
        raise Refused(f"Stripe asks {asked} for it, the catalogue {invoice.price}")
    return str(session["url"])


def close_page(invoice: Invoice, *, stripe_customer: str) -> bool:
    """Let nobody pay an invoice on its page any more, and say whether that is so: not where the buyer was quicker, of
    which an event tells, nor of a page that is not made yet. Repeating it changes nothing.

    :raises Refused: also when it is paid in this moment
    :raises ChannelError: see payments.channels.base
    """
    asked: Any = {"customer": stripe_customer, "limit": AT_ONCE}
    pages = _call(lambda client: client.v1.checkout.sessions.list(asked))["data"]
    page = next((each for each in pages if (each.get("metadata") or {}).get(PAYLOAD) == invoice.payload), None)
    if page is not None and page["status"] == "open":
        name = page["id"]
        page = _call(lambda client: client.v1.checkout.sessions.expire(name))
    return page is not None and page["status"] == "expired"


def _line_item(invoice: Invoice, price: Price | None) -> Json:
    if price is not None and price.stripe_price_id:
        return {"price": price.stripe_price_id, "quantity": 1}
    data: Json = {
        "currency": invoice.currency.lower(),
        "unit_amount": invoice.amount,
        "product_data": {"name": invoice.plan.title, "description": invoice.plan.description},
    }
    if invoice.recurring and invoice.duration is not None:
        data["recurring"] = {"interval": "day", "interval_count": invoice.duration.days}
    return {"price_data": data, "quantity": 1}


def portal(stripe_customer: str) -> str:
    """The address, good for minutes, where a customer sees to his cards, receipts and subscriptions himself."""
    params: Any = {"customer": stripe_customer, "return_url": f"{settings.PUBLIC_URL}/pay/stripe/done"}
    return str(_call(lambda client: client.v1.billing_portal.sessions.create(params))["url"])


@dataclass(frozen=True, slots=True)
class Purchase:
    """Money that Stripe took for an invoice of ours, and its fee if that is known yet. `renewal`: for a further period
    of a subscription.
    """

    payload: str
    user_id: str
    payment_intent: str
    money: Money
    paid_at: datetime
    raw: bytes = field(repr=False)
    subscription: str = ""
    period_ends_at: datetime | None = None
    renewal: bool = False
    costs: tuple[Cost, ...] = ()


def purchase_on(session_id: str) -> Purchase | None:
    """What was paid on a page of ours; None while nothing was, or where it is paid by way of Stripe's invoices.

    :raises ChannelError: see payments.channels.base
    """
    asked: Any = {"expand": ["payment_intent.latest_charge.balance_transaction"]}
    session = _call(lambda client: client.v1.checkout.sessions.retrieve(session_id, asked))
    return _purchase_on(session)


def _purchase_on(session: Json) -> Purchase | None:
    payload = (session.get("metadata") or {}).get(PAYLOAD)
    if not payload or session["mode"] != "payment" or session["payment_status"] != "paid":
        return None
    intent = session["payment_intent"]
    if intent is None:
        return None  # nothing was to be paid
    charge = intent.get("latest_charge") or {}
    return Purchase(
        payload=payload,
        user_id=session["metadata"].get(USER, ""),
        payment_intent=intent["id"],
        money=Money(session["amount_total"], session["currency"].upper()),
        paid_at=_moment(charge.get("created") or intent["created"]),
        raw=_bytes(session),
        costs=_fees(charge.get("balance_transaction")),
    )


def purchase_by(invoice_id: str) -> Purchase | None:
    """What was paid by an invoice of a subscription of ours; None while nothing was.

    :raises ChannelError: see payments.channels.base
    """
    asked: Any = {"expand": ["payments"]}
    invoice = _call(lambda client: client.v1.invoices.retrieve(invoice_id, asked))
    details = (invoice.get("parent") or {}).get("subscription_details") or {}
    payload = (details.get("metadata") or {}).get(PAYLOAD)
    if not payload or invoice["status"] != "paid" or invoice["amount_paid"] == 0:
        return None
    payment_intent = _payment_intent_of(invoice)
    return Purchase(
        payload=payload,
        user_id=details["metadata"].get(USER, ""),
        payment_intent=payment_intent,
        money=Money(invoice["amount_paid"], invoice["currency"].upper()),
        paid_at=_moment(invoice["status_transitions"]["paid_at"]),
        raw=_bytes(invoice),
        subscription=details["subscription"],
        period_ends_at=_moment(max(line["period"]["end"] for line in invoice["lines"]["data"])),
        renewal=invoice["billing_reason"] == "subscription_cycle",
        costs=costs_of(payment_intent) if payment_intent != invoice["id"] else (),
    )


def _payment_intent_of(invoice: Json) -> str:
    """That which paid it; the invoice's own id where it was paid outside of Stripe."""
    paid = [each["payment"] for each in invoice["payments"]["data"] if each["status"] == "paid"]
    return str(next((payment["payment_intent"] for payment in paid if payment.get("payment_intent")), invoice["id"]))


def purchase_behind(payment_intent: str) -> Purchase | None:
    """The purchase that a payment intent belongs to; None for what is not ours.

    :raises ChannelError: see payments.channels.base
    """
    charge = "data.payment_intent.latest_charge.balance_transaction"
    sessions: Any = {"payment_intent": payment_intent, "expand": [charge], "limit": 1}
    for session in _call(lambda client: client.v1.checkout.sessions.list(sessions))["data"]:
        if session["mode"] == "payment":
            return _purchase_on(session)
    paid: Any = {"payment": {"type": "payment_intent", "payment_intent": payment_intent}, "limit": 1}
    for payment in _call(lambda client: client.v1.invoice_payments.list(paid))["data"]:
        return purchase_by(payment["invoice"])
    return None


# --- Costs ------------------------------------------------------------------------------------------------------------


def costs_of(payment_intent: str) -> tuple[Cost, ...]:
    """The fee of a payment; nothing as long as Stripe has not moved the money into its balance.

    :raises ChannelError: see payments.channels.base
    """
    asked: Any = {"expand": ["latest_charge.balance_transaction"]}
    charge = _call(lambda client: client.v1.payment_intents.retrieve(payment_intent, asked)).get("latest_charge") or {}
    return _fees(charge.get("balance_transaction"))


def _fees(*movements: Json | None) -> tuple[Cost, ...]:
    """The fees of movements of Stripe's balance, each in the currency of that balance; below zero they come back."""
    return tuple(
        _cost(
            EventType.STRIPE_FEE if movement["fee"] > 0 else EventType.STRIPE_RETURNED_FEE,
            movement,
            Money(abs(movement["fee"]), movement["currency"].upper()),
        )
        for movement in movements
        if movement and movement["fee"]
    )


def _cost(event_type: EventType, movement: Json, money: Money) -> Cost:
    return Cost(event_type, movement["id"], money, _moment(movement["created"]), _bytes(movement))


# --- Giving back ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ListedRefund:
    """A refund as Stripe has it. `status`: pending, requires_action, succeeded, failed or canceled; `intent` is ours,
    if we asked for it; `why` it failed, in Stripe's words; `costs` are the fees for it.
    """

    refund_id: str
    payment_intent: str
    money: Money
    status: str
    made_at: datetime
    intent: UUID | None
    why: str
    costs: tuple[Cost, ...]
    raw: bytes = field(repr=False)


def refund(*, payment_intent: str, amount: int, intent: UUID, turn: int) -> ListedRefund:
    """Give so much of a payment back. Repeating it in the same turn gives the same refund, for a day at least.

    :param turn: how often Stripe has told of a fault of its own, or that the payment was given back already: under the
        same key it would say so again, whatever has changed
    :raises AlreadyRefunded: look into the list; this call may have done it
    :raises ChannelError: see payments.channels.base
    """
    params: Any = {
        "payment_intent": payment_intent,
        "amount": amount,
        "metadata": {INTENT: str(intent)},
        "expand": ["balance_transaction"],
    }
    options: Any = {"idempotency_key": f"starledger-refund-{intent}-{turn}"}
    return _refund(_call(lambda client: client.v1.refunds.create(params, options)))


def refunds_of(payment_intent: str) -> list[ListedRefund]:
    """Every refund of a payment, oldest first.

    :raises ChannelError: see payments.channels.base
    """
    movements = ["data.balance_transaction", "data.failure_balance_transaction"]
    asked: Any = {"payment_intent": payment_intent, "limit": AT_ONCE, "expand": movements}
    found = _call(lambda client: client.v1.refunds.list(asked))["data"]
    return [_refund(each) for each in reversed(found)]


def _refund(told: Json) -> ListedRefund:
    try:
        intent = UUID((told.get("metadata") or {})[INTENT])
    except (KeyError, ValueError):
        intent = None
    return ListedRefund(
        refund_id=told["id"],
        payment_intent=told["payment_intent"],
        money=Money(told["amount"], told["currency"].upper()),
        status=told["status"],
        made_at=_moment(told["created"]),
        intent=intent,
        why=told.get("failure_reason") or told["status"],
        costs=_fees(told.get("balance_transaction"), told.get("failure_balance_transaction")),
        raw=_bytes(told),
    )


# --- Subscriptions and disputes ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ListedSubscription:
    """A subscription of ours as Stripe has it, `status` in Stripe's word. `renews`: it is charged for a next period."""

    subscription: str
    payload: str
    user_id: str
    status: str
    renews: bool
    period_ends_at: datetime
    latest_invoice: str


def subscription(subscription_id: str) -> ListedSubscription | None:
    """How a subscription stands; None for one that is not ours.

    :raises ChannelError: see payments.channels.base
    """
    told = _call(lambda client: client.v1.subscriptions.retrieve(subscription_id))
    payload = (told.get("metadata") or {}).get(PAYLOAD)
    if not payload:
        return None
    return ListedSubscription(
        subscription=told["id"],
        payload=payload,
        user_id=told["metadata"].get(USER, ""),
        status=told["status"],
        renews=told["status"] in {"active", "trialing", "past_due"} and not told["cancel_at_period_end"],
        period_ends_at=_moment(max(item["current_period_end"] for item in told["items"]["data"])),
        latest_invoice=told["latest_invoice"] or "",
    )


def subscription_of_invoice(invoice_id: str) -> str | None:
    """The subscription that an invoice of Stripe's is for, if any.

    :raises ChannelError: see payments.channels.base
    """
    told = _call(lambda client: client.v1.invoices.retrieve(invoice_id))
    details = (told.get("parent") or {}).get("subscription_details") or {}
    return details.get("subscription")


def cancel_subscription(subscription_id: str) -> None:
    """Have it renewed no more; what is paid for stays paid. Repeating it changes nothing.

    :raises NotRenewing: it has ended
    :raises ChannelError: see payments.channels.base
    """
    params: Any = {"cancel_at_period_end": True}
    try:
        _call(lambda client: client.v1.subscriptions.update(subscription_id, params))
    except Refused as refusal:
        if isinstance(refusal, Missing) or "canceled" in refusal.description.lower():
            raise NotRenewing(refusal.description) from refusal
        raise


@dataclass(frozen=True, slots=True)
class ListedDispute:
    """A dispute as Stripe has it, reason and status in Stripe's words; `costs` are what was taken for it, what of that
    was brought back, and the fees. An inquiry takes nothing.
    """

    dispute_id: str
    payment_intent: str
    amount: int
    currency: str
    reason: str
    status: str
    opened_at: datetime
    evidence_due_at: datetime | None
    costs: tuple[Cost, ...]

    @property
    def is_over(self) -> bool:
        return self.status in DISPUTE_IS_OVER


def dispute(dispute_id: str) -> ListedDispute:
    """
    :raises ChannelError: see payments.channels.base
    """
    told = _call(lambda client: client.v1.disputes.retrieve(dispute_id))
    due = (told.get("evidence_details") or {}).get("due_by")
    movements = told.get("balance_transactions") or []
    return ListedDispute(
        dispute_id=told["id"],
        payment_intent=told["payment_intent"] or "",
        amount=told["amount"],
        currency=told["currency"].upper(),
        reason=told["reason"],
        status=told["status"],
        opened_at=_moment(told["created"]),
        evidence_due_at=_moment(due) if due else None,
        costs=tuple(_moved(told, movement) for movement in movements if movement["amount"]) + _fees(*movements),
    )


def _moved(dispute: Json, movement: Json) -> Cost:
    """What was taken or brought back, in the payment's currency: all of it, where the balance has another."""
    event_type = EventType.STRIPE_DISPUTED if movement["amount"] < 0 else EventType.STRIPE_REINSTATED
    amount = abs(movement["amount"]) if movement["currency"] == dispute["currency"] else dispute["amount"]
    return _cost(event_type, movement, Money(amount, dispute["currency"].upper()))


# --- The line ---------------------------------------------------------------------------------------------------------


def _call(ask: Callable[[StripeClient], StripeObject]) -> Json:
    """Ask Stripe, and return its answer as JSON.

    :raises ChannelError: see payments.channels.base
    """
    from stripe import StripeError

    if any(connection.in_atomic_block for connection in connections.all(initialized_only=True)):
        raise CallInsideTransaction
    try:
        answered = ask(_client(settings.STRIPE_SECRET_KEY, settings.STRIPE_API_BASE))
    except StripeError as error:
        raise typed(error) from error
    return cast(Json, answered.last_response.data) if answered.last_response else {}


@cache
def _client(key: str, base: str) -> StripeClient:
    import stripe
    from stripe import RequestsClient

    stripe.enable_telemetry = False  # how long calls took is nobody's business but ours
    http = RequestsClient(timeout=(CONNECT_LIMIT, READ_LIMIT))
    # Tried again by whoever called, who knows what it means that an answer was lost.
    return stripe.StripeClient(key, base_addresses={"api": base}, http_client=http, max_network_retries=0)


os.register_at_fork(after_in_child=_client.cache_clear)  # its connections are the parent's


def typed(error: StripeError) -> ChannelError:
    """Our error for the SDK's: whether it happened, and whether asking again can help."""
    import stripe

    words = error.user_message or type(error).__name__
    match error:
        case stripe.RateLimitError():
            return Unavailable(retry_after=_pause(error))
        case stripe.AuthenticationError() | stripe.PermissionError():
            return KeyRefused(retry_after=60)
        case stripe.APIConnectionError() if _was_never_sent(error):
            return Unavailable()
        case stripe.InvalidRequestError(code="charge_already_refunded"):
            return AlreadyRefunded(words)
        case stripe.InvalidRequestError(code="resource_missing"):
            return Missing(words, what=error.param or "")
        case _ if error.http_status is not None and 400 <= error.http_status < 500 and error.http_status != 409:
            return Refused(words)
        case _ if error.http_status is not None and error.http_status >= 500:
            return Faulty(words[:200])
    return Unclear(words[:200])


def _pause(error: StripeError) -> int:
    given = str((error.headers or {}).get("Retry-After", ""))
    return max(1, int(given)) if given.isdecimal() else 5


def _was_never_sent(error: StripeError) -> bool:
    from requests.exceptions import ConnectTimeout
    from urllib3.exceptions import NewConnectionError

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, (ConnectTimeout, NewConnectionError)):
            return True
        reason = getattr(cause.args[0], "reason", None) if cause.args else None
        if isinstance(reason, NewConnectionError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _bytes(told: Json) -> bytes:
    return json.dumps(told, ensure_ascii=False).encode()
