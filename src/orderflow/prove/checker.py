"""
The judge: records in, findings out, from the records' places and the ledger's numbers alone.

Each record contains its owner (a customer, an order) and its number among that owner's records,
counted from 1. The ledger, read from the databases at rest, contains the numbers that were given
out. On the topic each owner's numbers must be there once each, in order, on one partition, under
the owner as key.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping

import msgspec

EXAMPLES_MAX = 5

Ledger = Mapping[str, Collection[int]]
"""By owner, the numbers that were given out."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A record of a topic, as far as it is judged."""

    partition: int
    offset: int
    key: str
    event_id: str
    owner: str
    number: int


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """
    The state of a topic. The first fields describe it, the rest are violations when not 0.

    `gaps`: numbers missing below an owner's highest. `inversions`: records after one of a higher
    number of the same owner, on the same partition. `repeats`: records whose event id, or whose
    owner's number, was there before. `split`: owners on more than one partition. `wrong_keys`:
    records under another key than their owner. `lost`: numbers that the ledger has and the topic
    has not; `unknown`: the other way round.
    """

    topic: str
    key: str
    records: int
    keys: int
    partitions: int
    records_per_key_max: int
    gaps: int
    inversions: int
    repeats: int
    split: int
    wrong_keys: int
    lost: int
    unknown: int
    examples: tuple[str, ...] = ()

    @property
    def violations(self) -> int:
        return sum(
            (
                self.gaps,
                self.inversions,
                self.repeats,
                self.split,
                self.wrong_keys,
                self.lost,
                self.unknown,
            )
        )


def check(topic: str, key: str, seen: Iterable[Seen], ledger: Ledger) -> Finding:
    """
    Judge a topic by its records, in offset order within a partition.

    `key` describes the topic's key in the report.
    """
    judge = _Judge(topic)
    for record in seen:
        judge.add(record)
    for owner in judge.owners:
        judge.check_owner(owner, ledger.get(owner, ()))
    for owner, numbers in ledger.items():
        judge.count_lost(owner, numbers)

    return Finding(
        topic=topic,
        key=key,
        keys=len(judge.owners),
        partitions=len(judge.partitions),
        records_per_key_max=max(
            (owner.numbers.total() for owner in judge.owners.values()), default=0
        ),
        examples=tuple(judge.examples),
        **{name: judge.counts[name] for name in _COUNTED},
    )


class _Owner:
    """An owner's records so far: how often each number came, and the highest on each partition."""

    __slots__ = ("highest_on", "numbers")

    def __init__(self) -> None:
        self.numbers: Counter[int] = Counter()
        self.highest_on: dict[int, int] = {}


class _Judge:
    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._event_ids: set[str] = set()
        self.owners: defaultdict[str, _Owner] = defaultdict(_Owner)
        self.partitions: set[int] = set()
        self.counts: Counter[str] = Counter()
        self.examples: list[str] = []

    def add(self, record: Seen) -> None:
        """The next record: its key, and whether its number was there before or comes too late."""
        owner = self.owners[record.owner]
        before = owner.highest_on.get(record.partition, 0)
        place = f"{self._topic}-{record.partition}@{record.offset}"
        place = f"{place}, number {record.number} of {record.owner}"
        if record.key != record.owner:
            self._count("wrong_keys", f"{place}, under key {record.key!r}")
        if record.event_id in self._event_ids or record.number in owner.numbers:
            self._count("repeats", f"{place}, event {record.event_id}")
        if record.number < before:
            self._count("inversions", f"{place}, after number {before}")

        self.counts["records"] += 1
        self.partitions.add(record.partition)
        self._event_ids.add(record.event_id)
        owner.numbers[record.number] += 1
        owner.highest_on[record.partition] = max(record.number, before)

    def check_owner(self, name: str, numbers: Collection[int]) -> None:
        """Count partitions, gaps and unknown numbers, once all records of the owner were added."""
        owner = self.owners[name]
        highest = max(owner.numbers)
        if len(owner.highest_on) > 1:
            self._count("split", f"{name} is on partitions {sorted(owner.highest_on)}")
        if missing := highest - sum(number > 0 for number in owner.numbers):
            self._count("gaps", f"{missing} of {name}'s 1…{highest}", missing)
        if strange := owner.numbers.keys() - set(numbers):
            self._count("unknown", f"{name}'s {sorted(strange)}", len(strange))

    def count_lost(self, name: str, numbers: Collection[int]) -> None:
        """Count the numbers of the ledger that no record has."""
        there = self.owners[name].numbers if name in self.owners else ()
        if lost := [number for number in numbers if number not in there]:
            self._count("lost", f"{name}'s {lost}", len(lost))

    def _count(self, violation: str, where: str, times: int = 1) -> None:
        self.counts[violation] += times
        if len(self.examples) < EXAMPLES_MAX:
            self.examples.append(f"{violation.replace('_', ' ')}: {where}")


_COUNTED = ("records", "gaps", "inversions", "repeats", "split", "wrong_keys", "lost", "unknown")
