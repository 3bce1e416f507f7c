"""What is done about payments by the clock."""

from __future__ import annotations

from uuid import UUID

import structlog
from procrastinate.contrib.django import app

from config.database import database_now
from payments import (
    cancelling,
    expiry,
    reconciling,
    recording,
    recurring,
    refunding,
    reminding,
    revenue,
    subscription_orders,
    subscriptions,
    tallies,
    watching,
)
from payments.channels.base import ChannelError
from payments.runs import ReconcilingError
from payments.stripe import closing, inbox, processing, recovering

# Seconds that a job may wait for Telegram: a worker that is told to stop waits for its jobs.
PATIENCE = 3

log = structlog.get_logger(__name__)


@app.periodic(cron="* * * * *")
@app.task(queue="upkeep", queueing_lock="sum_tallies")
def sum_tallies(timestamp: int) -> None:
    """Keep the figures cheap to read."""
    tallies.move_forward()


@app.periodic(cron="* * * * *")
@app.task(queue="upkeep", queueing_lock="fold_revenue")
def fold_revenue(timestamp: int) -> None:
    """Keep the revenue cheap to read."""
    revenue.fold_revenue()


@app.periodic(cron="*/5 * * * *")
@app.task(queue="upkeep", queueing_lock="count_subscriptions")
def count_subscriptions(timestamp: int) -> None:
    """Keep what subscriptions bring cheap to read."""
    recurring.bring_together()


@app.periodic(cron="* * * * *")
@app.task(queue="upkeep", queueing_lock="expire_invoices")
def expire_invoices(timestamp: int) -> None:
    """Close the invoices that nobody paid in time."""
    if expired := expiry.expire_invoices(now=database_now()):
        log.info("invoices expired", count=expired)


@app.periodic(cron="* * * * *")
@app.task(queue="upkeep", queueing_lock="apply_waiting_refunds")
def apply_waiting_refunds(timestamp: int) -> None:
    """Find the refunds whose payments were recorded in the same moment."""
    if applied := recording.apply_waiting_refunds():
        log.warning("early refunds applied", count=applied)


@app.task(queue="refunds")
def pursue_refund(refund_id: str) -> None:
    """Bring a refund as far as it can be brought now."""
    refunding.pursue(refund_id=UUID(refund_id))


@app.periodic(cron="* * * * *")
@app.task(queue="upkeep", queueing_lock="sweep_refunds")
def sweep_refunds(timestamp: int) -> None:
    """Find the refunds whose worker died."""
    if found := refunding.sweep():
        log.warning("refunds taken up again", count=found)


@app.task(queue="refunds")
def cancel_subscription(refund_id: str) -> None:
    """Have Telegram stop the renewals, as was asked for with the refund."""
    cancelling.pursue(refund_id=UUID(refund_id))


@app.periodic(cron="* * * * *")
@app.task(queue="upkeep", queueing_lock="sweep_cancellations")
def sweep_cancellations(timestamp: int) -> None:
    """Find the subscriptions whose worker died before they were cancelled."""
    if found := cancelling.sweep():
        log.warning("cancellations taken up again", count=found)


@app.task(queue="refunds")
def tell_of_subscription(order_id: str) -> None:
    """Have Telegram cancel a subscription or allow it again, as staff ordered."""
    subscription_orders.pursue(order_id=UUID(order_id))


@app.periodic(cron="* * * * *")
@app.task(queue="upkeep", queueing_lock="sweep_subscription_orders")
def sweep_subscription_orders(timestamp: int) -> None:
    """Find the orders of staff whose worker died."""
    if found := subscription_orders.sweep():
        log.warning("orders taken up again", count=found)


@app.periodic(cron="* * * * *")
@app.task(queue="upkeep", queueing_lock="end_subscriptions")
def end_subscriptions(timestamp: int) -> None:
    """Mark the subscriptions that have ended."""
    if ended := subscriptions.end_what_is_over():
        log.info("subscriptions ended", count=ended)


@app.periodic(cron="* * * * *")
@app.task(queue="upkeep", queueing_lock="remind_of_subscriptions")
def remind_of_subscriptions(timestamp: int) -> None:
    """Have those told whose subscription is soon renewed or over."""
    if owed := reminding.remind():
        log.info("reminders owed", count=owed)


# Twice an hour: one that fails does not leave us an hour behind.
@app.periodic(cron="7,37 * * * *")
@app.task(queue="upkeep", queueing_lock="reconcile")
def reconcile(timestamp: int) -> None:
    """Compare the ledger with Telegram's list, and record what is missing."""
    _reconcile(asked_by="schedule", full=False)


@app.task(queue="upkeep")
def reconcile_as_asked(asked_by: str, full: bool) -> None:
    """The same, because somebody asked for it."""
    _reconcile(asked_by=asked_by, full=full)


def _reconcile(*, asked_by: str, full: bool) -> None:
    try:
        reconciling.reconcile(asked_by=asked_by, full=full, patience=PATIENCE)
    except reconciling.NoBot:
        pass
    except (ReconcilingError, ChannelError) as error:
        log.warning("not reconciled", why=str(error))  # the next does it


@app.task(queue="updates")
def process_stripe_event(event_pk: int) -> None:
    """Make the next try of an event of Stripe. A second job for the same try finds nothing to do."""
    processing.process(event_pk=event_pk)


@app.periodic(cron="* * * * *")
@app.task(queue="upkeep", queueing_lock="sweep_stripe_events")
def sweep_stripe_events(timestamp: int) -> None:
    """Hand events to the workers again: those that failed when their pause is over, and those whose job was lost."""
    inbox.sweep()


@app.periodic(cron="23 * * * *")
@app.task(queue="upkeep", queueing_lock="recover_stripe_events")
def recover_stripe_events(timestamp: int) -> None:
    """Find the events that Stripe could not bring."""
    try:
        if found := recovering.recover_events():
            log.warning("events of Stripe found in its list", count=found)
    except ChannelError as error:
        log.warning("Stripe's list of events not read", why=str(error))  # the next does it


@app.periodic(cron="* * * * *")
@app.task(queue="upkeep", lock="close_needless_pages", queueing_lock="close_needless_pages")
def close_needless_pages(timestamp: int) -> None:
    """Have nobody pay by Stripe for what he has by now."""
    try:
        if closed := closing.close_needless_pages():
            log.info("needless pages of Stripe closed", count=closed)
    except ChannelError as error:
        log.warning("needless pages of Stripe not closed", why=str(error))  # the next does it


@app.periodic(cron="51 3 * * *")
@app.task(queue="upkeep", queueing_lock="blank_old_stripe_events")
def blank_old_stripe_events(timestamp: int) -> None:
    """Let go of what Stripe told us long ago; what was recorded of it stays with the ledger."""
    inbox.blank_old_bodies()


@app.periodic(cron="*/5 * * * *")
@app.task(queue="upkeep", lock="look_after_the_books", queueing_lock="look_after_the_books")
def look_after_the_books(timestamp: int) -> None:
    """Find contradictions in the books, a part of them at a time."""
    watching.look_after_the_books()
