"""Everything that is so at the local Stripe: sessions, payments, refunds, subscriptions, disputes, and their events.

The shop's operations take the parameters as they were sent and refuse what Stripe refuses. What buyers, banks and the
dashboard do has no other way in than the methods of the second half.
"""

from __future__ import annotations

import copy
import json
import secrets
import time
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]

DAY = 86_400
SHORTEST_SESSION, LONGEST_SESSION = 30 * 60, DAY
DISPUTE_FEE = 1_500
# What an operation takes. Stripe refuses a parameter that it does not know.
TAKEN = {
    "customers": {"name", "email", "metadata"},
    "sessions": {
        "mode", "customer", "client_reference_id", "line_items", "metadata", "success_url", "cancel_url", "expires_at",
        "payment_intent_data", "subscription_data",
    },
    "list of sessions": {"customer", "payment_intent", "status", "subscription"},
    "expiry": set(),
    "refunds": {"payment_intent", "charge", "amount", "metadata", "reason"},
    "subscription": {"cancel_at_period_end", "metadata"},
    "portal": {"customer", "return_url"},
}  # fmt: skip


class Refused(Exception):
    """What the shop asked is answered with an error of 4xx."""

    def __init__(self, message: str, *, status: int = 400, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.error = {"type": "invalid_request_error", "message": message, "code": code, "param": param}


class Account:
    """One account in test mode. Not safe for several threads: the server lets them in one at a time."""

    def __init__(self, *, address: str = "http://127.0.0.1") -> None:
        self.address = address
        self.clock: Callable[[], float] = time.time
        self.objects: dict[str, Json] = {}
        self.events: list[Json] = []
        self.refund_outcome = "succeeded"  # of those to come: succeeded, pending or failed
        self.refund_fee = 0
        self.captures_later = False  # the money of a charge comes into the balance with `capture`
        self.balance_in = ""  # the currency of the balance, of which a unit is worth two; else that of each charge
        self.tell: Callable[[Json], None] = lambda event: None

    def now(self) -> int:
        return int(self.clock())

    def find(self, thing_id: str, kind: str, *, param: str = "id") -> Json:
        """
        :param param: the parameter that names it
        :raises Refused: there is no such thing
        """
        thing = self.objects.get(thing_id)
        if thing is None or thing["object"] != kind:
            raise Refused(
                f"No such {kind}: '{thing_id}'",
                status=404 if param == "id" else 400,
                code="resource_missing",
                param=param,
            )
        return thing

    def all(self, kind: str) -> list[Json]:
        """Newest first, as lists are."""
        return [thing for thing in reversed(list(self.objects.values())) if thing["object"] == kind]

    # --- What the shop asks for ---------------------------------------------------------------------------------------

    def create_customer(self, given: Json) -> Json:
        _only(given, "customers")
        return self._new("cus", "customer", name=given.get("name"), metadata=_metadata(given))

    def create_price(self, given: Json) -> Json:
        recurring = given.get("recurring")
        return self._new(
            "price",
            "price",
            currency=given["currency"],
            unit_amount=_number(given["unit_amount"], "unit_amount"),
            recurring=recurring,
            type="recurring" if recurring else "one_time",
        )

    def create_session(self, given: Json) -> Json:
        _only(given, "sessions")
        mode, now = given.get("mode"), self.now()
        if mode not in {"payment", "subscription"}:
            raise Refused("Invalid mode", param="mode")
        if not given.get("success_url", "").startswith(("http://", "https://")):
            raise Refused("Not a valid URL", code="url_invalid", param="success_url")
        if given.get("customer"):
            self.find(given["customer"], "customer", param="customer")
        if len(given.get("client_reference_id", "")) > 200:
            raise Refused("Too long", param="client_reference_id")
        expires_at = _number(given.get("expires_at", str(now + LONGEST_SESSION)), "expires_at")
        if not SHORTEST_SESSION - 60 <= expires_at - now <= LONGEST_SESSION:
            raise Refused("The `expires_at` timestamp must be between 30 minutes and 24 hours.", param="expires_at")
        wrong = "subscription_data" if mode == "payment" else "payment_intent_data"
        if wrong in given:
            raise Refused(f"You can not pass `{wrong}` in `{mode}` mode.", param=wrong)
        lines = [self._line(line, mode) for line in given.get("line_items") or []]
        if not lines:
            raise Refused("You must provide at least one line item", param="line_items")
        session_id = _name("cs_test")
        return self._keep(
            {
                "id": session_id,
                "object": "checkout.session",
                "mode": mode,
                "status": "open",
                "payment_status": "unpaid",
                "customer": given.get("customer"),
                "client_reference_id": given.get("client_reference_id"),
                "metadata": _metadata(given),
                "amount_subtotal": sum(line["amount"] for line in lines),
                "amount_total": sum(line["amount"] for line in lines),
                "currency": lines[0]["currency"],
                "payment_intent": None,
                "invoice": None,
                "subscription": None,
                "success_url": given["success_url"],
                "cancel_url": given.get("cancel_url"),
                "expires_at": expires_at,
                "url": f"{self.address}/c/pay/{session_id}",
                "_lines": lines,
                "_data": {
                    "metadata": _metadata(given.get("payment_intent_data") or given.get("subscription_data") or {})
                },
            }
        )

    def _line(self, given: Json, mode: str) -> Json:
        quantity = _number(given.get("quantity", ""), "quantity")
        if "price" in given:
            price = self.find(given["price"], "price")
            name, currency = "Price", str(price["currency"])
            amount, recurring = price["unit_amount"], price["recurring"]
        else:
            data = given.get("price_data") or {}
            product = data.get("product_data") or {}
            name, currency = str(product.get("name") or ""), str(data.get("currency", ""))
            amount, recurring = _number(data.get("unit_amount", ""), "unit_amount"), data.get("recurring")
            if not name or product.get("description") == "":
                raise Refused("You passed an empty string", code="parameter_invalid_empty", param="product_data")
        if not (len(currency) == 3 and currency.islower()):
            raise Refused("Invalid currency", param="currency")
        if (mode == "subscription") != bool(recurring):
            raise Refused(f"You must provide prices that go with `{mode}` mode.", param="line_items")
        if recurring and not (recurring.get("interval") == "day" and recurring.get("interval_count", "1").isdecimal()):
            raise Refused("Invalid interval", param="recurring")
        return {"name": name, "currency": currency, "amount": amount * quantity, "recurring": recurring}

    def expire_session(self, session_id: str, given: Json) -> Json:
        _only(given, "expiry")
        session = self.find(session_id, "checkout.session")
        if session["status"] != "open":
            raise Refused(
                'Only Checkout Sessions with a status in ["open"] can be expired. '
                f"This Checkout Session has a status of `{session['status']}`."
            )
        session["status"], session["url"] = "expired", None
        self._happens("checkout.session.expired", session)
        return session

    def create_refund(self, given: Json) -> Json:
        _only(given, "refunds")
        intent = self.find(given.get("payment_intent", ""), "payment_intent")
        charge = self.objects[intent["latest_charge"]]
        left = charge["amount"] - charge["amount_refunded"]
        amount = _number(given["amount"], "amount") if "amount" in given else left
        if left == 0:
            raise Refused(f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded")
        if not 0 < amount <= left:
            raise Refused(
                f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})", param="amount"
            )
        refund = self._new(
            "re",
            "refund",
            amount=amount,
            currency=charge["currency"],
            charge=charge["id"],
            payment_intent=intent["id"],
            status=self.refund_outcome,
            failure_reason="declined" if self.refund_outcome == "failed" else None,
            balance_transaction=None,
            failure_balance_transaction=None,
            metadata=_metadata(given),
        )
        refund["balance_transaction"] = self._move("refund", -amount, refund, fee=self.refund_fee)["id"]
        if refund["status"] != "failed":
            charge["amount_refunded"] += amount
            charge["refunded"] = charge["amount_refunded"] == charge["amount"]
            self._happens("charge.refunded", charge)
        return refund

    def update_subscription(self, subscription_id: str, given: Json) -> Json:
        _only(given, "subscription")
        subscription = self.find(subscription_id, "subscription")
        if subscription["status"] == "canceled":
            raise Refused("A canceled subscription can only update its cancellation_details.")
        if "cancel_at_period_end" in given:
            subscription["cancel_at_period_end"] = given["cancel_at_period_end"] == "true"
        self._happens("customer.subscription.updated", subscription)
        return subscription

    def create_portal(self, given: Json) -> Json:
        _only(given, "portal")
        customer = self.find(given.get("customer", ""), "customer", param="customer")
        return {
            "id": _name("bps"),
            "object": "billing_portal.session",
            "customer": customer["id"],
            "url": f"{self.address}/p/session/{customer['id']}",
            "return_url": given.get("return_url"),
        }

    def list_sessions(self, given: Json) -> list[Json]:
        _only(given, "list of sessions")
        if "customer" in given:
            self.find(given["customer"], "customer", param="customer")
        return [each for each in self.all("checkout.session") if given.items() <= each.items()]

    def list_refunds(self, given: Json) -> list[Json]:
        return [each for each in self.all("refund") if each["payment_intent"] == given["payment_intent"]]

    def list_invoice_payments(self, given: Json) -> list[Json]:
        of = given["payment"]["payment_intent"]
        return [each for each in self.all("invoice_payment") if each["payment"]["payment_intent"] == of]

    def list_events(self, given: Json) -> list[Json]:
        kinds, since = given.get("types"), int(given.get("created", {}).get("gte", 0))
        return [
            event
            for event in reversed(self.events)
            if (not kinds or event["type"] in kinds) and event["created"] >= since
        ]

    # --- What buyers, banks and the dashboard do ----------------------------------------------------------------------

    def pay(self, session_id: str, *, delayed: bool = False) -> Json:
        """The buyer pays on the session's page; `delayed` by a method that takes days, until `settle`."""
        session = self.find(session_id, "checkout.session")
        if session["status"] != "open" or session["expires_at"] <= self.now():
            raise Refused("This session is not open.")
        session["status"], session["url"] = "complete", None
        if session["mode"] == "subscription":
            subscription = self._subscribe(session)
            session["subscription"], session["invoice"] = subscription["id"], subscription["latest_invoice"]
            session["payment_status"] = "paid"
        else:
            intent = self._charge(session["amount_total"], session["currency"], session["_data"]["metadata"])
            session["payment_intent"] = intent["id"]
            session["payment_status"] = "unpaid" if delayed else "paid"
        self._happens("checkout.session.completed", session)
        if session["mode"] == "subscription":
            self._happens("customer.subscription.created", self.objects[session["subscription"]])
            self._happens("invoice.paid", self.objects[session["invoice"]])
        return session

    def settle(self, session_id: str) -> None:
        """The money of a delayed payment arrives."""
        session = self.find(session_id, "checkout.session")
        session["payment_status"] = "paid"
        self._happens("checkout.session.async_payment_succeeded", session)

    def renew(self, subscription_id: str) -> Json:
        """Charge for the next period now, and return the invoice."""
        subscription = self.find(subscription_id, "subscription")
        period = subscription["items"]["data"][0]
        period["current_period_start"] = period["current_period_end"]
        period["current_period_end"] += subscription["_days"] * DAY
        subscription["status"] = "active"
        invoice = self._invoice(subscription, reason="subscription_cycle")
        self._happens("customer.subscription.updated", subscription)
        self._happens("invoice.paid", invoice)
        return invoice

    def fail_to_renew(self, subscription_id: str) -> Json:
        """The card is declined at the next period."""
        subscription = self.find(subscription_id, "subscription")
        subscription["status"], subscription["_next_fails"] = "past_due", False
        invoice = self._invoice(subscription, reason="subscription_cycle", paid=False)
        self._happens("invoice.payment_failed", invoice)
        self._happens("customer.subscription.updated", subscription)
        return invoice

    def decline_next(self, subscription_id: str) -> None:
        """The card will be declined when the subscription falls due."""
        self.find(subscription_id, "subscription")["_next_fails"] = True

    def cancel_in_portal(self, subscription_id: str, *, cancel: bool = True) -> None:
        """The buyer wants it renewed no more, or again after all."""
        self.update_subscription(subscription_id, {"cancel_at_period_end": "true" if cancel else "false"})

    def end(self, subscription_id: str) -> None:
        """It is over: cancelled at its period's end, or never paid again."""
        subscription = self.find(subscription_id, "subscription")
        subscription["status"], subscription["ended_at"] = "canceled", self.now()
        self._happens("customer.subscription.deleted", subscription)

    def refund_in_dashboard(self, payment_intent: str, amount: int | None = None) -> Json:
        """Somebody gives it back without the shop."""
        return self.create_refund({"payment_intent": payment_intent, **({"amount": str(amount)} if amount else {})})

    def finish_refund(self, refund_id: str, status: str) -> None:
        """The bank answers: a pending one succeeds, or one that had succeeded fails."""
        refund = self.find(refund_id, "refund")
        refund["status"] = status
        if status == "failed":
            refund["failure_reason"] = "expired_or_canceled_card"
            back = self._move("refund_failure", refund["amount"], refund)
            refund["failure_balance_transaction"] = back["id"]
            charge = self.objects[refund["charge"]]
            charge["amount_refunded"] -= refund["amount"]
            charge["refunded"] = False
        self._happens("refund.failed" if status == "failed" else "refund.updated", refund)

    def capture(self, payment_intent: str) -> None:
        """The money of a charge that waited for it comes into the balance."""
        charge = self.objects[self.find(payment_intent, "payment_intent")["latest_charge"]]
        self._capture(charge)
        self._happens("charge.updated", charge)

    def dispute(self, payment_intent: str, *, inquiry: bool = False) -> Json:
        """The cardholder's bank wants the money back, and takes it; or only asks, by an `inquiry`."""
        intent = self.find(payment_intent, "payment_intent")
        dispute = self._new(
            "dp",
            "dispute",
            amount=intent["amount"],
            currency=intent["currency"],
            charge=intent["latest_charge"],
            payment_intent=intent["id"],
            reason="fraudulent",
            status="warning_needs_response" if inquiry else "needs_response",
            balance_transactions=[],
            evidence_details={"due_by": self.now() + 7 * DAY, "has_evidence": False},
            metadata={},
        )
        if not inquiry:
            taken = self._move("adjustment", -dispute["amount"], dispute, fee=DISPUTE_FEE)
            dispute["balance_transactions"].append(shown(taken))
        self._happens("charge.dispute.created", dispute)
        if not inquiry:
            self._happens("charge.dispute.funds_withdrawn", dispute)
        return dispute

    def close_dispute(self, dispute_id: str, status: str) -> None:
        """The bank has decided: won, and what it took comes back with its fee; or lost."""
        dispute = self.find(dispute_id, "dispute")
        dispute["status"] = status
        if status == "won" and dispute["balance_transactions"]:
            back = self._move("adjustment", dispute["amount"], dispute, fee=-DISPUTE_FEE)
            dispute["balance_transactions"].append(shown(back))
        self._happens("charge.dispute.closed", dispute)
        if status == "won":
            self._happens("charge.dispute.funds_reinstated", dispute)

    def sell_something_else(self, amount: int = 999) -> Json:
        """Another shop of the same account sells something, and its session is paid."""
        session = self._new(
            "cs_test",
            "checkout.session",
            mode="payment",
            status="complete",
            payment_status="paid",
            amount_total=amount,
            currency="gbp",
            metadata={},
            payment_intent=self._charge(amount, "gbp", {})["id"],
        )
        self._happens("checkout.session.completed", session)
        return session

    def pass_time(self, ahead: float) -> None:
        """Move the clock on to so many seconds before the machine's; what falls due is renewed or ends on its day."""
        end = time.time() + ahead
        while due := min(self._due_until(end), key=end_of_period, default=None):
            self._set_ahead(end_of_period(due) - time.time())
            if due["cancel_at_period_end"]:
                self.end(due["id"])
            elif due["_next_fails"]:
                self.fail_to_renew(due["id"])
            else:
                self.renew(due["id"])
        self._set_ahead(ahead)

    # --- Inside -------------------------------------------------------------------------------------------------------

    def _set_ahead(self, seconds: float) -> None:
        self.clock = lambda: time.time() + seconds

    def _due_until(self, end: float) -> list[Json]:
        running = [each for each in self.all("subscription") if each["status"] == "active"]
        return [each for each in running if end_of_period(each) <= end]

    def _subscribe(self, session: Json) -> Json:
        [line] = session["_lines"]
        days = int(line["recurring"].get("interval_count", 1))
        item = {
            "id": _name("si"),
            "object": "subscription_item",
            "current_period_start": self.now(),
            "current_period_end": self.now() + days * DAY,
        }
        subscription = self._new(
            "sub",
            "subscription",
            customer=session["customer"],
            status="active",
            cancel_at_period_end=False,
            ended_at=None,
            metadata=session["_data"]["metadata"],
            items={"object": "list", "data": [item], "has_more": False},
            _name=line["name"],
            _days=days,
            _price={name: line[name] for name in ("amount", "currency", "recurring")},
            _next_fails=False,
        )
        subscription["latest_invoice"] = self._invoice(subscription, reason="subscription_create")["id"]
        return subscription

    def _invoice(self, subscription: Json, *, reason: str, paid: bool = True) -> Json:
        price, [period] = subscription["_price"], subscription["items"]["data"]
        invoice = self._new(
            "in",
            "invoice",
            customer=subscription["customer"],
            status="paid" if paid else "open",
            billing_reason=reason,
            currency=price["currency"],
            total=price["amount"],
            amount_paid=price["amount"] if paid else 0,
            metadata={},
            parent={
                "type": "subscription_details",
                "subscription_details": {"subscription": subscription["id"], "metadata": subscription["metadata"]},
            },
            status_transitions={"paid_at": self.now() if paid else None},
            lines={
                "object": "list",
                "data": [
                    {
                        "id": _name("il"),
                        "object": "line_item",
                        "amount": price["amount"],
                        "period": {"start": period["current_period_start"], "end": period["current_period_end"]},
                    }
                ],
                "has_more": False,
            },
        )
        if paid:
            intent = self._charge(price["amount"], price["currency"], {})
            self._new(
                "inpay",
                "invoice_payment",
                invoice=invoice["id"],
                status="paid",
                amount_paid=price["amount"],
                currency=price["currency"],
                payment={"type": "payment_intent", "payment_intent": intent["id"]},
            )
        subscription["latest_invoice"] = invoice["id"]
        return invoice

    def _charge(self, amount: int, currency: str, metadata: Json) -> Json:
        intent = self._new(
            "pi", "payment_intent", amount=amount, currency=currency, status="succeeded", metadata=metadata
        )
        charge = self._new(
            "ch",
            "charge",
            amount=amount,
            amount_refunded=0,
            refunded=False,
            currency=currency,
            payment_intent=intent["id"],
            balance_transaction=None,
            metadata=metadata,
        )
        intent["latest_charge"] = charge["id"]
        if not self.captures_later:
            self._capture(charge)
        self._happens("payment_intent.succeeded", intent)
        return intent

    def _capture(self, charge: Json) -> None:
        moved = self._move("charge", charge["amount"], charge, fee=fee_of(charge["amount"]))
        charge["balance_transaction"] = moved["id"]

    def _move(self, kind: str, amount: int, source: Json, *, fee: int = 0) -> Json:
        """Move money into the account's balance, or out of it, less the fee; all in the balance's own currency."""
        if self.balance_in and self.balance_in != source["currency"]:
            currency, amount, fee = self.balance_in, _halved(amount), _halved(fee)
        else:
            currency = source["currency"]
        return self._new(
            "txn",
            "balance_transaction",
            type=kind,
            amount=amount,
            currency=currency,
            fee=fee,
            fee_details=[{"amount": fee, "currency": currency, "type": "stripe_fee"}] if fee else [],
            net=amount - fee,
            source=source["id"],
            status="pending",
        )

    def _new(self, prefix: str, kind: str, **facts: Any) -> Json:
        return self._keep({"id": _name(prefix), "object": kind, **facts})

    def _keep(self, thing: Json) -> Json:
        self.objects[thing["id"]] = {**thing, "created": self.now(), "livemode": False}
        return self.objects[thing["id"]]

    def _happens(self, kind: str, thing: Json) -> None:
        event = {
            "id": _name("evt"),
            "object": "event",
            "api_version": "2025-03-31.basil",
            "created": self.now(),
            "livemode": False,
            "type": kind,
            "data": {"object": shown(copy.deepcopy(thing))},
        }
        self.events.append(event)
        self.tell(event)


def end_of_period(subscription: Json) -> int:
    [period] = subscription["items"]["data"]
    return int(period["current_period_end"])


def fee_of(amount: int) -> int:
    """What a charge costs: 2.9 % and 30 of the smallest units."""
    return (29 * amount + 500) // 1000 + 30


def _halved(amount: int) -> int:
    return amount // 2 if amount > 0 else -(-amount // 2)


def shown(thing: Json) -> Json:
    """Without what only the local Stripe itself needs to know."""
    return {name: value for name, value in thing.items() if not name.startswith("_")}


def as_bytes(event: Json) -> bytes:
    """An event as it is sent."""
    return json.dumps(event, indent=2).encode()


def _name(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(12)}"


def _only(given: Json, operation: str) -> None:
    for name in given:
        if name not in TAKEN[operation]:
            raise Refused(f"Received unknown parameter: {name}", code="parameter_unknown", param=name)


def _number(text: str, param: str) -> int:
    if not isinstance(text, str) or not text.isdecimal():
        raise Refused(f"Invalid integer: {text}", code="parameter_invalid_integer", param=param)
    return int(text)


def _metadata(given: Json) -> Json:
    metadata: Json = given.get("metadata") or {}
    if len(metadata) > 50 or any(len(key) > 40 or len(value) > 500 for key, value in metadata.items()):
        raise Refused("Metadata is too long", param="metadata")
    return metadata
