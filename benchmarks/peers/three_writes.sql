-- The three writes of one payment, as nearly nothing but PostgreSQL can do them: pgbench -M prepared.
\set user_id random(:first_user, :last_user)
BEGIN;
INSERT INTO payment_event (charge_id, user_id, plan_code, amount, currency, raw, occurred_at)
    VALUES ('stx' || gen_random_uuid(), :user_id, 'gold_1m', 500, 'XTR', '{"currency": "XTR", "total_amount": 500, "invoice_payload": "gold_1m:0123456789abcdef0123456789abcdef", "telegram_payment_charge_id": "stxABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz01234567", "provider_payment_charge_id": ""}', now());
INSERT INTO entitlement (user_id, code, active_until)
    VALUES (:user_id, 'gold', now() + interval '30 days')
    ON CONFLICT (user_id, code) DO UPDATE
    SET active_until = greatest(entitlement.active_until, now()) + interval '30 days', version = entitlement.version + 1;
INSERT INTO job (task, args) VALUES ('confirm_payment', jsonb_build_object('user_id', :user_id::bigint));
COMMIT;
