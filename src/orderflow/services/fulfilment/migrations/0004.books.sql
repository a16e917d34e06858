-- What the books compare: the service's published language. Columns are only ever added; a reader needs SELECT on the
-- views alone.
CREATE VIEW books_shipment AS
SELECT order_id, customer_id, status, version, reason, lines FROM shipment;
COMMENT ON VIEW books_shipment IS
    'The shipment of each order that was paid or reserved. By order_id; version is that of its last status change.';

CREATE VIEW books_inbox AS
SELECT listener, event_id, received_at FROM inbox;
COMMENT ON VIEW books_inbox IS
    'Events whose effects are in this database; kept for 35 days. By (listener, event_id).';
