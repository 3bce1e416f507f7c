-- The tables of the architecture this project replaces, alike for FastAPI, python-telegram-bot and pgbench.
CREATE TABLE payment_event (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    charge_id text NOT NULL UNIQUE,
    user_id bigint NOT NULL,
    plan_code text NOT NULL,
    amount bigint NOT NULL CHECK (amount > 0),
    currency text NOT NULL,
    raw jsonb NOT NULL,
    occurred_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX payment_event_by_user ON payment_event (user_id);

CREATE TABLE entitlement (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id bigint NOT NULL,
    code text NOT NULL,
    active_until timestamptz NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    UNIQUE (user_id, code)
);

CREATE TABLE job (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task text NOT NULL,
    args jsonb NOT NULL,
    status text NOT NULL DEFAULT 'todo',
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX job_to_do ON job (id) WHERE status = 'todo';
