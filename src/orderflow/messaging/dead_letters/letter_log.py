"""The dead letters of a cluster and what was decided about them, read from its logs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import NamedTuple, Self

from orderflow.messaging.dead_letters.dispositions import Disposition, read_disposition
from orderflow.messaging.dead_letters.evidence import read_evidence
from orderflow.messaging.dead_letters.letter import without_evidence
from orderflow.messaging.dead_letters.letter_place import LetterId, letter_id_of
from orderflow.messaging.dead_letters.letters import Letter, LetterFilter
from orderflow.messaging.event import REPLAY_OF
from orderflow.messaging.kafka.group_topics import (
    dead_letter_topic_name,
    group_of,
    is_dead_letter_topic,
)
from orderflow.messaging.kafka.headers import record_bytes
from orderflow.messaging.kafka.log_reader import LogReader
from orderflow.messaging.kafka.logs import Logs
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.kafka.reader import ConsumerRecord
from orderflow.messaging.settings import KafkaSettings


class LetterLog(NamedTuple):
    """One partition of a dead-letter topic, from its first to its stable end offset."""

    place: Place
    group: str
    topic: str
    first: int
    end: int


class Decided(NamedTuple):
    """
    The dispositions of retained letters, by place and offset; by place, how many there are of
    letters that retention has deleted.
    """

    dispositions: Mapping[Place, Mapping[int, Disposition]]
    expired: Mapping[Place, int]

    def of(self, place: Place, offset: int) -> Disposition | None:
        return self.dispositions.get(place, {}).get(offset)


class LetterLogs:
    """
    Letters and dispositions over one connection, to be closed. Not thread-safe.

    Also of groups that nobody announced, if their dead letters are of the same topics.
    """

    def __init__(
        self, settings: KafkaSettings, groups: Mapping[str, Sequence[str]], dispositions: str
    ) -> None:
        self._groups, self._dispositions_topic = groups, dispositions
        self.logs = Logs(settings)
        self._reader = LogReader(settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._reader.close()

    def find(self, letter_filter: LetterFilter) -> list[LetterLog]:
        """The logs that can have letters that fit, as they are now, by name."""
        partitions = self.logs.all_partitions()
        owners = {
            name: owner
            for name, owner in self._owners(partitions).items()
            if letter_filter.takes_log(*owner, name)
        }
        places = [(name, number) for name in sorted(owners) for number in range(partitions[name])]

        firsts, ends = self.logs.firsts(places), self.logs.stable_ends(places)
        return [
            LetterLog(place, *owners[place[0]], first=firsts[place], end=ends[place])
            for place in places
        ]

    def decided(self, logs: Sequence[LetterLog]) -> Decided:
        """
        What is decided about the letters of these logs now, so after their ends were: a letter that
        was open at that moment and is not any more is not shown as open.
        """
        by_place = {log.place: log for log in logs}
        dispositions: dict[Place, dict[int, Disposition]] = defaultdict(dict)
        expired: set[LetterId] = set()
        # Letters that were sent back together have nearly all of it in common.
        known: dict[bytes, Disposition] = {}

        for record in self._dispositions():
            letter_id = letter_id_of(record.key)
            log = by_place.get(letter_id.place) if letter_id is not None else None
            if letter_id is None or log is None:
                continue

            value = record.value
            if letter_id.offset < log.first:
                (expired.discard if value is None else expired.add)(letter_id)
            elif value is None:
                dispositions[log.place].pop(letter_id.offset, None)
            else:
                disposition = known.get(value)
                if disposition is None:
                    disposition = known[value] = read_disposition(value)
                dispositions[log.place][letter_id.offset] = disposition
        return Decided(dispositions, Counter(letter_id.place for letter_id in expired))

    def letters(self, log: LetterLog, decided: Decided) -> Iterator[Letter]:
        """All letters of this log, by offset."""
        for record in self._reader.read(log.place, first=log.first, end=log.end):
            yield _letter(record, log, decided)

    def letter_at(self, log: LetterLog, offset: int, decided: Decided) -> Letter | None:
        """The letter at this offset of the log; None if there is none. Cheap if offsets rise."""
        record = self._reader.at(log.place, offset)
        return _letter(record, log, decided) if record is not None else None

    def copies(self, firsts: Mapping[Place, int], ends: Mapping[Place, int]) -> Iterator[LetterId]:
        """The letters of which a copy is there, between these offsets of replay topics."""
        for place, first in firsts.items():
            for record in self._reader.read(place, first=first, end=ends[place]):
                letter_id = letter_id_of(dict(record.headers).get(REPLAY_OF))
                if letter_id is not None:
                    yield letter_id

    def places(self, topics: Iterable[str]) -> list[Place]:
        """The partitions of those topics that exist."""
        counts = self.logs.partitions(topics)
        return [(name, number) for name, count in counts.items() for number in range(count)]

    def _dispositions(self) -> Iterator[ConsumerRecord]:
        # Before anything was decided for the first time the topic may not be there.
        places = self.places([self._dispositions_topic])
        firsts, ends = self.logs.firsts(places), self.logs.stable_ends(places)

        for place in places:
            yield from self._reader.read(place, first=firsts[place], end=ends[place])

    def _owners(self, topics: Mapping[str, int]) -> dict[str, tuple[str, str]]:
        """Group and source topic of each dead-letter topic that there is."""
        announced = {
            dead_letter_topic_name(topic, group): (group, topic)
            for group, sources in self._groups.items()
            for topic in sources
        }
        sources = {topic for names in self._groups.values() for topic in names}
        return {
            name: owner
            for name in topics
            if is_dead_letter_topic(name)
            and (owner := announced.get(name) or _owner(name, sources)) is not None
        }


def _owner(name: str, sources: set[str]) -> tuple[str, str] | None:
    # The longest first: a topic's name may begin with another's.
    for topic in sorted(sources, key=len, reverse=True):
        group = group_of(name, (topic,))
        if group is not None:
            return group, topic
    return None


def _letter(record: ConsumerRecord, log: LetterLog, decided: Decided) -> Letter:
    return Letter(
        id=LetterId(record.topic, record.partition, record.offset),
        group=log.group,
        topic=log.topic,
        evidence=read_evidence(record.headers),
        key=record.key,
        value=record.value,
        headers=without_evidence(record.headers),
        all_headers=record.headers,
        written_at=record.timestamp,
        size=record_bytes(record.key, record.value, record.headers),
        disposition=decided.of(log.place, record.offset),
    )
