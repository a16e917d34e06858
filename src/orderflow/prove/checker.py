"""
The judge: records in, findings out. It trusts nobody's word but the records' places and the ledger's numbers.

Each record says whose it is (its owner: a customer, an order) and which of that owner's it is, counted from 1. The
ledger, what the databases hold at rest, says which numbers there are. On the topic then each owner's numbers must be
there once each, in order, on one partition, under a key that is the owner's.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping

import msgspec

EXAMPLES_MAX = 5

Ledger = Mapping[str, Collection[int]]
"""By owner, the numbers that there are."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """One record of a topic, as far as it is judged."""

    partition: int
    offset: int
    key: str
    event_id: str
    owner: str
    number: int


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a topic turned out to be. The first fields describe it, the rest are violations when they are not 0.

    `gaps`: numbers missing below an owner's highest. `inversions`: records after one of a higher number of the same
    owner, on the same partition. `repeats`: records whose event id, or whose owner's number, was there before.
    `split`: owners on more than one partition. `wrong_keys`: records under another key than their owner. `lost`:
    numbers that the ledger has and the topic has not; `unknown`: the other way round.
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
    """`seen` in offset order within a partition; `key` is what the topic's key is said to be, for the report."""
    judge = _Judge(topic)
    for one in seen:
        judge.hear(one)
    for name in judge.owners:
        judge.weigh(name, ledger.get(name, ()))
    for name, numbers in ledger.items():
        judge.miss(name, numbers)
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
    """One owner's records so far: how often each number came, and the highest on each partition."""

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

    def hear(self, one: Seen) -> None:
        """The next record."""
        place = f"{self._topic}-{one.partition}@{one.offset}, number {one.number} of {one.owner}"
        owner = self.owners[one.owner]
        before = owner.highest_on.get(one.partition, 0)
        if one.key != one.owner:
            self._found("wrong_keys", f"{place}, under key {one.key!r}")
        if one.event_id in self._event_ids or one.number in owner.numbers:
            self._found("repeats", f"{place}, event {one.event_id}")
        if one.number < before:
            self._found("inversions", f"{place}, after number {before}")
        self.counts["records"] += 1
        self.partitions.add(one.partition)
        self._event_ids.add(one.event_id)
        owner.numbers[one.number] += 1
        owner.highest_on[one.partition] = max(one.number, before)

    def weigh(self, name: str, numbers: Collection[int]) -> None:
        """An owner whose records were all heard, and the numbers that the ledger has."""
        owner = self.owners[name]
        highest = max(owner.numbers)
        if len(owner.highest_on) > 1:
            self._found("split", f"{name} is on partitions {sorted(owner.highest_on)}")
        if missing := highest - sum(number > 0 for number in owner.numbers):
            self._found("gaps", f"{missing} of {name}'s 1…{highest}", missing)
        if strange := owner.numbers.keys() - set(numbers):
            self._found("unknown", f"{name}'s {sorted(strange)}", len(strange))

    def miss(self, name: str, numbers: Collection[int]) -> None:
        """What the ledger has of an owner must have been heard."""
        there = self.owners[name].numbers if name in self.owners else ()
        if lost := [number for number in numbers if number not in there]:
            self._found("lost", f"{name}'s {lost}", len(lost))

    def _found(self, violation: str, where: str, times: int = 1) -> None:
        self.counts[violation] += times
        if len(self.examples) < EXAMPLES_MAX:
            self.examples.append(f"{violation.replace('_', ' ')}: {where}")


_COUNTED = ("records", "gaps", "inversions", "repeats", "split", "wrong_keys", "lost", "unknown")
