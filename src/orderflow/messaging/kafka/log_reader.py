"""
Reads stretches of logs whose ends are known, one after the other: over one connection, no group.

In memory are at most 16 MiB that the client has fetched ahead, and 8 MiB that were passed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from orderflow.messaging.errors import ConfigurationError, Unavailable
from orderflow.messaging.kafka.clients import KafkaError, KafkaException, TopicPartition, consumer
from orderflow.messaging.kafka.headers import record_bytes
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.kafka.reader import GROUP, ConsumerRecord, is_passing, record_of
from orderflow.messaging.settings import KafkaSettings

TICK_S = 0.1
SILENCE_MAX_S = 15.0
"""Longer than a broker needs to restart, and a leader to be elected."""
SKIP_MAX = 500
"""Offsets that are read and dropped rather than sought over: a seek throws away what is fetched."""
FETCHED_KIB = 16 * 1024
PASSED_BYTES_MAX = 8 * 1024 * 1024
"""Of records that were passed on the way to another: the next one is often just before."""


class LogReader:
    """Committed records, by the offsets that the caller names. Not thread-safe."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._client = consumer(
            settings,
            GROUP,
            **{"fetch.wait.max.ms": 50, "queued.max.messages.kbytes": FETCHED_KIB},
        )
        self._place: Place | None = None
        self._position = 0
        self._known: set[str] = set()
        self._passed: dict[tuple[Place, int], ConsumerRecord] = {}
        self._passed_bytes = 0

    def read(self, place: Place, *, first: int, end: int) -> Iterator[ConsumerRecord]:
        """
        The committed records from `first` up to `end`, which is at most the log's stable end; what
        retention has deleted meanwhile is left out.

        Raises Unavailable when nothing comes for 15 s, ConfigurationError when it may not be read.
        """
        while first < end:
            record = self._next(place, first, end=end)
            if record is None or record.offset >= end:
                return
            yield record
            first = record.offset + 1

    def at(self, place: Place, offset: int) -> ConsumerRecord | None:
        """
        The committed record at `offset`, which is below the log's stable end; None: there is none.

        Cheap for offsets that rise, or nearly do. Raises as `read`.
        """
        passed = self._passed.pop((place, offset), None)
        if passed is not None:
            self._passed_bytes -= _size(passed)
            return passed

        # What lies between is dropped: a seek is a new request, and throws away what was fetched.
        start = offset
        if self._place == place and 0 <= offset - self._position <= SKIP_MAX:
            start = self._position

        while start <= offset:
            record = self._next(place, start, end=offset + 1)
            if record is None:
                return None
            if record.offset >= offset:
                return record if record.offset == offset else None
            self._keep(place, record)
            start = record.offset + 1
        return None

    def close(self) -> None:
        self._client.close()

    def _next(self, place: Place, offset: int, *, end: int) -> ConsumerRecord | None:
        """The first record at `offset` or above; None if there is none below `end`."""
        topic, partition = place
        if topic not in self._known:
            self._ask_for_leaders(topic)
        if self._place != place or self._position != offset:
            self._client.assign([TopicPartition(topic, partition, offset)])
            self._place, self._position = place, offset

        deadline = time.monotonic() + SILENCE_MAX_S
        while time.monotonic() < deadline:
            message = self._client.poll(TICK_S)
            if message is None:
                continue

            error = message.error()
            if error is None:
                record = record_of(message)
                self._position = record.offset + 1
                return record
            if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client's own name
                # One from before may still be queued. Above the last record there may be markers
                # and aborted records: those it has passed.
                if (message.offset() or 0) < end:
                    continue
                # It is said once: who comes back here has to ask anew.
                self._place = None
                return None
            if error.fatal() or not is_passing(error):
                raise ConfigurationError(f"could not read {topic}: {error.str()}")

        self._place = None
        raise Unavailable(
            f"nothing came of {topic} within {SILENCE_MAX_S:.0f} s", resource="broker"
        )

    def _keep(self, place: Place, record: ConsumerRecord) -> None:
        self._passed[place, record.offset] = record
        self._passed_bytes += _size(record)
        while self._passed and self._passed_bytes > PASSED_BYTES_MAX:
            oldest = next(iter(self._passed))
            self._passed_bytes -= _size(self._passed.pop(oldest))

    def _ask_for_leaders(self, topic: str) -> None:
        # A client that does not know them yet asks once a second.
        try:
            self._client.list_topics(topic, timeout=SILENCE_MAX_S)
        except KafkaException as error:
            raise Unavailable(
                f"could not look up topic {topic}: {error.args[0].str()}", resource="broker"
            ) from error
        self._known.add(topic)


def _size(record: ConsumerRecord) -> int:
    return record_bytes(record.key, record.value, record.headers)
