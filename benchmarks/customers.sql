-- Customers who have each bought gold once, some time within the last 60 days: half of them have it still.
-- Their number is benchmark.customers, their Telegram ids begin with benchmark.first_user.
-- Written as superuser past triggers and foreign keys, for speed; what it writes keeps every rule.
SET session_replication_role = replica;
SET synchronous_commit = off;

INSERT INTO payments_plan (code, title, description, entitlement, features, duration_days, recurring, when_active, position)
VALUES ('gold_1m', 'Gold, 1 month', 'Signals and three devices.', 'gold', '{"max_devices": 3}', 30, false, 'extend', 0);
INSERT INTO payments_price (plan_id, payment_method, currency, amount, stripe_price_id, position)
VALUES ('gold_1m', 'telegram_stars', 'XTR', 500, '', 0);

CREATE TEMPORARY TABLE purchase AS
SELECT n + 1 AS customer_id,
       current_setting('benchmark.first_user')::bigint + n AS telegram_user_id,
       'stx' || repeat(md5(n::text), 3) || n AS charge_id,
       paid_at,
       (lpad(to_hex((extract(epoch FROM paid_at) * 1000)::bigint), 12, '0') || '7' || substr(md5(n::text), 1, 3)
            || '8' || substr(md5(n::text), 4, 15))::uuid AS id
FROM generate_series(0, current_setting('benchmark.customers')::bigint - 1) AS n,
     LATERAL (SELECT date_trunc('second', now()) - interval '1 hour' - n % 60 * interval '1 day' AS paid_at) AS moment
ORDER BY paid_at;

INSERT INTO entitlements_customer (id, user_id, user_id_origin, telegram_user_id, display_name, username, language_code)
SELECT customer_id, telegram_user_id, 'ours', telegram_user_id, 'Customer ' || telegram_user_id, '', 'en' FROM purchase;

INSERT INTO payments_invoice (
    id, customer_id, plan_id, payment_method, amount, currency, entitlement, features, duration, recurring, when_active,
    payload, status, created_at, expires_at, sent_at, link)
SELECT id, customer_id, 'gold_1m', 'telegram_stars', 500, 'XTR', 'gold', '{"max_devices": 3}', interval '30 days', false,
       'extend', '1.' || id || '.gold_1m.seeded', 'paid', paid_at, paid_at + interval '1 hour', paid_at, ''
FROM purchase;

INSERT INTO payments_paymentevent (
    id, event_id, event_type, payment_method, customer_id, invoice_id, plan_id, amount, currency, status, origin,
    occurred_at, received_at, provider_charge_id, reference)
SELECT id, charge_id, 'telegram_stars.successful_payment', 'telegram_stars', customer_id, id, 'gold_1m', 500, 'XTR',
       'processed', 'webhook', paid_at, paid_at, '', '1.' || id || '.gold_1m.seeded'
FROM purchase;

INSERT INTO payments_providerrecord (event_id, body) SELECT id, '{"currency": "XTR", "total_amount": 500}' FROM purchase;

INSERT INTO payments_notice (kind, event_id, created_at, next_attempt_at, attempts, sent_at)
SELECT 'payment_confirmed', id, paid_at, paid_at, 1, paid_at FROM purchase;

INSERT INTO telegram_bot_incomingupdate (bot_id, update_id, digest, kind, body, received_at, status, next_attempt_at, done_at)
SELECT 100000002, 100000000 + customer_id, sha256(charge_id::bytea), 'message', '', paid_at, 'done', paid_at, paid_at
FROM purchase;

INSERT INTO entitlements_grant (
    customer_id, entitlement, plan_code, features, source, granted_at, duration, revoked_reason, created_at)
SELECT customer_id, 'gold', 'gold_1m', '{"max_devices": 3}', 'telegram_stars:' || charge_id, paid_at, interval '30 days', '', paid_at
FROM purchase;

INSERT INTO entitlements_entitlement (customer_id, code, active_until, latest_grant_at, version)
SELECT customer_id, 'gold', paid_at + interval '30 days', paid_at, 1 FROM purchase;

SELECT setval(pg_get_serial_sequence('entitlements_customer', 'id'), current_setting('benchmark.customers')::bigint);
