"""
Restores state stores from their changelogs, a piece at a time, between the turns of a container.

A restore ends when everything below the ends that the changelogs had at its beginning is in the
store. Those ends are the logs' own, open transactions included: what a predecessor has committed
may still wait for its marker, and a reader of committed records would stop before it. And an end is
a position, not a last record: the last offsets may be markers, or aborted records.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import msgspec

from orderflow.messaging.errors import ConfigurationError, Transient
from orderflow.messaging.failpoints import failpoint
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.streams.changelog import ChangelogReader, ChangelogRecord, Read, facts_of
from orderflow.messaging.streams.local_state import Progress
from orderflow.messaging.streams.store.store import (
    ChangelogPosition,
    StateStores,
    StoreDamaged,
    StorePosition,
)
from orderflow.messaging.streams.table_task import TableTask
from orderflow.messaging.streams.topology import Table
from orderflow.messaging.telemetry import counter, logger
from orderflow.messaging.work.clock import Clock

RECORDS_MAX = 5_000
"""Records in one piece: some tens of milliseconds of the container's thread."""
WAIT_S = 0.05

RESTORED = counter(
    "streams_restored_records", "Changelog records that were read into a state store.", ("table",)
)
SET_ASIDE = counter(
    "streams_stores_set_aside", "State stores that did not fit, and were rebuilt.", ("table",)
)

log = logger("streams")


class _Restore(msgspec.Struct):
    """
    One task's: `start` and `target` for each of its changelogs, and how far it is. `last`: the
    offset of the last record that is in the store; `expected`: those that must still be there.
    `failed`: what was read is not all written, so it begins anew; `misfit`: why that needs another
    store.
    """

    task: TableTask
    input: int
    ids: Mapping[str, str]
    start: Mapping[Place, int]
    target: Mapping[Place, int]
    reached: dict[Place, int]
    last: dict[Place, int]
    expected: dict[Place, int]
    began_at: float
    failed: bool = False
    misfit: str = ""

    @property
    def is_over(self) -> bool:
        return not self.failed and all(
            self.reached[place] >= end for place, end in self.target.items()
        )

    def fail(self, misfit: str = "") -> None:
        self.failed = True
        self.misfit = misfit

    def position(self, *, input_offset: int) -> StorePosition:
        return StorePosition(
            changelogs=tuple(
                ChangelogPosition(place[0], self.ids[place[0]], offset, self.last[place])
                for place, offset in self.reached.items()
            ),
            input=input_offset,
        )


class Restorer:
    """
    Restores any number of tasks at once, on the container's thread. `begin` and `step` raise
    Unavailable when the brokers, or the disk, are away: then the same call again is right. What was
    read and could not be written is read again.
    """

    def __init__(self, reader: ChangelogReader, stores: StateStores, clock: Clock) -> None:
        self._reader = reader
        self._stores = stores
        self._clock = clock
        self._restores: dict[str, _Restore] = {}

    def __bool__(self) -> bool:
        return bool(self._restores)

    def refuse_unequal(self, table: Table) -> None:
        """Raise ConfigurationError if the table's topics do not have the same partitions."""
        topics = (table.repartition, *table.changelogs)
        counts = self._reader.partitions(topic.name for topic in topics)
        if missing := [topic.name for topic in topics if topic.name not in counts]:
            raise ConfigurationError(
                f"table {table.name}: {', '.join(missing)} does not exist: apply the topics first"
            )

        if len(set(counts.values())) > 1:
            shown = ", ".join(f"{name} has {count}" for name, count in counts.items())
            raise ConfigurationError(
                f"table {table.name} needs topics with the same partitions, but {shown}: a key's"
                " records and its state would be on different ones. A partition count is fixed"
                " for life: make the topics that are wrong anew"
            )

    def begin(self, task: TableTask, *, input_offset: int) -> None:
        """
        Begin, or begin anew, to restore `task` from its own position. A store that does not fit its
        changelogs is set aside. `input_offset`: what the group has committed.
        """
        places = task.places
        ids = self._reader.topic_ids(topic for topic, _number in places)
        # After the input's offset was read: what was committed with it is below these ends.
        ends = self._reader.ends(places)
        firsts = self._reader.firsts(places)

        why = _misfit(task.store.position, ids=ids, firsts=firsts, ends=ends, number=task.number)
        if why:
            self.set_aside(task, why)

        # Only now, when nothing can be away any more: until here `step` knows the one that failed.
        self.end(task)
        known = {(at.topic, task.number): at for at in task.store.position.changelogs}
        last = {place: known[place].last if place in known else -1 for place in places}
        # From the last record that it has: a commit that the brokers have undone is not there.
        expected = {place: offset for place, offset in last.items() if offset >= firsts[place]}
        start = {
            place: expected.get(place, known[place].offset if place in known else firsts[place])
            for place in places
        }

        self._restores[task.name] = _Restore(
            task=task,
            input=input_offset,
            ids=ids,
            start=start,
            target=ends,
            reached=dict(start),
            last=last,
            expected=expected,
            began_at=self._clock.monotonic(),
        )

        for place in places:
            if start[place] < ends[place]:
                self._reader.begin(place, start[place])

    def set_aside(self, task: TableTask, why: str) -> None:
        """Give `task` an empty store: nothing of the one that it has is trusted."""
        log.warning("a state store is set aside, and rebuilt", store=task.name, why=why)
        SET_ASIDE.labels(task.table.name).inc()
        task.store.close()
        task.replace(self._stores.set_aside(task.name, why))

    def step(self) -> list[TableTask]:
        """Read one piece; returns the tasks whose stores are restored now."""
        self._begin_failed()
        restores = list(self._restores.values())
        if any(not restore.is_over for restore in restores):
            read = self._reader.read(RECORDS_MAX, WAIT_S)
            failpoint("streams.restore")
            self._write(read, restores)
        return self._end_those([restore for restore in restores if restore.is_over])

    def end(self, task: TableTask) -> None:
        """Restore `task` no more: its partition was taken away."""
        restore = self._restores.pop(task.name, None)
        for place in restore.target if restore else ():
            self._reader.end(place)

    def progress(self, task: TableTask) -> Progress | None:
        """How far the restore of `task` is; None if there is none."""
        restore = self._restores.get(task.name)
        if restore is None:
            return None
        done = sum(restore.reached[place] - at for place, at in restore.start.items())
        total = sum(max(end - restore.start[place], 0) for place, end in restore.target.items())
        elapsed = self._clock.monotonic() - restore.began_at
        return Progress(done=done, total=total, per_s=done / elapsed if elapsed > 0 else 0.0)

    def close(self) -> None:
        self._reader.close()

    def _begin_failed(self) -> None:
        """From what the stores have: the reader is further than they are."""
        for restore in [restore for restore in self._restores.values() if restore.failed]:
            if restore.misfit:
                self.set_aside(restore.task, restore.misfit)
                restore.misfit = ""
            self.begin(restore.task, input_offset=restore.input)

    def _write(self, read: Read, restores: Iterable[_Restore]) -> None:
        records: dict[Place, list[ChangelogRecord]] = defaultdict(list)
        for record in read.records:
            records[record.topic, record.partition].append(record)

        # A store that fails does not keep the others from what was read for them.
        failures: list[Transient] = []
        for restore in restores:
            if refused := [place for place in restore.reached if place in read.refused]:
                topic, number = refused[0]
                restore.fail(f"{topic}-{number} lost what it had been read to")
                continue
            reached = {
                place: read.reached[place] for place in restore.reached if place in read.reached
            }
            if not reached:
                continue
            restore.reached |= reached
            try:
                _refuse_undone(restore, records)
                self._apply(restore, records)
            except StoreDamaged as error:
                restore.fail(str(error))
            except Transient as error:
                restore.fail()
                failures.append(error)

        if failures:
            raise failures[0]

    def _apply(self, restore: _Restore, records: Mapping[Place, list[ChangelogRecord]]) -> None:
        task, table = restore.task, restore.task.table
        values = {
            record.key: record.value
            for record in records.get((table.changelog.name, task.number), ())
        }
        facts: list[bytes] = []
        no_facts = False
        if table.facts is not None:
            for record in records.get((table.facts.name, task.number), ()):
                if record.value:
                    facts += facts_of(record.value)
                elif record.value is not None:
                    facts, no_facts = [], True

        for place in restore.last:
            if place in records:
                restore.last[place] = records[place][-1].offset
        RESTORED.labels(table.name).inc(len(values))
        # The input as it was: what is written now may be newer than it says, never older.
        position = restore.position(input_offset=task.store.position.input)
        task.restored(values, facts, no_facts=no_facts, position=position)

    def _end_those(self, over: Iterable[_Restore]) -> list[TableTask]:
        """Who is restored, whatever becomes of the others: they are tried again."""
        tasks: list[TableTask] = []
        for restore in over:
            try:
                self._end(restore)
            except StoreDamaged as error:
                restore.fail(str(error))
            except Transient:
                if not tasks:
                    raise
                # The next step raises it; those that ended are returned in no other step.
                break
            else:
                tasks.append(restore.task)

        return tasks

    def _end(self, restore: _Restore) -> None:
        task, progress = restore.task, self.progress(restore.task)
        assert progress is not None
        # Only now: until here the store is older than the group's offset.
        task.restored({}, (), no_facts=False, position=restore.position(input_offset=restore.input))
        self.end(task)
        log.info(
            "a state store is restored",
            store=task.name,
            records=progress.done,
            seconds=round(self._clock.monotonic() - restore.began_at, 3),
        )


def _refuse_undone(restore: _Restore, records: Mapping[Place, list[ChangelogRecord]]) -> None:
    """
    Raise StoreDamaged if the last record that the store has is not on its changelog.

    A broker that goes away in the middle of a commit may acknowledge it and undo it later
    (KAFKA-20734); compaction may take the record too, once newer ones are there.
    """
    for place, offset in list(restore.expected.items()):
        if restore.reached[place] <= offset:
            continue
        if not any(record.offset == offset for record in records.get(place, ())[:1]):
            topic, number = place
            raise StoreDamaged(f"its last commit, {topic}-{number}@{offset}, is not there any more")
        del restore.expected[place]


def _misfit(
    position: StorePosition,
    *,
    ids: Mapping[str, str],
    firsts: Mapping[Place, int],
    ends: Mapping[Place, int],
    number: int,
) -> str:
    """Why a store at `position` does not belong to these changelogs; empty if it does."""
    known = {at.topic for at in position.changelogs}
    if known and known != set(ids):
        return f"it was kept from {', '.join(sorted(known))}"

    for at in position.changelogs:
        place = at.topic, number
        if at.topic_id != ids[at.topic]:
            return f"topic {at.topic} was deleted and made again since"
        if at.offset > ends[place]:
            return (
                f"it is at offset {at.offset} of {at.topic}-{number}, which ends at {ends[place]}"
            )
        if at.offset < firsts[place]:
            return f"{at.topic}-{number} begins at {firsts[place]} by now, and it is at {at.offset}"
    return ""
