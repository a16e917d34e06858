"""
Writes outbox rows for `bench relay`: at once, or at moments fixed beforehand in its own process.

`python -m orderflow.bench.relay.outbox_writer DSN RATE SECONDS SEED FILE`
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import msgspec

from orderflow.bench.service_data import open_connection
from orderflow.contracts.topics import ORDERS
from orderflow.messaging.event import started
from orderflow.messaging.postgres import outbox
from orderflow.trials.open_loop import Schedule, in_threads, wait_until
from orderflow.trials.records import SOURCE, TRACEPARENT, orders

TOPIC = ORDERS.name
PAYLOAD = bytes(160)
"""As long as an OrderCreated; a relay does not decode it."""

WRITERS = 8


class Written(msgspec.Struct, array_like=True, frozen=True):
    """A row in a transaction of its own; CLOCK_MONOTONIC nanoseconds."""

    id: str
    due_ns: int
    begun_ns: int
    committed_ns: int


def new_row() -> outbox.OutboxRow:
    (order,) = orders(1)
    metadata = started(order, source=SOURCE, traceparent=TRACEPARENT)
    return outbox.OutboxRow(topic=TOPIC, key=order.key, payload=PAYLOAD, metadata=metadata)


def preload(dsn: str, *, rows: int, rows_per_transaction: int) -> set[str]:
    """Write a backlog, without waiting for the disk at each commit; returns its event ids."""
    ids: set[str] = set()
    with open_connection(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = off")
        for _ in range(rows // rows_per_transaction):
            batch = [new_row() for _ in range(rows_per_transaction)]
            outbox.append(cursor, batch)
            ids.update(str(row.metadata.id) for row in batch)

        # A synchronous commit after the others flushes theirs too: the backlog is on disk.
        cursor.execute("SET synchronous_commit = on")
        cursor.execute("SELECT pg_logical_emit_message(true, 'bench', 'on disk')")
    return ids


def paced(dsn: str, *, rate_per_s: float, duration_s: float, seed: int) -> list[Written]:
    """A row in a transaction of its own at each Poisson moment."""
    schedule = Schedule(rate_per_s=rate_per_s, duration_s=duration_s, seed=seed)
    written: list[Written] = []

    def write() -> None:
        with open_connection(dsn) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            for due_ns in schedule.due():
                row = new_row()
                wait_until(due_ns)
                begun_ns = time.monotonic_ns()
                outbox.append(cursor, [row])
                committed_ns = time.monotonic_ns()
                written.append(Written(str(row.metadata.id), due_ns, begun_ns, committed_ns))

    in_threads(WRITERS, write)
    return written


if __name__ == "__main__":
    dsn, rate, seconds, seed, file = sys.argv[1:]
    rows = paced(dsn, rate_per_s=float(rate), duration_s=float(seconds), seed=int(seed))
    Path(file).write_bytes(msgspec.json.encode(rows))
