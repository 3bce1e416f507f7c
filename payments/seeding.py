"""Customers and payments to look at and to measure with: as many as one likes, as if sold over the last two years.

Written by a few statements for each batch, past the operations that record real payments; what they write keeps every
rule of the books (payments.invariants).
"""

# ruff: noqa: S608 - the statements are made of integers and of words of our own

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from django.db import connection
from django.db.models import QuerySet

from config.database import long_statements
from entitlements.counting import count_access
from payments import recurring, revenue, tallies
from payments.models import PaymentMethod, Price

BUYERS_AT_ONCE = 50_000
DAYS = 730
HELD_BELOW, REFUNDED_BELOW = 0.005, 0.045  # which fates between 0 and 1
FIRST_DEMO_ID = 4_000_000_000_000_000  # far beyond the ids that Telegram has given, and within its 52 bits

# Written in the order of time, as real ones are, whose neighbours in time lie next to each other on the disk.
# A buyer keeps to one offer and buys again some time after the period is over, so no purchase overlaps another.
BUYERS = """
    CREATE TEMPORARY TABLE demo_buyer ON COMMIT DROP AS
    SELECT nextval(pg_get_serial_sequence('entitlements_customer', 'id')) AS customer_id,
           {first} + n AS telegram_user_id,
           (ARRAY['Alice', 'Bob', 'Carol', 'Dmitri', 'Elena', 'Farid', 'Grace', 'Hiro', 'Inés', 'Jonas', 'Кира',
                  'Łukasz', 'Maya', 'Нина', 'Omar', 'Priya'])[1 + floor(random() * 16)::int] AS display_name,
           1 + floor(random() ^ 2 * 6)::int AS purchases,
           random() ^ 1.5 AS chosen,
           interval '1 hour' + random() * interval '20 days' AS pause,
           date_trunc('second', now() - interval '10 minutes' - random() ^ 1.3 * interval '{days} days') AS since
    FROM generate_series(1, {buyers}) AS n
"""
OFFERS = """
    SELECT plan.code, plan.entitlement, plan.features, plan.when_active,
           plan.duration_days * interval '1 day' AS duration,
           price.payment_method, price.currency, price.amount AS quoted,
           row_number() OVER (ORDER BY plan.position, plan.code, price.position, price.id) - 1 AS place,
           count(*) OVER () AS offers
    FROM payments_plan AS plan JOIN payments_price AS price ON price.plan_id = plan.code
    WHERE plan.withdrawn_at IS NULL AND {sold}
"""
SOLD_ONCE = "NOT plan.recurring AND price.payment_method IN ('telegram_stars', 'telegram_provider')"
PURCHASES = """
    CREATE TEMPORARY TABLE demo_purchase ON COMMIT DROP AS
    WITH offer AS ({offers}), bought AS (
        SELECT customer_id, telegram_user_id, offer.*, telegram_user_id || '_' || number AS charge,
               date_trunc('second', since + (number - 1) * (pause + coalesce(duration, interval '0'))) AS paid_at,
               random() AS fate, random() AS decision, random() AS delay
        FROM demo_buyer JOIN offer ON place = floor(chosen * offers),
             generate_series(1, CASE WHEN duration IS NULL THEN 1 ELSE purchases END) AS number
    ), judged AS (
        SELECT *, fate < {held_below} AS held,
               CASE WHEN fate >= {held_below} OR paid_at > now() - interval '3 days' THEN ''
                    WHEN decision < 0.5 THEN 'granted' WHEN decision < 0.8 THEN 'refunded' ELSE 'dismissed'
               END AS resolution,
               least(paid_at + interval '1 minute' + delay ^ 2 * interval '6 days',
                     now() - interval '2 minutes') AS later
        FROM bought WHERE paid_at < now() - interval '5 minutes'
        ORDER BY customer_id, paid_at LIMIT {payments}
    )
    SELECT *, CASE WHEN held THEN greatest(1, quoted * 9 / 10) ELSE quoted END AS amount,
           fate >= {held_below} AND fate < {refunded_below} OR resolution = 'refunded' AS refunded,
           NOT held OR resolution = 'granted' AS granted,
           {paid_id} AS id, {paid_id} AS invoice_id, {refund_id} AS refund_id, 'demo.' || charge AS payload,
           NULL::timestamptz AS grace_ends_at, false AS recurring, false AS renews
    FROM judged ORDER BY paid_at
"""
UUID7 = """
    (lpad(to_hex((extract(epoch FROM {at}) * 1000)::bigint), 12, '0') || '7' || substr(md5('{salt}' || charge), 1, 3)
     || '8' || substr(md5('{salt}' || charge), 4, 15))::uuid
"""
WRITE = (
    """
    INSERT INTO entitlements_customer (
        id, user_id, user_id_origin, telegram_user_id, display_name, username, language_code, created_at)
    SELECT customer_id, telegram_user_id, 'ours', telegram_user_id, display_name, '', 'en', since - interval '5 minutes'
    FROM demo_buyer WHERE customer_id IN (SELECT customer_id FROM demo_purchase)
    """,
    """
    INSERT INTO payments_invoice (
        id, customer_id, plan_id, payment_method, amount, currency, entitlement, features, duration, recurring,
        when_active, payload, status, created_at, expires_at, sent_at, link)
    SELECT id, customer_id, code, payment_method, quoted, currency, entitlement, features, duration, recurring,
           when_active, payload, CASE WHEN held THEN 'expired' ELSE 'paid' END,
           paid_at - interval '1 minute', paid_at + interval '59 minutes', paid_at - interval '1 minute', ''
    FROM demo_purchase WHERE id = invoice_id
    """,
    """
    INSERT INTO payments_paymentevent (
        id, event_id, event_type, payment_method, customer_id, invoice_id, plan_id, amount, currency, status, origin,
        occurred_at, received_at, provider_charge_id, reference, period_ends_at)
    SELECT id, 'demo' || charge, payment_method || '.successful_payment', payment_method, customer_id, invoice_id, code,
           amount, currency, CASE WHEN held THEN 'held' ELSE 'processed' END, 'webhook', paid_at,
           paid_at + delay * interval '2 seconds', '', payload, CASE WHEN recurring THEN paid_at + duration END
    FROM demo_purchase
    """,
    """
    INSERT INTO payments_paymentevent (
        id, event_id, event_type, payment_method, customer_id, invoice_id, plan_id, amount, currency, status, origin,
        occurred_at, received_at, provider_charge_id, reference, refund_of_id)
    SELECT refund_id, 'demo' || charge, payment_method || '.refunded_payment', payment_method, customer_id, invoice_id,
           code, amount, currency, 'processed', 'webhook', later, later, '', payload, id
    FROM demo_purchase WHERE refunded
    """,
    # As if Telegram had listed them, so that no reconciliation misses them there.
    """
    INSERT INTO payments_startransaction (
        transaction_id, direction, amount, nanostar_amount, date, telegram_user_id, payload, raw)
    SELECT 'demo' || charge, 'in', amount, 0, paid_at, telegram_user_id, payload, '{"demo": true}'::bytea
    FROM demo_purchase WHERE payment_method = 'telegram_stars'
    UNION ALL
    SELECT 'demo' || charge, 'out', amount, 0, later, telegram_user_id, payload, '{"demo": true}'::bytea
    FROM demo_purchase WHERE payment_method = 'telegram_stars' AND refunded
    """,
    """
    INSERT INTO payments_providerrecord (event_id, body)
    SELECT id, '{"demo": true}'::bytea FROM demo_purchase
    UNION ALL SELECT refund_id, '{"demo": true}'::bytea FROM demo_purchase WHERE refunded
    """,
    """
    INSERT INTO payments_hold (
        event_id, reason, detail, held_at, resolution, resolved_at, resolved_by, resolved_why)
    SELECT id, 'amount_mismatch', 'Quoted ' || quoted || ', paid ' || amount || ' ' || currency || '.',
           paid_at + delay * interval '2 seconds', resolution,
           CASE WHEN resolution <> '' THEN later END,
           CASE resolution WHEN '' THEN '' WHEN 'refunded' THEN 'refund:' || refund_id ELSE 'staff:demo' END,
           CASE WHEN resolution <> '' THEN 'demo' ELSE '' END
    FROM demo_purchase WHERE held
    """,
    """
    INSERT INTO entitlements_auditentry (
        at, staff, name, what, subject_type, subject_id, customer_id, reason, before, after)
    SELECT hold.resolved_at, hold.resolved_by, 'demo',
           'resolved a held payment: ' || replace(hold.resolution, 'granted', 'access granted'),
           'payments.hold', hold.id, customer_id, hold.resolved_why, '{}',
           jsonb_build_object('resolution', hold.resolution)
    FROM demo_purchase JOIN payments_hold AS hold ON hold.event_id = demo_purchase.id
    WHERE hold.resolved_by = 'staff:demo'
    """,
    # Sent long ago: nobody is written to.
    """
    INSERT INTO payments_notice (kind, event_id, created_at, next_attempt_at, attempts, sent_at)
    SELECT CASE WHEN held THEN 'payment_held' ELSE 'payment_confirmed' END, id, paid_at, paid_at, 1, paid_at
    FROM demo_purchase
    UNION ALL SELECT 'refunded', refund_id, later, later, 1, later FROM demo_purchase WHERE refunded
    """,
    """
    INSERT INTO entitlements_grant (
        customer_id, entitlement, plan_code, features, source, granted_at, duration, ends_at, revoked_at,
        revoked_reason, created_at)
    SELECT customer_id, entitlement, code, features, payment_method || ':demo' || charge, paid_at, duration,
           grace_ends_at, CASE WHEN refunded THEN later END, CASE WHEN refunded THEN 'demo' ELSE '' END, paid_at
    FROM demo_purchase WHERE granted
    """,
    # The fold of purchases that do not overlap: the end of the latest that survived, or the start of the first.
    """
    INSERT INTO entitlements_entitlement (customer_id, code, active_until, latest_grant_at, version, renews)
    SELECT customer_id, entitlement,
           CASE WHEN NOT bool_or(duration IS NULL AND NOT refunded)
                THEN coalesce(
                    max(coalesce(grace_ends_at, paid_at + duration)) FILTER (WHERE NOT refunded), min(paid_at)) END,
           greatest(max(paid_at), max(grace_ends_at) FILTER (WHERE NOT refunded)),
           count(*) + count(*) FILTER (WHERE refunded), bool_or(renews)
    FROM demo_purchase WHERE granted
    GROUP BY customer_id, entitlement
    """,
)


def offers() -> QuerySet[Price]:
    """What demo customers can buy: all that is on sale in Telegram and is paid once."""
    return Price.objects.filter(
        plan__withdrawn_at=None,
        plan__recurring=False,
        payment_method__in=[PaymentMethod.TELEGRAM_STARS, PaymentMethod.TELEGRAM_PROVIDER],
    )


def seed_payments(count: int) -> Iterator[int]:
    """Write that many payments of new customers for the plans on sale, a batch at a time; yields how many there are.

    Repeating it adds as many again. `sum_up` has to follow.
    """
    written = 0
    while written < count:
        most = count - written
        purchases = PURCHASES.format(
            offers=OFFERS.format(sold=SOLD_ONCE),
            payments=most,
            held_below=HELD_BELOW,
            refunded_below=REFUNDED_BELOW,
            paid_id=UUID7.format(at="paid_at", salt="paid"),
            refund_id=UUID7.format(at="later", salt="back"),
        )
        written += write_batch([purchases, *WRITE], buyers=min(most, BUYERS_AT_ONCE), days=DAYS)
        yield written


def sum_up() -> None:
    """Sum the figures derived from the books anew, and let the planner know of the rows before autovacuum comes by."""
    _take_statistics()
    tallies.recompute()
    tallies.move_forward()
    revenue.recompute_revenue()
    revenue.fold_revenue()
    recurring.count_anew()
    count_access()


@long_statements(up_to=timedelta(minutes=10))
def _take_statistics() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


@long_statements(up_to=timedelta(minutes=10))
def write_batch(statements: Sequence[str], *, buyers: int, days: int) -> int:
    """Make so many buyers of the last days, and let the statements write what they did; returns how many payments that
    is. The statements find them in `demo_buyer`, and make `demo_purchase`.
    """
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL synchronous_commit = off")
        cursor.execute("SELECT current_setting('is_superuser')")
        if cursor.fetchone() == ("on",):
            # Spares a look at each row's keys, which is most of the time.
            cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(
            f"SELECT max(telegram_user_id) FROM entitlements_customer WHERE telegram_user_id > {FIRST_DEMO_ID}"
        )
        (latest,) = cursor.fetchone()
        cursor.execute(BUYERS.format(first=latest or FIRST_DEMO_ID, buyers=buyers, days=days))
        for statement in statements:
            cursor.execute(statement)
        cursor.execute("SELECT count(*) FROM demo_purchase")
        (written,) = cursor.fetchone()
        cursor.execute("DROP TABLE demo_buyer, demo_purchase")
    return int(written)
