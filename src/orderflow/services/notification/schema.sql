-- A customer's row is the lock of what is counted and ordered for that customer.
CREATE TABLE customer (
    customer_id text COLLATE "C" PRIMARY KEY,
    sequence    bigint NOT NULL DEFAULT 0,
    -- When a sender is to look at it next: a lease until then, or a rest. NULL: nothing waits to be sent.
    due_at      timestamptz,
    leased_by   text,
    CONSTRAINT customer_leases_end CHECK (leased_by IS NULL OR due_at IS NOT NULL)
);
CREATE INDEX customer_due ON customer (due_at) WHERE due_at IS NOT NULL;

-- One row for each thing that a customer is told, never deleted: the second wall against repeats, for good.
CREATE TABLE delivery (
    notification_id uuid PRIMARY KEY,
    position        bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    customer_id     text        COLLATE "C" NOT NULL,
    order_id        text        COLLATE "C" NOT NULL,
    kind            text        NOT NULL,
    channel         text        NOT NULL,
    subject         text        NOT NULL,
    text            text        NOT NULL,
    cause_id        uuid        NOT NULL,
    cause_type      text        NOT NULL,
    correlation_id  text        NOT NULL,
    traceparent     text,
    tracestate      text,
    created_at      timestamptz NOT NULL DEFAULT now(),
    state           text        NOT NULL DEFAULT 'PENDING'
                    CONSTRAINT delivery_state_is_known CHECK (state IN ('PENDING', 'SENT', 'FAILED')),
    sequence        bigint,
    attempts        integer     NOT NULL DEFAULT 0,
    reason          text,
    occurred_at     timestamptz,
    CONSTRAINT delivery_is_told_once UNIQUE (cause_id, kind),
    CONSTRAINT delivery_numbers_are_of_one UNIQUE (customer_id, sequence),
    CONSTRAINT delivery_settled_has_a_number CHECK ((state = 'PENDING') = (sequence IS NULL)),
    CONSTRAINT delivery_settled_has_a_time CHECK ((state = 'PENDING') = (occurred_at IS NULL))
);
CREATE INDEX delivery_pending ON delivery (customer_id, position) WHERE state = 'PENDING';
CREATE INDEX delivery_of_customer ON delivery (customer_id, position);
CREATE INDEX delivery_of_order ON delivery (order_id, position);

CREATE TABLE inbox (
    listener    text        NOT NULL,
    event_id    uuid        NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (listener, event_id)
);
CREATE INDEX inbox_received_at ON inbox USING brin (received_at);

CREATE SEQUENCE outbox_sequence;

CREATE TABLE outbox (
    id               uuid        NOT NULL,
    aggregatetype    text        NOT NULL CONSTRAINT outbox_topic_is_known CHECK (aggregatetype IN ('notifications')),
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
    sequence         bigint      NOT NULL DEFAULT nextval('outbox_sequence')
) PARTITION BY RANGE (created_at);

CREATE TABLE outbox_default PARTITION OF outbox DEFAULT;

CREATE TABLE relay_state (
    service           text        PRIMARY KEY,
    system_identifier text        NOT NULL,
    slot              text        NOT NULL,
    first_position    pg_lsn      NOT NULL,
    first_position_at timestamptz NOT NULL DEFAULT now(),
    tick              bigint      NOT NULL DEFAULT 0
);
