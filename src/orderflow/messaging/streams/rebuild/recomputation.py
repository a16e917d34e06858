"""A topology's tables anew, from the events of its source."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from orderflow.messaging.kafka.partitioner import partition_of
from orderflow.messaging.kafka.transactions import Placed
from orderflow.messaging.streams.changelog import FACT_BYTES
from orderflow.messaging.streams.local_state import TaskId
from orderflow.messaging.streams.store.store import StateStores, StorePosition
from orderflow.messaging.streams.table_task import DecodeValue, TableTask
from orderflow.messaging.streams.topology import Table, Topology, no_ranks

PartitionOf = Callable[[bytes, int], int]
"""A key and how many partitions there are to the one that has it."""


class _Change(NamedTuple):
    """A record of a repartition topic, as it would be."""

    key: bytes
    event: Any


class Recomputation:
    """
    The same functions as the service's, on `stores` of its own; nothing of Kafka is touched.

    `partitions`: how many those topics have. Memory: 16 bytes for each fact; values are on disk.
    """

    def __init__(
        self,
        topology: Topology,
        *,
        partitions: Mapping[str, int],
        stores: StateStores,
        partition_of: PartitionOf = partition_of,
    ) -> None:
        self._partition_of = partition_of
        self._rekey = topology.rekey
        self._tables = {table.event: table for table in topology.tables}
        self._partitions = partitions
        self.tasks = open_tasks(topology, partitions, stores, _unpacking)
        self.facts: dict[TaskId, bytearray] = {
            (table.name, number): bytearray() for table, number in _places(topology, partitions)
        }

    def add(self, events: Iterable[Any]) -> None:
        """Fold these events of the source, after those before."""
        changes = [change for event in events for change in self._rekey(event)]
        while changes:
            changes = self._fold(changes)

    def facts_of(self, task: TaskId) -> list[bytes]:
        """Every fact that counts, in the order in which it came."""
        facts = bytes(self.facts[task])
        return [facts[at : at + FACT_BYTES] for at in range(0, len(facts), FACT_BYTES)]

    def _fold(self, changes: Iterable[Any]) -> list[Any]:
        """Fold them into their tables; what goes on to other tables."""
        batches: dict[TaskId, list[_Change]] = defaultdict(list)
        for event in changes:
            table, key = self._tables[type(event)], event.key.encode()
            number = self._partition_of(key, self._partitions[table.repartition.name])
            batches[table.name, number].append(_Change(key, event))

        forwarded: list[Any] = []
        for place, batch in batches.items():
            task = self.tasks[place]
            computed = task.compute(batch)
            changelog = task.table.changelog.name
            written = {
                key: Placed(changelog, task.number, key, _pack(value), [])
                for key, (value, _by) in computed.values.items()
            }
            task.take(computed, written)
            task.commit(StorePosition())
            self.facts[place] += b"".join(computed.facts)
            forward = task.table.forward
            forwarded += [event for change in computed.fresh for event in forward(change.event)]
        return forwarded


def open_tasks(
    topology: Topology,
    partitions: Mapping[str, int],
    stores: StateStores,
    decoding: Callable[[Table], DecodeValue],
) -> dict[TaskId, TableTask]:
    """A task for every table and partition; nobody lists its keys by rank."""
    return {
        (table.name, number): TableTask(
            msgspec.structs.replace(table, ranks=no_ranks),
            number,
            store=stores.open(f"{table.name}-{number}")[0],
            decode=decoding(table),
        )
        for table, number in _places(topology, partitions)
    }


def _places(topology: Topology, partitions: Mapping[str, int]) -> Iterable[tuple[Table, int]]:
    for table in topology.tables:
        for number in range(partitions[table.repartition.name]):
            yield table, number


def _unpacking(table: Table) -> DecodeValue:
    decoder = msgspec.msgpack.Decoder(table.value)
    return decoder.decode


def _pack(value: Any) -> bytes | None:
    """A value as it is kept in between: nothing but this process reads it."""
    return None if value is None else _PACKER.encode(value)


_PACKER = msgspec.msgpack.Encoder()
