-- One row for each order that payment was told of: the row that intents and outcomes lock. `closed`: it was cancelled.
CREATE TABLE known_order (
    order_id uuid    PRIMARY KEY,
    closed   boolean NOT NULL DEFAULT false
);

-- Orders that were cancelled. Never deleted: whatever comes later is not charged. `ahead`: the cancellation's own
-- record has not had its turn.
CREATE TABLE closed_order (
    order_id    uuid        PRIMARY KEY REFERENCES known_order,
    customer_id text        NOT NULL,
    reason      text        NOT NULL,
    closed_by   uuid        NOT NULL,
    closed_at   timestamptz NOT NULL,
    ahead       boolean     NOT NULL DEFAULT false
);

-- One row for each attempt, written before the provider is asked; never deleted. `settled_by` is the event whose
-- record announces the outcome, `requested_by` the event that asked for the payment first. `live` is a column of its own
-- so that settling changes no index; nor does it touch the index of those that are unknown, unless they were.
-- `waiting_record`: the record that waits for the answer, since `waiting_since`.
CREATE TABLE payment (
    order_id           uuid        NOT NULL,
    attempt            smallint    NOT NULL CHECK (attempt >= 1),
    payment_id         uuid        NOT NULL,
    customer_id        text        NOT NULL,
    state              text        NOT NULL
                       CONSTRAINT payment_state_is_known CHECK (state IN ('REQUESTED', 'UNKNOWN', 'SUCCEEDED', 'FAILED')),
    live               boolean     NOT NULL
                       CONSTRAINT payment_failed_is_not_live CHECK (live = (state <> 'FAILED')),
    amount_minor       bigint      NOT NULL CHECK (amount_minor >= 0),
    currency           text        NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    payment_method     text        NOT NULL,
    lines              json        NOT NULL,
    provider_reference text,
    reason             text,
    message            text,
    captured_minor     bigint      NOT NULL DEFAULT 0
                       CONSTRAINT payment_captures_all_or_nothing
                       CHECK (captured_minor = CASE state WHEN 'SUCCEEDED' THEN amount_minor ELSE 0 END),
    refunded_minor     bigint      NOT NULL DEFAULT 0
                       CONSTRAINT payment_refunds_within_capture CHECK (refunded_minor BETWEEN 0 AND captured_minor),
    created_at         timestamptz NOT NULL,
    settled_at         timestamptz,
    settled_by         uuid,
    requested_by       uuid,
    unknown_since      timestamptz,
    waiting_record     text,
    waiting_since      timestamptz,
    PRIMARY KEY (order_id, attempt),
    CONSTRAINT payment_settled_is_told
    CHECK ((state IN ('SUCCEEDED', 'FAILED')) = (settled_at IS NOT NULL AND settled_by IS NOT NULL)),
    CONSTRAINT payment_unknown_is_dated CHECK ((state = 'UNKNOWN') = (unknown_since IS NOT NULL))
) WITH (fillfactor = 60);
CREATE UNIQUE INDEX payment_one_live ON payment (order_id) WHERE live;
CREATE INDEX payment_unknown ON payment (unknown_since) WHERE unknown_since IS NOT NULL;
CREATE INDEX payment_unknown_by_id ON payment (payment_id) WHERE unknown_since IS NOT NULL;
CREATE INDEX payment_unknown_by_order ON payment (order_id, attempt) WHERE unknown_since IS NOT NULL;
CREATE INDEX payment_failed_by_order ON payment (order_id, attempt) WHERE NOT live;
CREATE INDEX payment_of_customer ON payment (customer_id, order_id, attempt);

-- A refund is counted in its payment's `refunded_minor` by the statement that inserts it.
CREATE TABLE refund (
    refund_id          uuid        PRIMARY KEY,
    order_id           uuid        NOT NULL,
    attempt            smallint    NOT NULL,
    amount_minor       bigint      NOT NULL CHECK (amount_minor >= 0),
    reason             text        NOT NULL,
    state              text        NOT NULL
                       CONSTRAINT refund_state_is_known CHECK (state IN ('REQUESTED', 'SUCCEEDED')),
    provider_reference text,
    created_at         timestamptz NOT NULL,
    created_by         uuid        NOT NULL,
    settled_at         timestamptz,
    FOREIGN KEY (order_id, attempt) REFERENCES payment,
    CONSTRAINT refund_settled_is_dated CHECK ((state = 'SUCCEEDED') = (settled_at IS NOT NULL))
);
CREATE INDEX refund_of_payment ON refund (order_id, attempt);
CREATE INDEX refund_owed ON refund (created_at) WHERE settled_at IS NULL;

-- Webhooks that were believed; forgotten after a day.
CREATE TABLE webhook (
    webhook_id  text        PRIMARY KEY CHECK (length(webhook_id) <= 255),
    received_at timestamptz NOT NULL
);
CREATE INDEX webhook_received ON webhook (received_at);

-- The books in sum, kept by the statements that change payments and refunds, whichever they are. A currency's sums are
-- in parts, so that workers do not wait for one another: a session adds to the part of its process.
CREATE TABLE ledger_total (
    currency       text,
    part           integer,
    captured_minor numeric NOT NULL,
    refunded_minor numeric NOT NULL,
    captures       bigint  NOT NULL,
    refunds        bigint  NOT NULL,
    failed         bigint  NOT NULL,
    unsettled      bigint  NOT NULL,
    PRIMARY KEY (currency, part)
) WITH (fillfactor = 50);

-- A total of zero never reached the provider, so it counts as neither a capture nor a refund.
CREATE FUNCTION count_new_payments() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ledger_total AS total
    SELECT currency, pg_backend_pid() % 64, sum(captured_minor), 0, count(*) FILTER (WHERE captured_minor > 0), 0,
           count(*) FILTER (WHERE state = 'FAILED'), count(*) FILTER (WHERE settled_at IS NULL)
    FROM new_rows GROUP BY currency ORDER BY currency
    ON CONFLICT (currency, part) DO UPDATE SET
        captured_minor = total.captured_minor + excluded.captured_minor, captures = total.captures + excluded.captures,
        failed = total.failed + excluded.failed, unsettled = total.unsettled + excluded.unsettled;
    RETURN NULL;
END
$$;

CREATE FUNCTION count_changed_payments() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ledger_total AS total
    SELECT currency, pg_backend_pid() % 64, sum(sign * captured_minor), 0,
           sum(sign * (captured_minor > 0)::int), 0, sum(sign * (state = 'FAILED')::int),
           sum(sign * (settled_at IS NULL)::int)
    FROM (SELECT 1 AS sign, currency, captured_minor, state, settled_at FROM new_rows
          UNION ALL SELECT -1, currency, captured_minor, state, settled_at FROM old_rows) AS changed
    GROUP BY currency
    HAVING (sum(sign * captured_minor), sum(sign * (captured_minor > 0)::int), sum(sign * (state = 'FAILED')::int),
            sum(sign * (settled_at IS NULL)::int)) <> (0, 0, 0, 0)
    ORDER BY currency
    ON CONFLICT (currency, part) DO UPDATE SET
        captured_minor = total.captured_minor + excluded.captured_minor, captures = total.captures + excluded.captures,
        failed = total.failed + excluded.failed, unsettled = total.unsettled + excluded.unsettled;
    RETURN NULL;
END
$$;

CREATE FUNCTION count_new_refunds() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ledger_total AS total
    SELECT currency, pg_backend_pid() % 64, 0, sum(new_rows.amount_minor), 0, count(*), 0, 0
    FROM new_rows JOIN payment USING (order_id, attempt)
    WHERE new_rows.settled_at IS NOT NULL AND new_rows.amount_minor > 0
    GROUP BY currency ORDER BY currency
    ON CONFLICT (currency, part) DO UPDATE SET
        refunded_minor = total.refunded_minor + excluded.refunded_minor, refunds = total.refunds + excluded.refunds;
    RETURN NULL;
END
$$;

CREATE FUNCTION count_changed_refunds() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ledger_total AS total
    SELECT currency, pg_backend_pid() % 64, 0, sum(new_rows.amount_minor), 0, count(*), 0, 0
    FROM new_rows JOIN old_rows USING (refund_id)
         JOIN payment ON payment.order_id = new_rows.order_id AND payment.attempt = new_rows.attempt
    WHERE new_rows.settled_at IS NOT NULL AND old_rows.settled_at IS NULL AND new_rows.amount_minor > 0
    GROUP BY currency ORDER BY currency
    ON CONFLICT (currency, part) DO UPDATE SET
        refunded_minor = total.refunded_minor + excluded.refunded_minor, refunds = total.refunds + excluded.refunds;
    RETURN NULL;
END
$$;

CREATE TRIGGER payment_inserted AFTER INSERT ON payment REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION count_new_payments();
CREATE TRIGGER payment_updated AFTER UPDATE ON payment REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION count_changed_payments();
CREATE TRIGGER refund_inserted AFTER INSERT ON refund REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION count_new_refunds();
CREATE TRIGGER refund_updated AFTER UPDATE ON refund REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION count_changed_refunds();

-- What the books compare: the service's published language. Columns are only ever added; a reader needs SELECT on the
-- views alone.
CREATE VIEW books_payment AS
SELECT order_id, attempt, payment_id, customer_id, state, amount_minor, currency, captured_minor, refunded_minor,
       provider_reference, created_at, settled_at
FROM payment;
COMMENT ON VIEW books_payment IS
    'Every payment attempt. By order_id; payment_id is the reference at the provider. Amounts in minor units.';

CREATE VIEW books_refund AS
SELECT refund.order_id, refund.attempt, refund.refund_id, payment.payment_id, refund.state, refund.amount_minor,
       payment.currency, refund.provider_reference, refund.created_at, refund.settled_at
FROM refund JOIN payment USING (order_id, attempt);
COMMENT ON VIEW books_refund IS
    'Every refund. By order_id; refund_id is the reference at the provider. Amounts in minor units.';

CREATE VIEW books_known_order AS
SELECT order_id, closed_order.order_id IS NOT NULL AS closed
FROM known_order LEFT JOIN closed_order USING (order_id);
COMMENT ON VIEW books_known_order IS
    'Every order that payment was told of, and whether it was told of its cancellation. By order_id.';
