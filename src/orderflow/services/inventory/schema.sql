-- What is reserved is still on hand. `movements`: how many stock_movement has of the SKU, so the sequence of the last.
CREATE TABLE stock (
    sku       text COLLATE "C" PRIMARY KEY,
    on_hand   integer NOT NULL,
    reserved  integer NOT NULL DEFAULT 0,
    shipped   bigint  NOT NULL DEFAULT 0,
    received  bigint  NOT NULL DEFAULT 0,
    corrected bigint  NOT NULL DEFAULT 0,
    movements bigint  NOT NULL DEFAULT 0,
    CONSTRAINT stock_reserves_what_is_there CHECK (reserved >= 0 AND reserved <= on_hand),
    CONSTRAINT stock_shipped_is_not_negative CHECK (shipped >= 0),
    CONSTRAINT stock_is_what_moved CHECK (on_hand = received + corrected - shipped)
);

-- Every change of the pieces on hand, only ever inserted, and kept for good: the books of the warehouse.
-- A receipt's key is unique for good, too: the same delivery note is booked once, however late it is sent again.
CREATE TABLE stock_movement (
    sku         text COLLATE "C" NOT NULL,
    sequence    bigint      NOT NULL,
    kind        text        NOT NULL,
    quantity    bigint      NOT NULL,
    on_hand     integer     NOT NULL,
    order_id    text,
    receipt_key text        COLLATE "C",
    actor       text,
    reason      text,
    occurred_at timestamptz NOT NULL,
    PRIMARY KEY (sku, sequence),
    CONSTRAINT stock_movement_has_the_sign_of_its_kind CHECK (
        CASE kind WHEN 'RECEIPT' THEN quantity > 0 WHEN 'SHIPMENT' THEN quantity < 0 ELSE kind = 'CORRECTION' END
    )
);
CREATE UNIQUE INDEX stock_movement_books_a_receipt_once ON stock_movement (sku, receipt_key) WHERE receipt_key IS NOT NULL;

-- One row for each order that was ever paid or refunded, never deleted: the second wall against repeats, for good.
CREATE TABLE reservation (
    order_id    text COLLATE "C" PRIMARY KEY,
    customer_id text        NOT NULL,
    payment_id  text        NOT NULL,
    status      text        NOT NULL
                CONSTRAINT reservation_status_is_known CHECK (status IN ('RESERVED', 'REJECTED', 'RELEASED', 'SHIPPED')),
    lines       jsonb       NOT NULL,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL
);
-- What is reserved is added up without reading what was shipped or released long ago.
CREATE INDEX reservation_open ON reservation (order_id) WHERE status = 'RESERVED';

CREATE TABLE inbox (
    listener    text        NOT NULL,
    event_id    uuid        NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (listener, event_id)
);
CREATE INDEX inbox_received_at ON inbox (received_at);

CREATE SEQUENCE outbox_sequence;

CREATE TABLE outbox (
    id               uuid        NOT NULL,
    aggregatetype    text        NOT NULL CONSTRAINT outbox_topic_is_known CHECK (aggregatetype IN ('inventory')),
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
