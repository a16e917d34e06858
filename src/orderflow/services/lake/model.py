"""
Which object a record's row is in: a function of the record alone.

The offsets of a partition are cut into blocks of equal size, and time into hours. A record is in
the object of its partition, its block and the hour in which its event happened, whatever else is in
its batch, and whoever writes it. So a repeat finds its own row, and nobody has to know what was
written before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

TOPIC = "payments"
OBJECT = re.compile(
    rf"{TOPIC}/date=\d{{4}}-\d\d-\d\d/hour=\d\d/{TOPIC}-(?P<partition>\d+)-(?P<first>\d{{20}})\.parquet"
)
"""The name of an object, from the root on."""


class Row(msgspec.Struct, frozen=True):
    """One record as a row: its event, and where on the topic it is."""

    event: Any
    event_id: str
    partition: int
    offset: int


def object_of(row: Row, *, block_offsets: int) -> str:
    """`payments/date=2026-01-31/hour=09/payments-0-00000000000000010000.parquet`"""
    moment: datetime = row.event.occurred_at.astimezone(UTC)
    first = row.offset // block_offsets * block_offsets
    folder = f"{TOPIC}/date={moment:%Y-%m-%d}/hour={moment:%H}"
    return f"{folder}/{TOPIC}-{row.partition}-{first:020}.parquet"


def by_object(rows: Iterable[Row], *, block_offsets: int) -> Mapping[str, Sequence[Row]]:
    """Rows by the object that they are in; the last one of an offset that comes twice."""
    objects: dict[str, dict[int, Row]] = {}
    for row in rows:
        objects.setdefault(object_of(row, block_offsets=block_offsets), {})[row.offset] = row
    return {name: [*rows.values()] for name, rows in objects.items()}


def group_of(name: str) -> str:
    """
    The objects that may have one event twice: an event has one time and one key, so its repeats are
    in its hour, on its partition.
    """
    return name.rpartition("-")[0]
