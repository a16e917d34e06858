"""What two states of a topology differ in, and the records that make the present one the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from uuid_utils.compat import uuid7

from orderflow.messaging.kafka.transactions import Headers, Placed
from orderflow.messaging.streams.changelog import facts_records
from orderflow.messaging.streams.local_state import TaskId
from orderflow.messaging.streams.rebuild.recomputation import Recomputation
from orderflow.messaging.streams.store.store import Entry, StoreReader
from orderflow.messaging.streams.table_task import TableTask

PIECE = 5_000
LAST = b"\xff" * 64
"""Above every key: keys are text."""

Write = Callable[[str, Any], tuple[bytes, Headers]]
"""A topic and a value to the bytes and headers of its record."""


class KeyDifference(NamedTuple):
    """One key's value as it is, and as it should be; None: there is none."""

    task: TaskId
    key: bytes
    present: Any
    recomputed: Any


class FactsDifference(NamedTuple):
    """How many facts of one partition are not counted though they should be, and the reverse."""

    task: TaskId
    missing: int
    surplus: int


class Differences(msgspec.Struct, frozen=True):
    """Everything that two states differ in; false if that is nothing."""

    keys: Sequence[KeyDifference] = ()
    facts: Sequence[FactsDifference] = ()

    def __bool__(self) -> bool:
        return bool(self.keys or self.facts)

    def lasting(self, later: Differences) -> Differences:
        """Those of `later` that are in this one, too: no record was only under way."""
        keys = {(it.task, it.key) for it in self.keys}
        facts = {it.task for it in self.facts}
        return Differences(
            [it for it in later.keys if (it.task, it.key) in keys],
            [it for it in later.facts if it.task in facts],
        )


def differences(present: Mapping[TaskId, TableTask], anew: Recomputation) -> Differences:
    """Compare every key, by its decoded value, and every fact."""
    keys: list[KeyDifference] = []
    facts: list[FactsDifference] = []

    for place, task in present.items():
        keys += _of_keys(place, task, anew.tasks[place])
        if task.table.facts is not None:
            counted = anew.facts_of(place)
            known = sum(
                len(task.store.known(counted[at : at + PIECE]))
                for at in range(0, len(counted), PIECE)
            )
            difference = FactsDifference(place, len(counted) - known, task.store.facts - known)
            facts += [difference] if difference.missing or difference.surplus else []
    return Differences(keys, facts)


def records(between: Differences, anew: Recomputation, write: Write) -> Iterator[Placed]:
    """
    The records of the changelogs after which a state with these differences has none.

    In one transaction: a reader of them would see a set of facts that is begun anew.
    """
    for difference in between.keys:
        task = anew.tasks[difference.task]
        topic, key, value = task.table.changelog.name, difference.key, difference.recomputed
        if value is None:
            yield Placed(topic, task.number, key, None, [])
        else:
            yield Placed(topic, task.number, key, *write(topic, value))

    for place, _missing, _surplus in between.facts:
        task = anew.tasks[place]
        changelog = task.table.facts
        assert changelog is not None
        # Without bytes: all facts before it are forgotten. Under a key of its own, like each of
        # the others, so that compaction keeps it.
        forget = uuid7().bytes, b""
        for key, value in (forget, *facts_records(anew.facts_of(place))):
            yield Placed(changelog.name, task.number, key, value, [])


def _of_keys(place: TaskId, present: TableTask, anew: TableTask) -> Iterator[KeyDifference]:
    for piece in _pieces(anew.reader):
        values = present.store.values([entry.key for entry in piece])
        for entry in piece:
            wanted = anew.decode(entry.value)
            value = values.get(entry.key)
            decoded = None if value is None else present.decode(value)
            if decoded != wanted:
                yield KeyDifference(place, entry.key, decoded, wanted)

    for piece in _pieces(present.reader):
        there = anew.store.values([entry.key for entry in piece])
        for entry in piece:
            if entry.key not in there:
                yield KeyDifference(place, entry.key, present.decode(entry.value), None)


def _pieces(reader: StoreReader) -> Iterator[Sequence[Entry]]:
    first = b""
    while True:
        entries, _position = reader.between(first, LAST, PIECE)
        if not entries:
            return
        yield entries
        first = entries[-1].key + b"\0"
