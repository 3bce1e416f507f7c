"""The table of Stripe's events tells what the code does, and leaves out nothing that the others have."""

import re
from inspect import getsource

from stripe.params import _webhook_endpoint_create_params as sdk

from payments.stripe.processing import LOOKS
from tests.docs.pages import table, text, words

ROWS = table(text("docs/stripe-events.md"))
NAMED = [kind for row in ROWS for kind in words(row[0])]
ALL = set(re.findall(r'"([a-z_]+(?:\.[a-z_]+)+)"', getsource(sdk)))  # what an endpoint can be made for
# What its handlers are registered for; those of charges leave alone what is about something else than a charge.
DJ_STRIPE = (
    *(
        "account.external_account.",
        "account.updated",
        "charge.",
        "checkout.",
        "coupon.",
        "customer.",
        "file.",
        "invoice.",
    ),
    *("invoiceitem.", "payment_intent.", "payment_method.", "plan.", "price.", "product.", "setup_intent.", "source."),
    *("subscription_schedule.", "tax_rate.", "transfer."),
)
POLAR = {
    *("account.updated", "charge.dispute.closed", "charge.failed", "charge.pending", "charge.succeeded"),
    *("customer.subscription.created", "customer.subscription.deleted", "customer.subscription.updated"),
    *(f"identity.verification_session.{what}" for what in ("processing", "requires_input", "verified")),
    *("invoice.created", "invoice.paid", "payment_intent.payment_failed", "payment_intent.succeeded"),
    *("payout.paid", "payout.updated", "refund.created", "refund.failed", "refund.updated"),
    *("setup_intent.setup_failed", "setup_intent.succeeded"),
}


def with_a_yes(column: int) -> set[str]:
    return {kind for row in ROWS for kind in words(row[0]) if row[column] == "yes"} | {
        kind for row in ROWS for kind in words(row[column])
    }


def test_what_is_acted_upon_is_what_the_code_acts_upon():
    assert {kind for row in ROWS for kind in words(row[0]) if not row[3].startswith("—")} == set(LOOKS)


def test_each_event_is_one_of_stripes_and_named_once():
    assert sorted(NAMED) == sorted(set(NAMED))
    assert set(NAMED) - ALL == set()


def test_nothing_that_the_others_act_upon_is_left_out():
    mirrored = {kind for kind in ALL if kind.startswith(DJ_STRIPE)} - {"charge.refund.updated"}
    assert with_a_yes(1) == mirrored
    assert with_a_yes(2) == POLAR


def test_each_has_its_reason():
    assert [row for row in ROWS if len(row[3].removeprefix("—").strip()) < 8] == []
