-- What the books compare: the service's published language. Columns are only ever added; a reader needs SELECT on the
-- views alone.
CREATE VIEW books_order AS
SELECT order_id, customer_id, status, version, revision, payment_attempt, payment_state, payment_id, stock,
       payment_mode, amount_minor, currency, created_at, updated_at, waiting_for, waiting_since
FROM orders;
COMMENT ON VIEW books_order IS
    'Every order as it is now. By order_id, which begins with the time of its making. Amounts in minor units.';

CREATE VIEW books_order_version AS
SELECT order_id, version, status, event_id, occurred_at FROM order_history WHERE event_id IS NOT NULL;
COMMENT ON VIEW books_order_version IS
    'Every status change, with the event on order-events that announces it. By order_id; versions count from 1.';

CREATE VIEW books_inbox AS
SELECT listener, event_id, received_at FROM inbox;
COMMENT ON VIEW books_inbox IS
    'Events whose effects are in this database; kept for 35 days. By (listener, event_id).';

CREATE VIEW books_outbox AS
SELECT id AS event_id, aggregatetype AS topic, aggregateid AS key, type, sequence, created_at
FROM outbox;
COMMENT ON VIEW books_outbox IS
    'Events that are committed to be published; kept for 7 days. By ranges of sequence.';

CREATE VIEW books_relay AS
SELECT service, published_sequence, (SELECT last_value FROM outbox_sequence) AS drawn_sequence
FROM relay_state;
COMMENT ON VIEW books_relay IS
    'How far the outbox is published, and the last sequence that was drawn.';
