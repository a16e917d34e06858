-- What the books compare: the service's published language. Columns are only ever added; a reader needs SELECT on the
-- views alone.
CREATE VIEW books_notification AS
SELECT notification_id, order_id, customer_id, kind, cause_id, cause_type, state, sequence, created_at FROM delivery;
COMMENT ON VIEW books_notification IS
    'Every notification and the event that caused it. By order_id, or by (customer_id, sequence), which has no gap.';

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
