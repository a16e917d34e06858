"""The reader of changelogs on real brokers: see `changelog.ChangelogReader`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from orderflow.messaging.errors import Unavailable
from orderflow.messaging.kafka.clients import (
    KafkaError,
    TopicPartition,
    consumer,
)
from orderflow.messaging.kafka.logs import Logs
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.settings import KafkaSettings
from orderflow.messaging.streams.changelog import ChangelogRecord, Read

NO_GROUP = "changelog-reader"
"""The client library wants a name; nothing joins or commits under it."""

# The client library's public names of its own errors begin with an underscore.
PARTITION_EOF = KafkaError._PARTITION_EOF  # noqa: SLF001
NOT_IN_THE_LOG = {
    KafkaError._AUTO_OFFSET_RESET,  # noqa: SLF001
    KafkaError._LOG_TRUNCATION,  # noqa: SLF001
    KafkaError.OFFSET_OUT_OF_RANGE,
}


class BrokerChangelogReader:
    """One consumer without a group."""

    def __init__(self, settings: KafkaSettings) -> None:
        # An offset that the log does not have is an answer, not a reason to begin elsewhere. Large
        # fetches: a restore is nothing but reading.
        overrides: dict[str, object] = {
            "auto.offset.reset": "error",
            "fetch.max.bytes": 16 * 1024 * 1024,
            "queued.max.messages.kbytes": 32 * 1024,
        }
        self._consumer = consumer(settings, NO_GROUP, **overrides)
        self._logs = Logs(settings)
        self._reading: set[Place] = set()
        self._failure: Unavailable | None = None

    def ends(self, places: Iterable[Place]) -> dict[Place, int]:
        # Open transactions included: the last committed one may still wait for its marker.
        return self._logs.ends(places)

    def firsts(self, places: Iterable[Place]) -> dict[Place, int]:
        return self._logs.firsts(places)

    def topic_ids(self, topics: Iterable[str]) -> dict[str, str]:
        return self._logs.topic_ids(topics)

    def partitions(self, topics: Iterable[str]) -> dict[str, int]:
        return self._logs.partitions(topics)

    def begin(self, place: Place, offset: int) -> None:
        self._consumer.incremental_assign([TopicPartition(*place, offset)])
        self._reading.add(place)

    def read(self, records_max: int, timeout_s: float) -> Read:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        read, self._failure = read_of(self._consumer.consume(records_max, timeout_s))

        # What was fetched of a partition before `end` is nobody's any more.
        reading = self._reading
        return Read(
            [record for record in read.records if record[:2] in reading],
            {place: offset for place, offset in read.reached.items() if place in reading},
            [place for place in read.refused if place in reading],
        )

    def end(self, place: Place) -> None:
        if place in self._reading:
            self._reading.discard(place)
            self._consumer.incremental_unassign([TopicPartition(*place)])

    def close(self) -> None:
        self._consumer.close()


def read_of(messages: Iterable[Any]) -> tuple[Read, Unavailable | None]:
    """
    What the client library returned at once, and the last error in it that ends no reading.

    Not raised: the client gives the records beside it only once, and the store would lack them.
    """
    records: list[ChangelogRecord] = []
    reached: dict[Place, int] = {}
    refused: list[Place] = []
    failure: Unavailable | None = None

    for message in messages:
        place = message.topic(), message.partition()
        error = message.error()
        if error is None:
            offset = message.offset()
            records.append(ChangelogRecord(*place, offset, message.key() or b"", message.value()))
            reached[place] = offset + 1
        elif error.code() == PARTITION_EOF:
            # Behind the last record are markers: only this says that they were passed.
            reached[place] = message.offset()
        elif error.code() in NOT_IN_THE_LOG:
            refused.append(place)
        elif not error.retriable():
            failure = Unavailable(f"changelogs: {error.str()}", resource="broker")
    return Read(records, reached, refused), failure
