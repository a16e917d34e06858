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
