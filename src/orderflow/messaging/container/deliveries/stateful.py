"""
`Stateful`: input offsets, changelogs and output commit in one Kafka transaction; the state stores
follow.

A record of the source topic is re-keyed; one of a repartition topic is folded into its table. Both
only compute, as with `ExactlyOnce`. What is folded stays in the tasks' overlays until the turn's
transaction is committed, and is dropped if it is not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from orderflow.messaging.container.deliveries.transaction import TurnTransaction
from orderflow.messaging.container.records.partition import Partition
from orderflow.messaging.container.records.record import Record, State
from orderflow.messaging.container.shared import Shared
from orderflow.messaging.container.stages.intake import BulkRecord
from orderflow.messaging.container.stages.publisher import Publisher
from orderflow.messaging.errors import OrderflowError, Transient, Unavailable
from orderflow.messaging.failpoints import failpoint
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.kafka.transactions import Placed, Produced
from orderflow.messaging.listener import Received, Stateful
from orderflow.messaging.schemas.avro import Decoder
from orderflow.messaging.settings import KafkaSettings
from orderflow.messaging.streams.broker_changelog import BrokerChangelogReader
from orderflow.messaging.streams.changelog import ChangelogReader, facts_records
from orderflow.messaging.streams.local_state import LocalState, Task, TaskState
from orderflow.messaging.streams.restore import Restorer
from orderflow.messaging.streams.store.sqlite_store import SqliteStores
from orderflow.messaging.streams.store.store import StateStores, StoreDamaged, StorePosition
from orderflow.messaging.streams.table_task import Computed, TableTask, moved
from orderflow.messaging.streams.topology import Table
from orderflow.messaging.telemetry import logger

RESOURCE = "state store"

R = TypeVar("R", Received, BulkRecord)
Publish = Callable[[Iterable[tuple[R, Any]]], list[Produced]]

log = logger("streams")


class StateParts(msgspec.Struct, frozen=True):
    """What `Stateful` works on beside Kafka: where stores are, and who may read them."""

    stores: StateStores
    reader: Callable[[], ChangelogReader]
    local: LocalState

    @classmethod
    def on_disk(
        cls, directory: Path, kafka: KafkaSettings, *, slot: int, local: LocalState
    ) -> StateParts:
        """
        Stores in `directory`, each slot in one of its own: restarted, it finds them again.

        Raises ConfigurationError when the directory can't be written.
        """
        stores = SqliteStores(directory / f"slot-{slot}")
        return cls(stores, lambda: BrokerChangelogReader(kafka), local)


class _Assigned(msgspec.Struct):
    """
    A task and its input's partition. `is_active`: its store is at the committed offset; `since`:
    when it ceased to be.
    """

    task: TableTask
    partition: Partition
    since: float
    is_active: bool = False

    def rest(self, now: float) -> None:
        """The store is not at the committed offset, or not known to be."""
        if self.is_active:
            self.is_active, self.since = False, now


class StatefulDelivery:
    """One container's tasks. Everything runs on the container's thread."""

    def __init__(
        self,
        shared: Shared,
        delivery: Stateful,
        *,
        publisher: Publisher,
        decoder: Decoder,
        transaction: TurnTransaction,
        state: StateParts,
    ) -> None:
        self._topology = delivery.topology
        self._publisher = publisher
        self._decoder = decoder
        self._transaction = transaction
        self._uncommitted = shared.uncommitted
        self._gate = shared.gates.restore
        self._clock = shared.clock
        self._stands_for = {
            name: topic.name for name, topic in shared.settings.listener.subscribed.items()
        }
        self._tables = {table.repartition.name: table for table in self._topology.tables}
        self._unchecked = list(self._topology.tables)

        self._stores = state.stores
        self._local = state.local
        self._restorer = Restorer(state.reader(), state.stores, shared.clock)
        self._spoiled = False
        self._assigned: dict[Place, _Assigned] = {}
        self._coming: dict[Place, Partition] = {}
        self.needs = (shared.gates.handle, shared.gates.commit)

    @property
    def due_at(self) -> float:
        return 0.0

    @property
    def is_restoring(self) -> bool:
        """Whether a turn should come soon, whatever is fetched."""
        return (bool(self._restorer) or bool(self._coming)) and not self._gate.is_probing

    def reasons(self) -> list[str]:
        """Which stores are restored, and how far they are."""
        return [_sentence(task) for task in self._local.tasks.values() if task.progress]

    def assigned(self, partitions: Sequence[Partition]) -> None:
        """Fetch nothing of a table's input until its store is restored."""
        failpoint("streams.assigned")
        for partition in partitions:
            if partition.topic in self._tables:
                place = partition.topic, partition.number
                partition.restoring = True
                self._coming[place] = partition
                # From here on its store is older than the group's offset, as far as is known.
                if place in self._assigned:
                    self._assigned[place].rest(self._clock.monotonic())

    def begin_turn(self) -> None:
        """Let go what was taken away, and restore the next piece of what came."""
        self._release_gone()
        if not (self._coming or self._restorer) or not self._gate.may_try(self._clock.monotonic()):
            return
        try:
            self._begin_coming()
            for task in self._restorer.step():
                self._activate(task)
        except Transient as error:
            self._gate.failed(error)
        else:
            self._gate.succeeded()
        self._show()

    def handle(self, wave: list[Record]) -> list[Record]:
        by_place: dict[Place, list[Received]] = defaultdict(list)
        caused: list[tuple[Received, object]] = []
        for record in wave:
            received: Received = record.progress.received
            if received.topic in self._tables:
                by_place[received.topic, received.partition].append(received)
            else:
                caused += self._rekeyed(received)

        # Everything is computed before anything is kept: whatever is raised, nothing was done.
        publish = self._publisher.records
        kept = [self._fold(place, batch, caused, publish) for place, batch in by_place.items()]
        outputs = self._publisher.records(caused)
        for task, computed, written in kept:
            task.take(computed, written)
        self._uncommitted.outputs += outputs
        self._uncommitted.handled += wave
        for record in wave:
            record.progress.state = State.HANDLED
        return wave

    def handle_bulk(self, partition: Partition, batch: Sequence[BulkRecord]) -> None:
        caused: list[tuple[BulkRecord, object]] = []
        place = partition.topic, partition.number
        folded = None
        if partition.topic in self._tables:
            folded = self._fold(place, batch, caused, self._publisher.bulk_records)
        elif self._stands_for[partition.topic] in self._tables:
            caused += [(record, record.event) for record in batch]
        else:
            rekey = self._topology.rekey
            caused += [(record, event) for record in batch for event in rekey(record.event)]

        outputs = self._publisher.bulk_records(caused)
        if folded is not None:
            task, computed, written = folded
            task.take(computed, written)
        self._uncommitted.outputs += outputs

    def skip(self, record: Record) -> None:
        record.progress.state = State.HANDLED
        self._uncommitted.skipped.append(record)

    def end_turn(self, _now: float) -> list[Record]:
        self._uncommitted.drop_gone()
        if not self._transaction.is_needed:
            return []

        changed = [own.task for own in self._assigned.values() if own.task.has_changes]
        if self._spoiled:
            self._undo(changed)
            return []
        self._uncommitted.placed = [placed for task in changed for placed in _placed(task)]
        ended = self._transaction.run()
        if not ended.is_committed:
            # Aborted, put back, or unknown: nothing of the overlays is true.
            for task in changed:
                task.drop()
        else:
            failpoint("streams.before_store_write")
            self._commit_stores(ended.ends)
            failpoint("streams.after_store_write")
        self._show()
        return [*ended.dead]

    def _undo(self, changed: Sequence[TableTask]) -> None:
        """
        Put everything back that the turn has handled: a store failed in the middle of it, and what
        had been folded into it is gone from memory.
        """
        self._spoiled = False
        self._transaction.put_back()
        for task in changed:
            task.drop()
        self._show()

    def before_revoke(self, leaving: list[Partition]) -> None:
        """
        Nothing: `poll`, which revokes, is only called when everything is committed or put back. The
        stores are closed in the next turn.
        """

    def last(self, _deadline: float) -> None:
        self.end_turn(self._clock.monotonic())

    def close(self) -> None:
        """Close the stores. They stay, for the next start of this slot."""
        for own in self._assigned.values():
            self._close(own)
        self._assigned = {}
        self._restorer.close()

    def _rekeyed(self, record: Received) -> Iterable[tuple[Received, object]]:
        # A dead letter of a repartition topic comes back on one partition, but its state is on
        # that of its key: it takes the way of a new record.
        if self._stands_for[record.topic] in self._tables:
            return [(record, record.event)]
        return [(record, event) for event in self._topology.rekey(record.event)]

    def _fold(
        self, place: Place, batch: Sequence[R], caused: list[tuple[R, object]], publish: Publish[R]
    ) -> tuple[TableTask, Computed, Mapping[bytes, Placed]]:
        own = self._assigned.get(place)
        if own is None or not own.is_active:
            topic, number = place
            why = f"the store of {topic}-{number} is restored"
            raise Unavailable(why, resource=RESOURCE, reason=why)

        task = own.task
        try:
            computed = task.compute(batch)
        except StoreDamaged as error:
            raise self._restore_again(own, error) from error
        caused += _forwarded(task.table, computed.fresh)
        return task, computed, _written(task, computed, publish)

    def _begin_coming(self) -> None:
        for table in list(self._unchecked):
            self._restorer.refuse_unequal(table)
            self._unchecked.remove(table)

        for place, partition in list(self._coming.items()):
            own = self._assigned.get(place)
            if own is None:
                own = self._assigned[place] = _Assigned(
                    self._open(self._tables[place[0]], place[1]),
                    partition,
                    self._clock.monotonic(),
                )
            own.partition = partition
            own.rest(self._clock.monotonic())
            own.task.forget()
            # Not before the partition's offset was read, which is done: see `Restorer.begin`.
            self._restorer.begin(own.task, input_offset=max(partition.start, 0))
            del self._coming[place]

    def _open(self, table: Table, number: int) -> TableTask:
        def decode(value: bytes) -> object:
            return self._decoder.decode_as(value, table.value)

        name = f"{table.name}-{number}"
        store, why = self._stores.open(name)
        if why:
            log.warning("a state store is set aside, and rebuilt", store=name, why=why)
        return TableTask(table, number, store=store, decode=decode)

    def _activate(self, task: TableTask) -> None:
        own = self._assigned[task.table.repartition.name, task.number]
        own.is_active = True
        own.partition.restoring = False

    def _commit_stores(self, ends: Mapping[Place, int]) -> None:
        for own in self._assigned.values():
            task = own.task
            if not own.is_active or not task.has_changes:
                continue
            position = moved(task.store.position, ends, task.number)
            committed = msgspec.structs.replace(position, input=own.partition.base)
            try:
                task.commit(committed)
            except (StoreDamaged, Transient) as error:
                # The changelog has it: the store catches up from there, before the next record.
                log.warning("a state store could not be written", store=task.name, why=str(error))
                self._restore_again(own, error)

        # What was dropped here is committed: the restore brings it.
        self._spoiled = False

    def _restore_again(self, own: _Assigned, error: OrderflowError) -> Unavailable:
        """Restore a task whose store failed. The records that it has keep waiting meanwhile."""
        # Before anything that may fail: from here on nothing of it is handled.
        own.rest(self._clock.monotonic())
        own.partition.restoring = True
        self._coming[own.partition.topic, own.partition.number] = own.partition
        self._spoiled |= own.task.has_changes
        own.task.forget()
        if isinstance(error, StoreDamaged):
            self._restorer.set_aside(own.task, str(error))
        why = f"{own.task.name} is restored"
        return Unavailable(f"{why}: {error}", resource=RESOURCE, reason=why)

    def _release_gone(self) -> None:
        for place, partition in list(self._coming.items()):
            if partition.gone:
                del self._coming[place]
        for place, own in list(self._assigned.items()):
            # The same partition may be back already, with a new state.
            if own.partition.gone and place not in self._coming:
                self._close(own)
                del self._assigned[place]

    def _close(self, own: _Assigned) -> None:
        task = own.task
        self._local.remove(task.table.name, task.number)
        self._restorer.end(task)
        with suppress(OrderflowError):
            task.store.close()

    def _show(self) -> None:
        """Show readers on other threads what there is."""
        for own in self._assigned.values():
            task = own.task
            position: StorePosition = task.store.position
            self._local.put(
                Task(
                    table=task.table.name,
                    partition=task.number,
                    state=TaskState.ACTIVE if own.is_active else TaskState.RESTORING,
                    reader=task.reader,
                    input=own.partition.base if own.is_active else position.input,
                    progress=None if own.is_active else self._restorer.progress(task),
                    restoring_since=None if own.is_active else own.since,
                )
            )


def _forwarded(table: Table, fresh: Sequence[R]) -> Iterable[tuple[R, Any]]:
    """What goes on to other tables, with its causes: one event for each key if that is possible."""
    forward, together = table.forward, table.together
    if together is None:
        return [(record, event) for record in fresh for event in forward(record.event)]

    sums: dict[tuple[type[Any], str], tuple[R, Any]] = {}
    for record in fresh:
        for event in forward(record.event):
            key = type(event), event.key
            sums[key] = record, together(sums[key][1], event) if key in sums else event
    return sums.values()


def _written(task: TableTask, computed: Computed, publish: Publish[R]) -> dict[bytes, Placed]:
    """Each changed value as a record of the changelog, on the task's own partition."""
    changelog, number = task.table.changelog.name, task.number
    there = [key for key, (value, _by) in computed.values.items() if value is not None]
    records = publish((by, value) for value, by in computed.values.values() if value is not None)

    written = {
        key: Placed(changelog, number, key, data, headers)
        for key, (_topic, _key, data, headers) in zip(there, records, strict=True)
    }
    for key in computed.values.keys() - written.keys():
        written[key] = Placed(changelog, number, key, None, [])
    return written


def _placed(task: TableTask) -> Iterable[Placed]:
    """What goes to the changelogs of `task` in this transaction."""
    yield from task.written
    if task.table.facts is not None:
        for key, value in facts_records(task.facts):
            yield Placed(task.table.facts.name, task.number, key, value, [])


def _sentence(task: Task) -> str:
    progress = task.progress
    assert progress is not None
    left = progress.seconds_left
    ends = "" if left is None else f", {left:.0f} s left"
    return (
        f"restoring {task.table}-{task.partition}: {progress.done:,} of {progress.total:,}"
        f" records, {progress.per_s:,.0f} a second{ends}"
    )
