-- Where each order is, by its newest event; also the lock under which its changes are added.
CREATE TABLE followed_order (
    order_id text COLLATE "C" PRIMARY KEY,
    status   text    NOT NULL
             CONSTRAINT followed_order_status_is_known
             CHECK (status IN ('CREATED', 'PAID', 'SHIPPED', 'DELIVERED', 'CANCELLED')),
    version  integer NOT NULL
);

-- One row for each status change, never deleted: the second wall against repeats, for good.
-- left_at, left_to: when the next version came, and what it was. Times are those of the events.
CREATE TABLE status_change (
    order_id   text COLLATE "C",
    version    integer,
    status     text        NOT NULL
               CONSTRAINT status_change_status_is_known
               CHECK (status IN ('CREATED', 'PAID', 'SHIPPED', 'DELIVERED', 'CANCELLED')),
    entered_at timestamptz NOT NULL,
    left_at    timestamptz,
    left_to    text,
    PRIMARY KEY (order_id, version),
    CONSTRAINT status_change_is_left_for_something CHECK ((left_at IS NULL) = (left_to IS NULL))
);

-- What the funnel says, kept by the transaction that counts a change: it grows with hours, and with how differently
-- long orders stay, never with orders.
CREATE TABLE funnel_status (
    status  text   PRIMARY KEY,
    entered bigint NOT NULL,
    current bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE funnel_hour (
    hour    timestamptz,
    status  text,
    orders  bigint      NOT NULL,
    last_at timestamptz NOT NULL,
    PRIMARY KEY (hour, status)
) WITH (fillfactor = 70);

-- How many orders left a status for another after how long: a bucket is as wide as a twentieth of what it counts.
CREATE TABLE funnel_stay (
    status  text,
    left_to text,
    bucket  integer,
    orders  bigint NOT NULL,
    PRIMARY KEY (status, left_to, bucket)
) WITH (fillfactor = 70);

CREATE TABLE inbox (
    listener    text        NOT NULL,
    event_id    uuid        NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (listener, event_id)
);
CREATE INDEX inbox_received_at ON inbox (received_at);

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
