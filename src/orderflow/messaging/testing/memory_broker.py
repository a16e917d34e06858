"""
Kafka in memory, as far as a listener's container sees it: partitions with offsets, groups with
assignment and commits.

What it keeps of Kafka: a key's records are on one partition, in order; transactions leave markers,
so offsets have gaps; aborted records are never delivered; an offset that the log does not have is
refused; a member whose assignment is out of date
can't commit; a transactional id has one owner, the last one. Records go only when a test calls
`delete_before` or `cut`. What it leaves out: time-outs, replication, isolation other than
read_committed.
"""

from __future__ import annotations

import random
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any
from zlib import crc32

from orderflow.messaging.event import Headers, Metadata, from_headers
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.kafka.transactions import Placed, Produced

PARTITIONS = 3


class Fault(Enum):
    """What can happen to a client, at the next operation that it can happen to."""

    ABORTED = "the transaction is aborted"
    COMMITTED_UNANSWERED = "the transaction is committed, and the answer is lost"
    ABORTED_UNANSWERED = "the transaction is aborted, and the answer is lost"
    UNDONE = "the commit is answered, then undone; the next transaction's producer is lost"
    TIMED_OUT = "the transaction took too long: its producer is fenced"
    COMMIT_REFUSED = "offsets outside a transaction are refused"
    EXPELLED = "the member polled too late: its partitions are lost"


class Message:
    """A record in the shape in which the client library returns it."""

    __slots__ = ("_headers", "_key", "_offset", "_partition", "_topic", "_value")

    def __init__(self, place: Place, offset: int, produced: Produced) -> None:
        self._topic, self._partition = place
        self._offset = offset
        _topic, self._key, self._value, self._headers = produced

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> Headers:
        return list(self._headers)

    def timestamp(self) -> tuple[int, int]:
        return 1, 0

    @property
    def metadata(self) -> Metadata:
        return from_headers(self._headers)


class Group:
    """
    A consumer group: its members by instance id, which of them owns a partition now, and what is
    committed.

    `generation` grows with every change of its members; who has not polled since can't commit.
    """

    def __init__(self) -> None:
        self.generation = 0
        self.members: dict[str, Any] = {}
        self.owners: dict[Place, Any] = {}
        self.committed: dict[Place, tuple[int, str]] = {}

    def join(self, instance_id: str, member: Any) -> None:
        """
        A member with a known instance id replaces its predecessor, and gets what that one had.
        """
        replaced = self.members.get(instance_id)
        for place in [place for place, owner in self.owners.items() if owner is replaced]:
            del self.owners[place]
        self.members[instance_id] = member
        self.generation += 1

    def leave(self, instance_id: str) -> None:
        gone = self.members.pop(instance_id, None)
        for place in [place for place, owner in self.owners.items() if owner is gone]:
            del self.owners[place]
        self.generation += 1

    def target(self, places: Iterable[Place]) -> dict[Place, Any]:
        """Who should own which partition: in turn, by name."""
        members = [self.members[name] for name in sorted(self.members)]
        return {
            place: members[number % len(members)] for number, place in enumerate(sorted(places))
        }


class MemoryBroker:
    """
    Topics and groups. A topic exists as soon as somebody names it.

    Faults come from `planned`, each at the first operation that it fits, then by `chances` (0 to 1)
    drawn from
    `draw`. While `away` is true no client gets an answer. A transaction with a record for one of
    `refused_topics` is aborted; one with a record of a topic and key in `refused_keys` is too, and
    so is the one after it.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        chances: Mapping[Fault, float] | None = None,
        partitions: int = PARTITIONS,
    ) -> None:
        self.draw = random.Random(seed)  # noqa: S311 - repeatable is what it must be
        self.planned: deque[Fault] = deque()
        self.away = False
        self.refused_topics: set[str] = set()
        self.refused_keys: set[tuple[str, bytes | None]] = set()
        self.partitions = partitions
        self.groups: dict[str, Group] = defaultdict(Group)
        self.chances = chances or {}
        self._log: dict[Place, list[Message | None]] = defaultdict(list)
        self._first: dict[Place, int] = defaultdict(int)
        self.topic_ids: dict[str, str] = {}
        self._topics: dict[str, list[Message]] = defaultdict(list)

    def struck(self, *faults: Fault) -> Fault | None:
        """Which of these faults happens now, if any."""
        if self.planned and self.planned[0] in faults:
            return self.planned.popleft()
        for fault in faults:
            if self.draw.random() < self.chances.get(fault, 0.0):
                return fault
        return None

    def places(self, topics: Iterable[str]) -> list[Place]:
        return [(topic, number) for topic in topics for number in range(self.partitions)]

    def append(
        self, records: Iterable[Produced], placed: Iterable[Placed] = (), *, marked: bool = False
    ) -> list[Message]:
        """
        Put records on their partitions; `marked`: a transaction's marker follows on each of those.
        """
        appended = [self._append(self._place(record), record) for record in records]
        appended += [self._append(*_unplaced(record)) for record in placed]
        if marked:
            self._mark(dict.fromkeys((m.topic(), m.partition()) for m in appended))
        return appended

    def append_aborted(
        self, records: Iterable[Produced], placed: Iterable[Placed] = ()
    ) -> dict[Place, int]:
        """
        The same offsets are taken, but nobody is given the records. Returns the offsets after what
        was placed.
        """
        places = [self._place(record) for record in records]
        for place in places:
            self._log[place].append(None)
        ends: dict[Place, int] = {}
        for record in placed:
            place = record.topic, record.partition
            self._log[place].append(None)
            ends[place] = len(self._log[place])
        self._mark(dict.fromkeys([*places, *ends]))
        return ends

    def end(self, place: Place) -> int:
        """The offset that the partition's next record will have."""
        return len(self._log[place])

    def first(self, place: Place) -> int:
        """The first offset that the partition still has."""
        return self._first[place]

    def delete_before(self, place: Place, offset: int) -> None:
        """As retention does."""
        self._first[place] = offset

    def cut(self, place: Place, offset: int) -> None:
        """Lose the end of a log: the next record gets `offset`, as when a disk is set back."""
        del self._log[place][offset:]
        self._first[place] = min(self._first[place], offset)

    def log(self, place: Place) -> list[Message | None]:
        """A partition by offset; None for markers and aborted records."""
        return self._log[place]

    def records(self, topic: str) -> list[Message]:
        """What is on a topic, in the order in which it was appended: order counts per key."""
        return list(self._topics[topic])

    def lag(self, group: str, topics: Iterable[str]) -> int:
        """How far the group's committed offsets are behind the ends of these topics."""
        committed = self.groups[group].committed
        return sum(
            self.end(place) - max(0, committed.get(place, (0, ""))[0])
            for place in self.places(topics)
        )

    def _append(self, place: Place, record: Produced) -> Message:
        log = self._log[place]
        message = Message(place, len(log), record)
        log.append(message)
        self._topics[place[0]].append(message)
        return message

    def _mark(self, places: Iterable[Place]) -> None:
        for place in places:
            self._log[place].append(None)

    def _place(self, record: Produced) -> Place:
        topic, key, _value, _headers = record
        return topic, crc32(key or b"") % self.partitions


def _unplaced(record: Placed) -> tuple[Place, Produced]:
    topic, partition, key, value, headers = record
    return (topic, partition), (topic, key, value, headers)
