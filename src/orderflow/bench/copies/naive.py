"""
The warehouse's baseline in `bench copies`: what one writes first, in batches.

`python -m orderflow.bench.copies.naive JSON`. A loop: up to 500 records, decoded; one upsert for
all of them; then the offsets. The table is the sink's, in a database of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import msgspec

from orderflow.bench.copies.reading import Events, batches
from orderflow.bench.naive_consumer import Input, open_consumer
from orderflow.bench.service_data import open_connection
from orderflow.connect.warehouse import COLUMNS, KEY, TABLE
from orderflow.contracts.topics import PAYMENTS
from orderflow.messaging.kafka import clients
from orderflow.messaging.postgres import columns

ROWS = 500

UPSERT = (
    f"INSERT INTO {TABLE} ({', '.join(COLUMNS)}) "  # noqa: S608 - names of our own
    f"SELECT * FROM unnest({', '.join(f'%s::{kind}[]' for kind in COLUMNS.values())}) "
    f"ON CONFLICT ({KEY}) DO UPDATE SET "
    + ", ".join(
        f"{name} = coalesce(excluded.{name}, {TABLE}.{name})" for name in COLUMNS if name != KEY
    )
)
"""A refund has no payment method: what an event lacks stays as it is, as the sink leaves it."""


class Task(Input, frozen=True, kw_only=True):
    dsn: str


def rows_of(events: Iterable[Any]) -> list[tuple[Any, ...]]:
    """One row for each payment: a statement can't write one twice."""
    rows: dict[str, dict[str, Any]] = {}
    for event in events:
        row = rows.setdefault(event.payment_id, dict.fromkeys(COLUMNS))
        values = ((name, getattr(event, name, None)) for name in COLUMNS)
        row.update({name: value for name, value in values if value is not None})
    return [tuple(row.values()) for row in rows.values()]


def main(task: Task) -> None:
    events, consumer = Events(task), open_consumer(task, PAYMENTS.name)
    with open_connection(task.dsn) as connection:
        for messages in batches(task, consumer, ROWS):
            if not messages:
                continue
            rows = rows_of(events.of(message)[0] for message in messages)
            connection.execute(UPSERT.encode(), columns(rows))
            consumer.commit(offsets=_behind(messages), asynchronous=False)


def _behind(messages: Iterable[Any]) -> list[clients.TopicPartition]:
    last = {message.partition(): message.offset() for message in messages}
    return [
        clients.TopicPartition(PAYMENTS.name, partition, offset + 1)
        for partition, offset in last.items()
    ]


if __name__ == "__main__":
    main(msgspec.json.decode(sys.argv[1], type=Task, strict=False))
