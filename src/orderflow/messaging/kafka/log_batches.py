"""
Reads stretches of many logs at once, in batches, over one connection: no group, no commit.

For whoever keeps positions of their own. In memory are one batch and at most 16 MiB that the client
has fetched ahead.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from orderflow.messaging.errors import ConfigurationError, Unavailable
from orderflow.messaging.kafka.clients import (
    KafkaError,
    KafkaException,
    TopicPartition,
    consumer,
)
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.kafka.reader import GROUP, ConsumerRecord, is_passing, record_of
from orderflow.messaging.settings import KafkaSettings

TICK_S = 0.1
FETCHED_KIB = 16 * 1024


class LogBatch(msgspec.Struct, frozen=True):
    """
    Committed records, each partition's in the order of its offsets; and how far these partitions
    are read now: there may be markers and aborted records behind the last record.
    """

    records: tuple[ConsumerRecord, ...]
    positions: Mapping[Place, int]


class LogBatches:
    """Not thread-safe."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._client = consumer(
            settings,
            GROUP,
            **{"fetch.wait.max.ms": 20, "queued.max.messages.kbytes": FETCHED_KIB},
        )

    def read(
        self,
        starts: Mapping[Place, int],
        ends: Mapping[Place, int],
        *,
        records_max: int,
        within_s: float,
    ) -> Iterator[LogBatch]:
        """
        The committed records of each place from its start up to its end, or somewhat beyond; what
        retention has deleted meanwhile is left out.

        Ends early when nothing came for `within_s`: what is left stands behind an open transaction,
        or its broker is away. Raises ConfigurationError when a log may not be read, Unavailable if
        the client can't be used at all.
        """
        unread = {place for place, start in starts.items() if start < ends[place]}
        if not unread:
            return
        try:
            self._client.assign([TopicPartition(*place, starts[place]) for place in sorted(unread)])
            yield from self._batches(unread, ends, records_max=records_max, within_s=within_s)
            self._client.unassign()
        except KafkaException as error:
            raise Unavailable(
                f"could not read topics: {error.args[0].str()}", resource="broker"
            ) from error

    def close(self) -> None:
        self._client.close()

    def _batches(
        self, unread: set[Place], ends: Mapping[Place, int], *, records_max: int, within_s: float
    ) -> Iterator[LogBatch]:
        heard = time.monotonic()
        while unread and time.monotonic() - heard < within_s:
            messages = self._client.consume(records_max, TICK_S)
            records, positions = _sorted_out(messages)
            if not positions:
                continue

            if records or any(place in unread for place in positions):
                heard = time.monotonic()
            # Only once its batch is with the caller does a place count as read.
            yield LogBatch(tuple(records), positions)
            unread -= {place for place, at in positions.items() if at >= ends.get(place, 0)}


def _sorted_out(messages: list[Any]) -> tuple[list[ConsumerRecord], dict[Place, int]]:
    """The records among the client's messages, and how far each partition is read."""
    records: list[ConsumerRecord] = []
    positions: dict[Place, int] = {}
    for message in messages:
        place, error = (message.topic(), message.partition()), message.error()
        if error is None:
            records.append(record_of(message))
            positions[place] = message.offset() + 1
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client's own name
            positions[place] = max(positions.get(place, 0), message.offset())
        elif error.fatal() or not is_passing(error):
            raise ConfigurationError(f"could not read {place[0]}: {error.str()}")
    return records, positions
