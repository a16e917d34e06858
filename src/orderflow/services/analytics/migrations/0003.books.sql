-- What the books compare: the service's published language. Columns are only ever added; a reader needs SELECT on the
-- views alone.
CREATE VIEW books_followed_order AS
SELECT order_id, status, version FROM followed_order;
COMMENT ON VIEW books_followed_order IS
    'Where each order is by its newest event. By order_id.';

CREATE VIEW books_status_change AS
SELECT order_id, version, status, entered_at FROM status_change;
COMMENT ON VIEW books_status_change IS
    'Every status change that was counted. By (order_id, version).';

CREATE VIEW books_inbox AS
SELECT listener, event_id, received_at FROM inbox;
COMMENT ON VIEW books_inbox IS
    'Events whose effects are in this database; kept for 35 days. By (listener, event_id).';
