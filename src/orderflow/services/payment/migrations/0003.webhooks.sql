-- The provider tells of a payment by our id of it; only of those that are unknown is it believed.
CREATE INDEX payment_unknown_by_id ON payment (payment_id) WHERE unknown_since IS NOT NULL;

-- Webhooks that were believed; forgotten after a day.
CREATE TABLE webhook (
    webhook_id  text        PRIMARY KEY CHECK (length(webhook_id) <= 255),
    received_at timestamptz NOT NULL
);
CREATE INDEX webhook_received ON webhook (received_at);
