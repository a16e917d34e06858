"""The use case: make the rows of records durable, each in its own object."""

from __future__ import annotations

from collections.abc import Sequence

from orderflow.messaging.errors import Contention, RecordFault
from orderflow.messaging.listener import Received
from orderflow.messaging.telemetry import counter
from orderflow.services.lake import parquet
from orderflow.services.lake.model import TOPIC, Row, by_object
from orderflow.services.lake.store import RESOURCE, Store

OVERTAKEN_MAX = 20

ROWS = counter(
    "lake_rows", "Rows that became durable; those that were there already are not in it."
)
WRITES = counter("lake_writes", "Objects that were written, again or for the first time.")
OVERTAKEN = counter("lake_overtaken", "Writes that another process came before; they were redone.")


class UnknownPlace(RecordFault):
    """A replay does not say which record of the topic it was: there is no object for its row."""


class Exporter:
    """Writes rows to `store`. All of a batch is durable when the call returns."""

    def __init__(self, store: Store, *, block_offsets: int) -> None:
        self._store = store
        self._block_offsets = block_offsets

    def __call__(self, batch: Sequence[Received]) -> None:
        objects = by_object(map(row_of, batch), block_offsets=self._block_offsets)
        for name, rows in objects.items():
            self._merge(name, rows)

    def _merge(self, name: str, rows: Sequence[Row]) -> None:
        for _ in range(OVERTAKEN_MAX):
            content = self._store.read(name)
            merged = parquet.merged(name, None if content is None else content.body, rows)
            if merged is None:
                self._store.settle(name)
                return

            body, added = merged
            version = None if content is None else content.version
            if self._store.write(name, body, replacing=version):
                WRITES.inc()
                ROWS.inc(added)
                return
            OVERTAKEN.inc()
        raise Contention(f"{name} is written by others all the time", resource=RESOURCE)


def row_of(received: Received) -> Row:
    """
    The row of a record; that of a replay is the row of the record that failed.

    Raises UnknownPlace for a replay that does not name one.
    """
    topic, partition, offset = received.original or (
        received.topic,
        received.partition,
        received.offset,
    )
    if topic != TOPIC or partition < 0 or offset < 0:
        raise UnknownPlace(f"it is, or replays, {topic}-{partition}@{offset}: not of {TOPIC}")
    return Row(received.event, str(received.metadata.id), partition, offset)
