"""
Changelogs: what a restore reads, and how a set of facts is coded on one.

A table's changelog has one record for each change of a key, the key's new value. That of its facts
has one record for each commit: 16 bytes for every fact that was counted in it, under a key of its
own, so that compaction keeps them all. A record of that changelog without a value's bytes forgets
all facts before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

from uuid_utils.compat import uuid7

from orderflow.messaging.kafka.place import Place

FACT_BYTES = 16
FACTS_MAX = 50_000
"""Facts in one record: 800 kB, below a topic's default limit."""


class ChangelogRecord(NamedTuple):
    """One record of a changelog; `value` None deletes the key."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes | None


class Read(NamedTuple):
    """
    What one step has read. `reached`: for each partition, the offset below which everything has
    been read now; markers and aborted records count, though nobody sees them. `refused`: partitions
    whose log does not have the offset that would be read next; nothing more comes of them.
    """

    records: Sequence[ChangelogRecord]
    reached: Mapping[Place, int]
    refused: Sequence[Place] = ()


class ChangelogReader(Protocol):
    """
    Reads committed records of changelogs, without a group, for one thread.

    Every method raises Unavailable when the brokers do not answer within 2 s.
    """

    def ends(self, places: Iterable[Place]) -> dict[Place, int]:
        """The ends of these logs now, open transactions included: what a restore must reach."""

    def firsts(self, places: Iterable[Place]) -> dict[Place, int]:
        """The first offsets that these logs have."""

    def topic_ids(self, topics: Iterable[str]) -> dict[str, str]:
        """The id of each topic: another one if it was deleted and made again."""

    def partitions(self, topics: Iterable[str]) -> dict[str, int]:
        """How many partitions each of those topics that exist has."""

    def begin(self, place: Place, offset: int) -> None:
        """Read this partition from `offset`, beside those that are read already."""

    def read(self, records_max: int, timeout_s: float) -> Read:
        """At most `records_max` records; waits at most `timeout_s` for the first."""

    def end(self, place: Place) -> None:
        """Read this partition no more."""

    def close(self) -> None:
        """Close the connections."""


def facts_records(facts: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """Key and value of the records that add `facts` to the set: few for many facts."""
    return [
        (uuid7().bytes, b"".join(facts[start : start + FACTS_MAX]))
        for start in range(0, len(facts), FACTS_MAX)
    ]


def facts_of(value: bytes) -> list[bytes]:
    """The facts of one record."""
    return [value[at : at + FACT_BYTES] for at in range(0, len(value), FACT_BYTES)]


def fact_bytes(fact: UUID) -> bytes:
    """A fact as it is kept."""
    return fact.bytes
