"""
Topologies as values: how the records of a topic become tables.

    source topic → rekey → repartition topic → table → changelog
                                                 └→ forward → repartition topic → table → changelog

Everything in here is a pure function of events; the container does the rest. A new aggregation is a
table and its functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from uuid import UUID

import msgspec

from orderflow.messaging.kafka.topics import Topic

Rekey = Callable[[Any], Iterable[Any]]
"""An event to events for repartition topics. The `key` of each is that of its table."""

Fold = Callable[[Any, Any], Any]
"""The value of a key (None: there is none) and one event to the new value; None deletes the key."""

Ranks = Callable[[Any], Mapping[str, int]]
"""A value to the numbers by which keys can be listed, highest first, each under a name."""


def no_ranks(_value: Any) -> Mapping[str, int]:
    return {}


def no_forward(_event: Any) -> Iterable[Any]:
    return ()


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """
    A keyed aggregate: the `fold` of the records of one repartition topic, key by key.

    `repartition` is internal: its records have the table's key, so one partition has all of a key.
    `changelog` is compacted: it has the value of each key, the state store is restored from it, and
    anybody may read it. Both have the same partitions. `event` is the type on the one, `value` the
    type on the other; an event's `key` is the table's key, and so is a value's.

    `fact`: what an event reports. A fact counts once, for good, whatever the record's id, offset or
    topic; `facts` is the changelog of the set of those that were counted. Without it every record
    counts. `forward`: for an event that counts, the events that go to the repartition topics of
    later tables of the topology; `together` makes one of two of them that have one key and one
    type, so that a batch sends few.
    """

    name: str
    repartition: Topic
    changelog: Topic
    event: type[Any]
    value: type[Any]
    fold: Fold
    ranks: Ranks = no_ranks
    fact: Callable[[Any], UUID] | None = None
    facts: Topic | None = None
    forward: Rekey = no_forward
    together: Callable[[Any, Any], Any] | None = None

    @property
    def changelogs(self) -> tuple[Topic, ...]:
        """Everything that its state store is restored from."""
        return (self.changelog,) if self.facts is None else (self.changelog, self.facts)


class Topology(msgspec.Struct, frozen=True, kw_only=True):
    """
    `source` and how its events are re-keyed for the `tables`.

    A record of a group's replay topic takes the same way as one of the topic that it stands for.
    """

    source: Topic
    rekey: Rekey
    tables: tuple[Table, ...]

    @property
    def topics(self) -> tuple[Topic, ...]:
        """What the group reads."""
        return (self.source, *(table.repartition for table in self.tables))

    @property
    def publishes(self) -> tuple[Topic, ...]:
        """Where its events go; the changelogs of facts have no events."""
        return tuple(t for table in self.tables for t in (table.repartition, table.changelog))

    @property
    def internal(self) -> tuple[Topic, ...]:
        """Topics that are nobody else's: those for re-keying, and the changelogs of facts."""
        return tuple(
            topic
            for table in self.tables
            for topic in (table.repartition, table.facts)
            if topic is not None
        )
