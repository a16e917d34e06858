CREATE TABLE product (
    sku        text        PRIMARY KEY,
    name       text        NOT NULL,
    prices     jsonb       NOT NULL,
    active     boolean     NOT NULL DEFAULT true,
    version    integer     NOT NULL DEFAULT 1 CHECK (version >= 1),
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- One row for each version of a product, for good: it grows with commands, never with orders.
CREATE TABLE product_history (
    sku         text        NOT NULL REFERENCES product,
    version     integer     NOT NULL,
    name        text        NOT NULL,
    prices      jsonb       NOT NULL,
    active      boolean     NOT NULL,
    actor       text        NOT NULL,
    reason      text,
    occurred_at timestamptz NOT NULL,
    PRIMARY KEY (sku, version)
);

CREATE TABLE orders (
    order_id        uuid        PRIMARY KEY,
    customer_id     text        NOT NULL,
    status          text        NOT NULL CHECK (status IN ('CREATED', 'PAID', 'SHIPPED', 'DELIVERED', 'CANCELLED')),
    version         integer     NOT NULL CHECK (version >= 1),
    revision        integer     NOT NULL CHECK (revision >= version),
    payment_attempt smallint    NOT NULL CHECK (payment_attempt BETWEEN 0 AND 5),
    payment_state   text        NOT NULL
                    CHECK (payment_state IN ('NONE', 'REQUESTED', 'FAILED', 'SUCCEEDED', 'REFUNDED')),
    payment_id      uuid,
    stock           text        NOT NULL CHECK (stock IN ('NONE', 'RESERVED', 'REJECTED', 'RELEASED')),
    payment_mode    text        NOT NULL CHECK (payment_mode IN ('AUTOMATIC', 'ON_REQUEST')),
    payment_method  text,
    lines           jsonb       NOT NULL,
    amount_minor    bigint      NOT NULL CHECK (amount_minor >= 0),
    currency        text        NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    ship_when_reserved boolean NOT NULL DEFAULT false,
    waiting_for     text        CHECK (waiting_for IN ('PAY', 'PAYMENT', 'STOCK', 'SHIP', 'DELIVER', 'REFUND', 'RELEASE')),
    waiting_since   timestamptz NOT NULL,
    payment_reason  text,
    payment_message text,
    traceparent     text        CHECK (octet_length(traceparent) <= 128)
);
-- A row is written anew about five times in its life, and its index entries with it: at the default of a fifth of the
-- table, vacuum would come after millions of dead rows, which the sweeper and every list would pass.
ALTER TABLE orders SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_insert_scale_factor = 0.05);
-- Newest first is by order_id: it begins with the millisecond of its making.
CREATE INDEX orders_customer ON orders (customer_id, order_id);
CREATE INDEX orders_status ON orders (status, order_id);
CREATE INDEX orders_waiting ON orders (waiting_for, waiting_since) WHERE waiting_for IS NOT NULL;

-- One row for each revision. A row with an event_id is a status change, and that event is on order-events.
CREATE TABLE order_history (
    order_id    uuid        NOT NULL REFERENCES orders,
    revision    integer     NOT NULL,
    version     integer     NOT NULL,
    status      text        NOT NULL,
    description text        NOT NULL,
    occurred_at timestamptz NOT NULL,
    event_id    uuid,
    cause_type  text        NOT NULL,
    cause_id    text        NOT NULL,
    actor       text,
    reason      text,
    PRIMARY KEY (order_id, revision)
);

-- Written in the transaction of what it caused: a failed attempt leaves no row. Until it is settled, `answer` is what
-- was true at once, and a repeat waits as the first request did.
CREATE TABLE idempotency_key (
    scope        text        NOT NULL,
    key          text        NOT NULL,
    request_hash bytea       NOT NULL,
    order_id     uuid        NOT NULL,
    answer       bytea       NOT NULL,
    created_at   timestamptz NOT NULL,
    settled      boolean     NOT NULL DEFAULT true,
    PRIMARY KEY (scope, key)
);
CREATE INDEX idempotency_key_created_at ON idempotency_key (created_at);

CREATE SEQUENCE outbox_sequence;

CREATE TABLE outbox (
    id               uuid        NOT NULL,
    aggregatetype    text        NOT NULL CONSTRAINT outbox_topic_is_known CHECK (aggregatetype IN ('order-events', 'orders')),
    aggregateid      text        NOT NULL,
    type             text        NOT NULL,
    payload          bytea       NOT NULL
                     CONSTRAINT outbox_payload_fits CHECK (octet_length(payload) <= 900000),
    ce_source        text        NOT NULL,
    ce_time          text        NOT NULL,
    ce_subject       text        NOT NULL,
    ce_causationid   text,
    ce_correlationid text        NOT NULL,
    traceparent      text,
    tracestate       text,
    created_at       timestamptz NOT NULL DEFAULT now(),
    sequence         bigint      NOT NULL DEFAULT nextval('outbox_sequence'),
    CONSTRAINT outbox_key_fits CHECK (octet_length(aggregateid) <= 512),
    CONSTRAINT outbox_attributes_fit CHECK (
        greatest(octet_length(type), octet_length(ce_source), octet_length(ce_time),
                 octet_length(ce_subject), octet_length(ce_causationid),
                 octet_length(ce_correlationid)) <= 512
    ),
    CONSTRAINT outbox_trace_fits CHECK (
        octet_length(traceparent) <= 128
        AND octet_length(tracestate) <= 512
    )
) PARTITION BY RANGE (created_at);

CREATE TABLE outbox_default PARTITION OF outbox DEFAULT;
CREATE INDEX outbox_sequence_range ON outbox USING brin (sequence) WITH (autosummarize = on);
CREATE INDEX outbox_key ON outbox
USING brin (aggregateid text_bloom_ops (n_distinct_per_range = 1000))
WITH (pages_per_range = 64, autosummarize = on);
CREATE INDEX outbox_default_created_at ON outbox_default (created_at);

CREATE TABLE relay_state (
    service            text        PRIMARY KEY,
    system_identifier  text        NOT NULL,
    slot               text        NOT NULL,
    first_position     pg_lsn      NOT NULL,
    first_position_at  timestamptz NOT NULL DEFAULT now(),
    tick               bigint      NOT NULL DEFAULT 0,
    published_sequence bigint      NOT NULL DEFAULT 0
);

-- Rows that a topic refuses for good, and those of their key behind them: whole copies, so the
-- outbox's days can be dropped. `why` is null for a row that only waits behind another.
CREATE TABLE relay_held (
    event_id   uuid        PRIMARY KEY,
    place      bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    topic      text        NOT NULL,
    key        text        NOT NULL,
    payload    bytea       NOT NULL,
    headers    jsonb       NOT NULL,
    lsn        bigint      NOT NULL,
    since      timestamptz NOT NULL DEFAULT now(),
    why        text,
    refusals   integer     NOT NULL DEFAULT 0,
    sending    bigint,
    wanted     text        CHECK (wanted IN ('resend', 'discard')),
    wanted_by  text,
    because    text,
    wanted_at  timestamptz
);

-- What became of an operator's wish, kept for 35 days.
CREATE TABLE relay_held_decision (
    id         bigint      PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    event_id   uuid        NOT NULL,
    topic      text        NOT NULL,
    key        text        NOT NULL,
    type       text        NOT NULL,
    held_since timestamptz NOT NULL,
    why        text        NOT NULL,
    refusals   integer     NOT NULL,
    wanted     text        NOT NULL,
    wanted_by  text        NOT NULL,
    because    text        NOT NULL,
    wanted_at  timestamptz NOT NULL,
    outcome    text        NOT NULL CHECK (outcome IN ('sent', 'discarded', 'refused again')),
    decided_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE inbox (
    listener    text        NOT NULL,
    event_id    uuid        NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (listener, event_id)
);
CREATE INDEX inbox_received_at ON inbox (received_at);

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
