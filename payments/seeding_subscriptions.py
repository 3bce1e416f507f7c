"""Subscriptions to look at and to measure with, as if begun within the last year: most were renewed some times, many
have ended, and a few of the others are cancelled or were just not paid.
"""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings
from django.db.models import QuerySet

from payments.models import PaymentMethod, Price
from payments.seeding import BUYERS_AT_ONCE, OFFERS, REFUNDED_BELOW, UUID7, WRITE, write_batch

DAYS = 365
STAY = 0.8  # of ten that are due, eight are renewed
CANCELLED_BELOW, OF_THOSE_WHO_GO = 0.1, 0.7  # what cancels, of those that run on and of those that come to their end

# Each buyer has one, of which he wants some periods. It ends when he has had them, and else runs on.
SUBSCRIPTIONS = """
    CREATE TEMPORARY TABLE demo_subscription ON COMMIT DROP AS
    WITH offer AS ({offers}), begun AS (
        SELECT offer.*, customer_id, telegram_user_id, since AS started_at, random() AS decision, random() AS delay,
               1 + floor(ln(1 - random()) / ln({stay}))::int AS wanted,
               1 + floor(extract(epoch FROM now() - interval '5 minutes' - since) / extract(epoch FROM duration))::int
               AS due
        FROM demo_buyer JOIN offer ON place = floor(chosen * offers)
    ), paid AS (
        SELECT *, least(wanted, due) AS periods, wanted >= due AS goes_on,
               started_at + least(wanted, due) * duration AS ends_at,
               telegram_user_id || '_1' AS charge
        FROM begun
    ), left_by AS (
        SELECT *, decision < CASE WHEN goes_on THEN {cancelled_below} ELSE {of_those_who_go} END AS cancelled,
               ends_at + interval '{grace} seconds' AS grace_ends_at
        FROM paid
    )
    SELECT *, CASE WHEN NOT goes_on AND cancelled THEN ends_at
                   WHEN NOT goes_on AND grace_ends_at <= now() THEN grace_ends_at END AS ended_at,
           CASE WHEN NOT goes_on AND NOT cancelled THEN ends_at END AS failed_at,
           CASE WHEN cancelled THEN ends_at - duration + delay * (least(ends_at, now()) - (ends_at - duration))
           END AS cancelled_at,
           {began_id} AS id
    FROM left_by ORDER BY started_at
"""
# A row for each period paid, as `demo_purchase` has one for each purchase.
PERIODS = """
    CREATE TEMPORARY TABLE demo_purchase ON COMMIT DROP AS
    WITH period AS (
        SELECT code, entitlement, features, when_active, duration, payment_method, currency, quoted, quoted AS amount,
               customer_id, telegram_user_id, number, periods, id AS subscription_id, id AS began_id,
               telegram_user_id || '_' || number AS charge, 'demo.' || charge AS payload,
               started_at + (number - 1) * duration AS paid_at, random() AS fate, random() AS delay,
               number = periods AND ended_at IS NULL AND failed_at IS NULL AND cancelled_at IS NULL AS renews
        FROM demo_subscription, generate_series(1, periods) AS number
    )
    SELECT *, CASE number WHEN 1 THEN began_id ELSE {paid_id} END AS id, began_id AS invoice_id,
           {refund_id} AS refund_id,
           paid_at + duration + interval '{grace} seconds' AS grace_ends_at, true AS recurring, true AS granted,
           false AS held, '' AS resolution, fate < {refunded_below} AS refunded
    FROM period, LATERAL (
        SELECT least(paid_at + delay * interval '6 days', now() - interval '2 minutes') AS later) AS refunds
    ORDER BY paid_at
"""
WRITE_SUBSCRIPTIONS = (
    """
    INSERT INTO payments_subscription (
        id, customer_id, plan_id, entitlement, payment_method, reference, first_charge_id, first_charge_known, amount,
        currency, state, state_changed_at, started_at, current_period_end, grace_ends_at, renewals, reminded_of)
    SELECT id, customer_id, code, entitlement, payment_method, 'demo.' || charge, 'demo' || charge, true, quoted,
           currency,
           CASE WHEN ended_at IS NOT NULL THEN 'ended' WHEN failed_at IS NOT NULL THEN 'failed'
                WHEN cancelled THEN 'canceled' ELSE 'active' END,
           coalesce(ended_at, failed_at, cancelled_at, ends_at - duration), started_at, ends_at, grace_ends_at,
           periods - 1,
           CASE WHEN ended_at IS NOT NULL THEN 'subscription_ended'
                WHEN failed_at IS NOT NULL THEN 'subscription_failed'
                WHEN ends_at - interval '{reminder} seconds' < now() THEN 'subscription_ending' ELSE '' END
    FROM demo_subscription
    """,
    """
    INSERT INTO payments_subscriptionpayment (event_id, subscription_id, period_ends_at, is_renewal)
    SELECT id, subscription_id, paid_at + duration, number > 1 FROM demo_purchase
    """,
    """
    INSERT INTO payments_subscriptionchange (subscription_id, state, at, why)
    SELECT id, state, at, why FROM demo_subscription, LATERAL (VALUES
        ('active', started_at, 'The first payment.'),
        ('canceled', cancelled_at, 'The customer cancelled it.'),
        ('failed', failed_at, 'The renewal was not paid.'),
        ('ended', ended_at, 'demo')) AS change (state, at, why)
    WHERE at IS NOT NULL ORDER BY at, id
    """,
    # The reminders that were due: what is due from now on is owed as ever.
    """
    INSERT INTO payments_notice (kind, event_id, created_at, next_attempt_at, attempts, sent_at)
    SELECT kind, event_id, at, at, 1, at FROM (
        SELECT 'subscription_ending' AS kind, id AS event_id, paid_at + duration - interval '{reminder} seconds' AS at
        FROM demo_purchase
        UNION ALL
        SELECT kind, purchase.id, at
        FROM demo_subscription AS subscription JOIN demo_purchase AS purchase
             ON purchase.subscription_id = subscription.id AND number = purchase.periods,
             LATERAL (VALUES ('subscription_failed', failed_at), ('subscription_ended', ended_at)) AS told (kind, at)
    ) AS reminded WHERE at < now()
    """,
)


def offers() -> QuerySet[Price]:
    """What demo customers can subscribe to: all that is on sale for Stars and is paid again and again."""
    return Price.objects.filter(
        plan__withdrawn_at=None, plan__recurring=True, payment_method=PaymentMethod.TELEGRAM_STARS
    )


def seed_subscriptions(count: int) -> Iterator[int]:
    """Write that many subscriptions of new customers with their payments, a batch at a time; yields how many there are.

    Repeating it adds as many again. `payments.seeding.sum_up` has to follow.
    """
    seconds = {
        "grace": int(settings.SUBSCRIPTION_GRACE.total_seconds()),
        "reminder": int(settings.SUBSCRIPTION_REMINDER.total_seconds()),
    }
    subscriptions = SUBSCRIPTIONS.format(
        offers=OFFERS.format(sold="plan.recurring AND price.payment_method = 'telegram_stars'"),
        stay=STAY,
        cancelled_below=CANCELLED_BELOW,
        of_those_who_go=OF_THOSE_WHO_GO,
        began_id=UUID7.format(at="started_at", salt="paid"),
        **seconds,
    )
    periods = PERIODS.format(
        paid_id=UUID7.format(at="paid_at", salt="paid"),
        refund_id=UUID7.format(at="later", salt="back"),
        refunded_below=REFUNDED_BELOW,
        **seconds,
    )
    statements = [
        subscriptions,
        periods,
        *WRITE,
        *(statement.format(**seconds) for statement in WRITE_SUBSCRIPTIONS),
        "DROP TABLE demo_subscription",
    ]
    for written in range(0, count, BUYERS_AT_ONCE):
        buyers = min(count - written, BUYERS_AT_ONCE)
        write_batch(statements, buyers=buyers, days=DAYS)
        yield written + buyers
