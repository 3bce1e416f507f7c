-- Invoices for the quotes of a temporary table, as send-invoice leaves them: sent, open for an hour.
INSERT INTO payments_invoice (
    id, customer_id, plan_id, payment_method, amount, currency, entitlement, features, duration, recurring, when_active,
    payload, status, expires_at, sent_at, link)
SELECT quote.id, customer_id, code, payment_method, amount, currency, entitlement, features, duration_days * interval '1 day',
       recurring, when_active, payload, 'sent', now() + interval '1 hour', now(), ''
FROM quote, payments_plan JOIN payments_price ON plan_id = code
