CREATE TABLE inbox (
    listener    text        NOT NULL,
    event_id    uuid        NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (listener, event_id)
);
CREATE INDEX inbox_received_at ON inbox USING brin (received_at);
