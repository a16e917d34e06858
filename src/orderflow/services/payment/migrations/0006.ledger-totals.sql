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

-- Nobody writes payments or refunds from here on until this commits.
INSERT INTO ledger_total
SELECT payment.currency, 0, sum(captured_minor),
       coalesce(sum(refund.amount_minor) FILTER (WHERE refund.settled_at IS NOT NULL), 0),
       count(*) FILTER (WHERE captured_minor > 0),
       count(*) FILTER (WHERE refund.settled_at IS NOT NULL AND refund.amount_minor > 0),
       count(*) FILTER (WHERE payment.state = 'FAILED'), count(*) FILTER (WHERE payment.settled_at IS NULL)
FROM payment LEFT JOIN refund USING (order_id, attempt) GROUP BY payment.currency;
