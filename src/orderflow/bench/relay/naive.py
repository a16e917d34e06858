"""
The baseline of `bench relay`: what one writes first.

`python -m orderflow.bench.relay.naive DSN BOOTSTRAP_SERVERS`. A poller: every 50 ms at most 100
unsent rows FOR UPDATE SKIP LOCKED, produced without a Kafka transaction, flushed, marked with
UPDATE. It makes no pause while batches are full, so that its drain is as fast as it can be.
"""

from __future__ import annotations

import signal
import sys
import threading

from orderflow.messaging.kafka import clients
from orderflow.messaging.postgres import Connection, connect
from orderflow.messaging.settings import DatabaseSettings, KafkaSettings

ROWS, POLL_EVERY_S = 100, 0.05

TABLE = """
CREATE TABLE outbox (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id uuid NOT NULL, aggregatetype text NOT NULL, aggregateid text NOT NULL, type text NOT NULL,
    payload bytea NOT NULL, ce_source text NOT NULL, ce_time text NOT NULL,
    ce_subject text NOT NULL, ce_causationid text, ce_correlationid text NOT NULL,
    traceparent text, tracestate text, sent_at timestamptz);
CREATE INDEX outbox_unsent ON outbox (seq) WHERE sent_at IS NULL;
"""
TAKE = """
SELECT seq, aggregatetype, aggregateid, payload, id::text, type, ce_source, ce_time, ce_subject,
       ce_correlationid, traceparent
FROM outbox WHERE sent_at IS NULL ORDER BY seq LIMIT %s FOR UPDATE SKIP LOCKED
"""
MARK = "UPDATE outbox SET sent_at = now() WHERE seq = ANY(%s)"
HEADERS = (
    "ce_id",
    "ce_type",
    "ce_source",
    "ce_time",
    "ce_subject",
    "ce_correlationid",
    "traceparent",
)


def relay_once(connection: Connection, producer: clients.Producer) -> int:
    """Publish one batch; returns how many rows it had."""
    with connection.transaction(), connection.cursor() as cursor:
        rows = cursor.execute(TAKE, (ROWS,)).fetchall()
        if not rows:
            return 0

        for _seq, topic, key, payload, *headers in rows:
            producer.produce(
                topic,
                payload,
                key,
                headers=list(zip(HEADERS, headers, strict=True)),
            )
        if producer.flush(10):
            raise TimeoutError("the broker did not take the batch within 10 s")
        cursor.execute(MARK, ([row[0] for row in rows],))
    return len(rows)


def main(dsn: str, bootstrap_servers: str) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    producer = clients.producer(
        KafkaSettings(bootstrap_servers=bootstrap_servers), **{"linger.ms": 0}
    )
    producer.list_topics(timeout=10)
    settings = DatabaseSettings.model_validate({"dsn": dsn})
    with connect(settings, application_name="naive-relay", autocommit=True) as connection:
        while not stop.is_set():
            if relay_once(connection, producer) < ROWS:
                stop.wait(POLL_EVERY_S)


if __name__ == "__main__":
    main(*sys.argv[1:])
