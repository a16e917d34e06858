-- What is reserved is added up without reading what was shipped or released long ago.
CREATE INDEX reservation_open ON reservation (order_id) WHERE status = 'RESERVED';

-- What the books compare: the service's published language. Columns are only ever added; a reader needs SELECT on the
-- views alone.
CREATE VIEW books_stock AS
SELECT sku, on_hand, reserved, shipped, received, corrected, movements FROM stock;
COMMENT ON VIEW books_stock IS
    'What the service counts of each SKU, in pieces. By sku.';

CREATE VIEW books_moved AS
SELECT sku, sum(quantity) AS on_hand,
       coalesce(sum(quantity) FILTER (WHERE kind = 'RECEIPT'), 0) AS received,
       coalesce(sum(quantity) FILTER (WHERE kind = 'CORRECTION'), 0) AS corrected,
       coalesce(-sum(quantity) FILTER (WHERE kind = 'SHIPMENT'), 0) AS shipped,
       count(*) AS movements, max(sequence) AS last_sequence
FROM stock_movement GROUP BY sku;
COMMENT ON VIEW books_moved IS
    'What the movements of each SKU add up to, in pieces. By sku; without it, every movement is read.';

CREATE VIEW books_movement AS
SELECT sku, sequence, kind, quantity, on_hand, order_id, occurred_at FROM stock_movement;
COMMENT ON VIEW books_movement IS
    'Every change of the pieces on hand, and how many there were after it. By (sku, sequence).';

CREATE VIEW books_reserved AS
SELECT line->>'sku' AS sku, sum((line->>'quantity')::bigint) AS reserved, count(DISTINCT order_id) AS orders
FROM reservation, jsonb_array_elements(lines) AS line WHERE status = 'RESERVED' GROUP BY 1;
COMMENT ON VIEW books_reserved IS
    'What the open reservations of each SKU add up to, in pieces. Reads all that are open, and no others.';

CREATE VIEW books_reservation AS
SELECT order_id, customer_id, payment_id, status, lines, created_at, updated_at FROM reservation;
COMMENT ON VIEW books_reservation IS
    'What was decided about each order that was paid or refunded. By order_id; lines are [{sku, quantity}].';

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
