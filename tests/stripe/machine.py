"""T14's shop that sells by Stripe as well. The local Stripe is the truth: the model says what of it the books must
have, after whatever was heard of it, in whatever order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, MultipleResults, consumes, invariant, multiple, rule

from payments import cancelling, refunding, subscription_orders
from payments.channels.stripe import INTENT
from payments.models import Dispute, Order, PaymentEvent, PaymentMethod, Plan, Refund, StripeEvent, Subscription
from payments.models.refunds import RefundQuerySet
from payments.money import Money
from payments.refunding import RefundingError
from payments.sandbox.account import DISPUTE_FEE, Json, fee_of
from payments.staff_refunds import refund_by_staff
from payments.stripe import recovering, selling
from payments.stripe.processing import LOOKS
from payments.subscription_orders import OrderError, order_by_staff
from tests.clock import Clock
from tests.payments.machine import NAMES, ONCE, WHICH, Shop
from tests.payments.model import DAY, HOUR, Charge, Quote, Subscribed
from tests.stripe import shop
from tests.stripe.shop import by_stripe, quoted

HEARD = st.sampled_from([True, True, False])  # whether Stripe's events reach us at once
PARTS = st.sampled_from([None, 1, 400])
# At a refund that is asked for, until it is done or refused: to call, to look twice, and again if the money of a refund
# came back meanwhile.
LOOKS_AT_MOST = 12
STATES = {"active": "active", "past_due": "failed", "canceled": "canceled"}


class ShopWithStripe(Shop):
    pages = Bundle("pages")
    cards = Bundle("cards")
    members = Bundle("members")
    disputes = Bundle("disputes")

    def __init__(self, clock: Clock, stripe: shop.Shop) -> None:
        super().__init__(clock)
        for plan in Plan.objects.all():
            by_stripe(plan, Money(900, "GBP") if plan.recurring else shop.GOLD)
        self.stripe, self.account = stripe, stripe.account
        self.account.objects.clear()
        self.account.events.clear()
        self.account.clock = lambda: self.now.timestamp()
        self.charge_by: dict[str, Charge] = {}  # by its payment intent, and by the invoice it paid
        self.member_by: dict[str, Subscribed] = {}
        self.dispute_by: dict[str, str] = {}  # how the books have those that they know
        self.happened = 0
        self.heard: set[str] = set()
        self.read_up_to: datetime | None = None

    def all_is_settled(self) -> None:
        """In the end all was heard of, and what was asked for is done or refused, none of it twice."""
        for refund in self.account.all("refund"):
            if refund["status"] == "pending":
                self.account.finish_refund(refund["id"], "succeeded")
        for _ in range(LOOKS_AT_MOST):
            self.workers_go_on(outcome="succeeded", heard=True)
            self.brings(self.unheard())
            self.it_becomes(self.now + 2 * DAY)
            if not self.asked().open().exists():
                break
        super().all_is_settled()
        assert not StripeEvent.objects.exclude(status="done").exists()
        assert not Refund.objects.open().exists()
        made = Counter(intent for each in self.account.all("refund") if (intent := each["metadata"].get(INTENT)))
        assert all(times == 1 for times in made.values())

    # --- Buyers -------------------------------------------------------------------------------------------------------

    @rule(target=pages, buyer=NAMES, plan=st.sampled_from([*ONCE, "club"]))
    def opens_a_page(self, buyer: str, plan: str) -> tuple[Quote, str]:
        return self.page(buyer, plan)

    def page(self, buyer: str, plan: str) -> tuple[Quote, str]:
        person, sold = self.people[buyer], Plan.objects.get(code=plan)
        invoice = quoted(
            customer=person.customer,
            plan=sold,
            amount=sold.prices.get(payment_method=PaymentMethod.STRIPE).amount,
            sent_at=self.now,
            expires_at=self.now + HOUR,
        )
        return Quote(invoice, person), selling.deliver(invoice, to_chat=False).link.rpartition("/")[2]

    @rule(target=cards, page=consumes(pages), heard=HEARD)
    def pays_on_a_page(self, page: tuple[Quote, str], heard: bool) -> Charge | MultipleResults[Charge]:
        """Perhaps after having bought the same in another way. Stripe closes the page when the invoice expires."""
        quote, session = page
        return self.pays_by_card(quote, session, heard=heard) if self.now < quote.invoice.expires_at else multiple()

    @rule(target=cards, buyer=NAMES, plan=st.sampled_from(ONCE), heard=HEARD)
    def buys_by_card(self, buyer: str, plan: str, heard: bool) -> Charge:
        return self.pays_by_card(*self.page(buyer, plan), heard=heard)

    @rule(targets=(cards, members), buyer=NAMES, heard=HEARD)
    def subscribes_by_card(self, buyer: str, heard: bool) -> Charge:
        return self.pays_by_card(*self.page(buyer, "club"), heard=heard)

    def pays_by_card(self, quote: Quote, session_id: str, *, heard: bool) -> Charge:
        session = self.account.pay(session_id)
        if quote.invoice.recurring:
            member = self.member_by[session["subscription"]] = Subscribed(quote, session["subscription"])
            charge = self.charge_for_a_period(member, self.account.objects[session["invoice"]])
        else:
            charge = Charge(session["payment_intent"], quote, quote.buyer, quote.invoice.amount, self.now)
            self.charge_by[charge.name] = charge
        self.stripe_tells(heard)
        return charge

    def charge_for_a_period(self, member: Subscribed, invoice: Json) -> Charge:
        [name], [line] = self.stripe.intents_of(invoice["id"]), invoice["lines"]["data"]
        quote = member.quote
        charge = Charge(
            name,
            quote,
            quote.buyer,
            quote.invoice.amount,
            self.now,
            period_ends_at=datetime.fromtimestamp(line["period"]["end"], UTC),
            renewal=invoice["billing_reason"] == "subscription_cycle",
            subscription=member,
        )
        self.charge_by[name] = self.charge_by[invoice["id"]] = charge
        return charge

    @rule(first=members, cancel=st.booleans(), heard=HEARD)
    def changes_his_mind_in_the_portal(self, first: Charge, cancel: bool, heard: bool) -> None:
        if self.listed(first.subscription)["status"] != "canceled":
            self.account.cancel_in_portal(first.subscription.name, cancel=cancel)
            self.stripe_tells(heard)

    # --- Stripe -------------------------------------------------------------------------------------------------------

    def listed(self, member: Subscribed) -> Json:
        return self.account.objects[member.name]

    def is_due(self, member: Subscribed) -> bool:
        """Let its period be over, if Stripe goes on with it then."""
        listed = self.listed(member)
        goes_on = listed["status"] != "canceled" and not listed["cancel_at_period_end"]
        if goes_on:
            [item] = listed["items"]["data"]
            self.it_becomes(max(self.now, datetime.fromtimestamp(item["current_period_end"], UTC)))
        return goes_on

    @rule(target=cards, first=members, heard=HEARD)
    def stripe_renews(self, first: Charge, heard: bool) -> Charge | MultipleResults[Charge]:
        if not self.is_due(first.subscription):
            return multiple()
        charge = self.charge_for_a_period(first.subscription, self.account.renew(first.subscription.name))
        self.stripe_tells(heard)
        return charge

    @rule(first=members, heard=HEARD)
    def stripe_is_not_paid(self, first: Charge, heard: bool) -> None:
        if self.is_due(first.subscription):
            self.account.fail_to_renew(first.subscription.name)
            self.stripe_tells(heard)

    @rule(first=members, heard=HEARD)
    def stripe_ends_it(self, first: Charge, heard: bool) -> None:
        if self.listed(first.subscription)["status"] != "canceled":
            self.account.end(first.subscription.name)
            self.stripe_tells(heard)

    @rule(charge=cards, part=PARTS, outcome=st.sampled_from(["succeeded", "succeeded", "pending"]), heard=HEARD)
    def stripe_gives_back(self, charge: Charge, part: int | None, outcome: str, heard: bool) -> None:
        """Somebody does it in the dashboard."""
        held = self.account.objects[self.account.objects[charge.name]["latest_charge"]]
        left = held["amount"] - held["amount_refunded"]
        if left:
            self.account.refund_outcome = outcome
            self.account.refund_in_dashboard(charge.name, min(part or left, left))
            self.account.refund_outcome = "succeeded"
            self.stripe_tells(heard)

    @rule(which=WHICH, arrives=st.booleans(), heard=HEARD)
    def a_bank_answers(self, which: int, arrives: bool, heard: bool) -> None:
        """A refund arrives, or does not; also one that seemed to have."""
        refunds = [each for each in self.account.all("refund") if each["status"] in {"pending", "succeeded"}]
        if refunds:
            refund = refunds[which % len(refunds)]
            succeeds = arrives and refund["status"] == "pending"
            self.account.finish_refund(refund["id"], "succeeded" if succeeds else "failed")
            self.stripe_tells(heard)

    @rule(target=disputes, charge=cards, heard=HEARD)
    def a_bank_disputes(self, charge: Charge, heard: bool) -> str | MultipleResults[str]:
        if any(each["payment_intent"] == charge.name for each in self.account.all("dispute")):
            return multiple()
        dispute = self.account.dispute(charge.name)
        self.stripe_tells(heard)
        return str(dispute["id"])

    @rule(dispute=consumes(disputes), status=st.sampled_from(["won", "lost"]), heard=HEARD)
    def a_bank_decides(self, dispute: str, status: str, heard: bool) -> None:
        self.account.close_dispute(dispute, status)
        self.stripe_tells(heard)

    # --- What we do there ---------------------------------------------------------------------------------------------

    @rule(charge=cards, part=PARTS, cancel=st.booleans())
    def staff_asks_for_a_refund(self, charge: Charge, part: int | None, cancel: bool) -> None:
        if not charge.is_known:
            return
        payment = PaymentEvent.objects.get(event_id=charge.name)
        possible = charge.left >= (part or 1) and not Refund.objects.open().filter(payment=payment).exists()
        try:
            refund_by_staff(
                payment=payment,
                staff=self.dana,
                reason="He asked.",
                amount=part,
                cancel_subscription=cancel and charge.subscription is not None,
            )
        except RefundingError:
            assert not possible
        else:
            assert possible

    @rule(first=members, heard=HEARD)
    def staff_cancels(self, first: Charge, heard: bool) -> None:
        member = first.subscription
        if not member.is_known:
            return
        kept = Subscription.objects.get(reference=member.name)
        possible = member.state != "ended" and not member.stopped
        try:
            order = order_by_staff(subscription=kept, what=Order.CANCEL, staff=self.dana, reason="He asked.")
        except OrderError:
            assert not possible
        else:
            assert possible
            subscription_orders.pursue(order_id=order.pk)
            member.is_stopped(self.now)
            self.stripe_tells(heard)

    @rule(outcome=st.sampled_from(["succeeded", "pending", "failed"]), heard=HEARD)
    def workers_go_on(self, outcome: str, heard: bool) -> None:
        self.account.refund_outcome = outcome
        self.work()
        self.account.refund_outcome = "succeeded"
        self.stripe_tells(heard)

    def work(self) -> None:
        """What was asked for by staff, or because something was bought twice."""
        for intent in self.asked().due_at(self.now):
            self.is_pursued(intent)
        for intent in self.asked().to_cancel_at(self.now):
            cancelling.pursue(refund_id=intent.pk)
            self.charge_by[intent.payment.event_id].subscription.is_stopped(self.now)

    def asked(self) -> RefundQuerySet:
        return Refund.objects.filter(payment__payment_method=PaymentMethod.STRIPE).select_related("payment")

    def is_pursued(self, intent: Refund) -> None:
        """After the first call Stripe's list is read, before there is another."""
        charge = self.charge_by[intent.payment.event_id]
        before = self.refunds_of(charge)
        refunding.pursue(refund_id=intent.pk)
        made = [each for each in self.refunds_of(charge) if each not in before]
        self.hears_of_refunds(charge, [*before, *made] if intent.attempts else made)

    def refunds_of(self, charge: Charge) -> list[Json]:
        """Oldest first."""
        return [each for each in reversed(self.account.all("refund")) if each["payment_intent"] == charge.name]

    # --- What is heard of it ------------------------------------------------------------------------------------------

    def stripe_tells(self, heard: bool) -> None:
        """Of what has just happened, at once, and workers act upon it; or else some time."""
        new = self.news()
        if heard:
            self.brings(new)
            self.work()
            self.brings(self.news())

    def news(self) -> list[Json]:
        before, self.happened = self.happened, len(self.account.events)
        return [event for event in self.account.events[before:] if event["type"] in LOOKS]

    def unheard(self) -> list[Json]:
        return [each for each in self.account.events if each["type"] in LOOKS and each["id"] not in self.heard]

    @rule(which=WHICH)
    def stripe_brings_what_waits(self, which: int) -> None:
        """In an order of its own."""
        if waiting := self.unheard():
            self.brings([waiting[which % len(waiting)]])

    @rule(which=WHICH)
    def stripe_repeats_itself(self, which: int) -> None:
        if told := [each for each in self.account.events if each["id"] in self.heard]:
            self.brings([told[-1 - which % len(told)]])

    @rule()
    def what_was_lost_is_found(self) -> None:
        """In Stripe's own list, read from a little before the last time; it reaches back 30 days."""
        known = self.read_up_to
        since = max(known - 2 * HOUR, self.now - 30 * DAY) if known else self.now - 3 * DAY
        lost = [event for event in self.unheard() if event["created"] >= since.timestamp()]
        assert recovering.recover_events() == len(lost)
        self.read_up_to = self.now
        self.stripe.works()
        self.hears(lost)

    def brings(self, events: list[Json]) -> None:
        if events:
            self.stripe.brings(*events)
            self.stripe.works()
            self.hears(events)

    def hears(self, events: Iterable[Json]) -> None:
        """Each event, the first time, brings the books to what is so now of what it is about."""
        for event in events:
            if event["id"] not in self.heard:
                self.heard.add(event["id"])
                self.hears_of(event["type"], event["data"]["object"])

    def hears_of(self, kind: str, thing: Json) -> None:
        match kind:
            case "checkout.session.completed" if thing["mode"] == "payment":
                self.hears_of_payment(self.charge_by[thing["payment_intent"]])
            case "invoice.paid":
                self.hears_of_payment(self.charge_by[thing["id"]])
            case "invoice.payment_failed":
                self.hears_of_member(self.member_by[thing["parent"]["subscription_details"]["subscription"]])
            case "customer.subscription.updated" | "customer.subscription.deleted":
                self.hears_of_member(self.member_by[thing["id"]])
            case "charge.refunded" | "refund.updated" | "refund.failed":
                charge = self.charge_by[thing["payment_intent"]]
                self.hears_of_payment(charge)
                self.hears_of_refunds(charge, self.refunds_of(charge))
            case _ if kind.startswith("charge.dispute."):
                self.hears_of_dispute(self.account.objects[thing["id"]])

    def hears_of_payment(self, charge: Charge) -> None:
        if not charge.is_known:
            charge.is_recorded(self.now)
            charge.is_booked("charged_fee", fee_of(charge.amount))

    def hears_of_member(self, member: Subscribed) -> None:
        """One that is not known yet begins with its last invoice, if that was paid."""
        listed = self.listed(member)
        last = self.charge_by.get(listed["latest_invoice"])
        if not member.is_known:
            if last is None:
                return
            self.hears_of_payment(last)
        state = STATES[listed["status"]]
        if state == "active" and listed["cancel_at_period_end"]:
            state = "canceled"
        if member.state != "ended" or state == "active":
            member.is_told(state, self.now)

    def hears_of_refunds(self, charge: Charge, refunds: Iterable[Json]) -> None:
        for refund in refunds:
            recorded = refund["id"] in charge.returned
            if refund["status"] == "succeeded" and not recorded:
                charge.is_given_back(refund["id"], refund["amount"])
            elif refund["status"] == "failed" and recorded:
                charge.came_back(refund["id"])

    def hears_of_dispute(self, dispute: Json) -> None:
        charge, before = self.charge_by[dispute["payment_intent"]], self.dispute_by.get(dispute["id"])
        self.hears_of_payment(charge)
        if before is None:
            charge.is_booked("disputed_payment", charge.amount)
            charge.is_booked("charged_fee", DISPUTE_FEE)
        if dispute["status"] == "won" and before != "won":
            charge.is_booked("reinstated_payment", charge.amount)
            charge.is_booked("returned_fee", DISPUTE_FEE)
        self.dispute_by[dispute["id"]] = dispute["status"]

    @invariant()
    def disputes_are_the_models(self) -> None:
        assert dict(Dispute.objects.values_list("dispute_id", "status")) == self.dispute_by
