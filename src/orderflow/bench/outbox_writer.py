"""
Writes outbox rows for `bench relay`: at once, or at moments fixed beforehand, in a process of its own:
`python -m orderflow.bench.outbox_writer DSN RATE SECONDS SEED FILE`
"""

from __future__ import annotations

import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import uuid_utils.compat as uuids

from orderflow.bench.latency import poisson_schedule, wait_until
from orderflow.messaging.event import EventId, Metadata
from orderflow.messaging.postgres import Connection, connect, outbox
from orderflow.messaging.settings import DatabaseSettings

TOPIC = "orders"
PAYLOAD = bytes(160)
"""As long as an OrderCreated; a relay does not look inside."""

WRITERS = 8
START_IN_NS = 500_000_000


class Sent(msgspec.Struct, array_like=True, frozen=True):
    """One row in a transaction of its own; CLOCK_MONOTONIC nanoseconds."""

    id: str
    due_ns: int
    begun_ns: int
    committed_ns: int


def open_connection(dsn: str) -> Connection:
    """Autocommit: a statement is a transaction."""
    return connect(
        DatabaseSettings.model_validate({"dsn": dsn}),
        application_name="bench-writer",
        autocommit=True,
    )


def row() -> outbox.OutboxRow:
    event_id, order_id = EventId(uuids.uuid7()), str(uuids.uuid4())
    metadata = Metadata(
        id=event_id,
        type="orderflow.OrderCreated",
        source="/orderflow/bench",
        time=datetime.now(UTC),
        subject=order_id,
        correlation_id=order_id,
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )
    return outbox.OutboxRow(topic=TOPIC, key=order_id, payload=PAYLOAD, metadata=metadata)


def preload(dsn: str, *, rows: int, rows_per_transaction: int) -> set[str]:
    """Write a backlog, without waiting for the disk at each commit; the ids in it."""
    ids: set[str] = set()
    with open_connection(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = off")
        for _ in range(rows // rows_per_transaction):
            batch = [row() for _ in range(rows_per_transaction)]
            outbox.append(cursor, batch)
            ids.update(str(one.metadata.id) for one in batch)
        cursor.execute("SET synchronous_commit = on")
        cursor.execute("SELECT pg_logical_emit_message(true, 'bench', 'on disk')")
    return ids


def paced(dsn: str, *, rate_per_s: float, duration_s: float, seed: int) -> list[Sent]:
    """One row per transaction at Poisson moments; a writer that is free takes the next moment."""
    began_ns = time.monotonic_ns() + START_IN_NS
    schedule = poisson_schedule(rate_per_s=rate_per_s, duration_s=duration_s, seed=seed)
    moments = iter([began_ns + int(moment * 1e9) for moment in schedule])
    lock, sent = threading.Lock(), list[Sent]()

    def write() -> None:
        with open_connection(dsn) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            while True:
                with lock:
                    due_ns = next(moments, None)
                if due_ns is None:
                    return
                one = row()
                wait_until(due_ns)
                begun_ns = time.monotonic_ns()
                outbox.append(cursor, [one])
                sent.append(Sent(str(one.metadata.id), due_ns, begun_ns, time.monotonic_ns()))

    writers = [threading.Thread(target=write) for _ in range(WRITERS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    return sent


if __name__ == "__main__":
    dsn, rate, seconds, seed, file = sys.argv[1:]
    written = paced(dsn, rate_per_s=float(rate), duration_s=float(seconds), seed=int(seed))
    Path(file).write_bytes(msgspec.json.encode(written))
