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

INSERT INTO funnel_status (status, entered, current)
SELECT status, count(*), (SELECT count(*) FROM followed_order AS now WHERE now.status = change.status)
FROM status_change AS change GROUP BY status;
INSERT INTO funnel_hour (hour, status, orders, last_at)
SELECT date_trunc('hour', entered_at, 'UTC'), status, count(*), max(entered_at) FROM status_change GROUP BY 1, 2;
INSERT INTO funnel_stay (status, left_to, bucket, orders)
SELECT status, left_to, floor(ln(1 + 1000 * greatest(extract(epoch FROM left_at - entered_at)::float8, 0)) / ln(1.05::float8)),
       count(*)
FROM status_change WHERE left_at IS NOT NULL GROUP BY 1, 2, 3;
DROP INDEX status_change_by_time;
