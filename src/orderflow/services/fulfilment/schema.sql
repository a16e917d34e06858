-- One row for each order that was paid, never deleted: the second wall against repeats, for good.
-- version: that of the last status change that counted, 0 before the first. Times are those of the events. lines: what
-- was reserved, NULL until that is known.
CREATE TABLE shipment (
    order_id      text COLLATE "C" PRIMARY KEY,
    customer_id   text        NOT NULL,
    status        text        NOT NULL
                  CONSTRAINT shipment_status_is_known CHECK (status IN ('WAITING', 'PREPARED', 'TRACKED', 'CLOSED', 'CALLED_OFF')),
    version       integer     NOT NULL CONSTRAINT shipment_version_counts CHECK (version >= 0),
    reason        text,
    prepared_at   timestamptz,
    tracked_at    timestamptz,
    closed_at     timestamptz,
    called_off_at timestamptz,
    paid_at       timestamptz,
    reserved_at   timestamptz,
    lines         jsonb
);
CREATE INDEX shipment_by_status ON shipment (status, order_id);
CREATE INDEX shipment_of_customer ON shipment (customer_id, order_id);

CREATE TABLE inbox (
    listener    text        NOT NULL,
    event_id    uuid        NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (listener, event_id)
);
CREATE INDEX inbox_received_at ON inbox (received_at);

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
