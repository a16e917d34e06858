-- The warehouse's payments: one row per payment, with its latest state. The sink writes the columns
-- that an event has, whatever the row holds already; a field that a later schema adds becomes a
-- column. Repeated, this script changes nothing.

CREATE TABLE IF NOT EXISTS payments (
    payment_id         text        PRIMARY KEY,
    order_id           text        NOT NULL,
    customer_id        text        NOT NULL,
    attempt            integer     NOT NULL,
    amount_minor       bigint      NOT NULL,
    currency           text        NOT NULL,
    payment_method     text,
    provider_reference text,
    reason             text,
    message            text,
    refund_id          text,
    occurred_at        timestamptz NOT NULL,
    status             text        NOT NULL GENERATED ALWAYS AS (
        CASE
            WHEN refund_id IS NOT NULL THEN 'REFUNDED'
            WHEN message IS NOT NULL THEN 'FAILED'
            ELSE 'SUCCEEDED'
        END
    ) STORED
);

CREATE INDEX IF NOT EXISTS payments_by_order ON payments (order_id);

-- A replay brings older events again. An older one fills what is empty and takes nothing away, so
-- a row never goes back: the order in which its events come does not matter.
CREATE OR REPLACE FUNCTION keep_latest() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RETURN jsonb_populate_record(NEW, jsonb_strip_nulls(to_jsonb(OLD)));
END
$$;

CREATE OR REPLACE TRIGGER payments_keep_latest BEFORE UPDATE ON payments FOR EACH ROW
WHEN (NEW.occurred_at < OLD.occurred_at) EXECUTE FUNCTION keep_latest();

CREATE OR REPLACE VIEW books_payments AS
SELECT
    payment_id,
    order_id,
    customer_id,
    status,
    currency,
    CASE WHEN status = 'FAILED' THEN 0 ELSE amount_minor END AS captured_minor,
    CASE WHEN status = 'REFUNDED' THEN amount_minor ELSE 0 END AS refunded_minor
FROM payments;
