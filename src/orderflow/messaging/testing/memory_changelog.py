"""The reader of changelogs on topics in memory: see `streams.changelog.ChangelogReader`."""

from __future__ import annotations

from collections.abc import Iterable

from orderflow.messaging.errors import Unavailable
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.streams.changelog import ChangelogRecord, Read
from orderflow.messaging.testing.memory_broker import MemoryBroker


class MemoryChangelogReader:
    """Reads a `MemoryBroker`, at most `piece_max` offsets at a time."""

    def __init__(self, broker: MemoryBroker, *, piece_max: int = 1_000) -> None:
        self.piece_max = piece_max
        self._broker = broker
        self._positions: dict[Place, int] = {}

    def ends(self, places: Iterable[Place]) -> dict[Place, int]:
        self._expect_broker()
        return {place: self._broker.end(place) for place in places}

    def firsts(self, places: Iterable[Place]) -> dict[Place, int]:
        self._expect_broker()
        return {place: self._broker.first(place) for place in places}

    def topic_ids(self, topics: Iterable[str]) -> dict[str, str]:
        self._expect_broker()
        return {topic: self._broker.topic_ids.get(topic, f"id of {topic}") for topic in topics}

    def partitions(self, topics: Iterable[str]) -> dict[str, int]:
        self._expect_broker()
        return dict.fromkeys(topics, self._broker.partitions)

    def begin(self, place: Place, offset: int) -> None:
        self._positions[place] = offset

    def read(self, records_max: int, _timeout_s: float) -> Read:
        self._expect_broker()
        left = min(records_max, self.piece_max)
        records: list[ChangelogRecord] = []
        reached: dict[Place, int] = {}

        for place, position in self._positions.items():
            piece = self._broker.log(place)[position : position + left]
            left -= len(piece)
            records += [
                ChangelogRecord(*place, message.offset(), message.key() or b"", message.value())
                for message in piece
                if message is not None
            ]
            reached[place] = position + len(piece)
        self._positions |= reached
        return Read(records, reached)

    def end(self, place: Place) -> None:
        self._positions.pop(place, None)

    def close(self) -> None:
        self._positions = {}

    def _expect_broker(self) -> None:
        if self._broker.away:
            raise Unavailable("all brokers are down", resource="broker")
