"""
Reads a topic to look at it: no group, no commit, no trace on the cluster.

Not for processing: nothing here remembers how far it has read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec

from orderflow.messaging.errors import ConfigurationError, Poison, Unavailable
from orderflow.messaging.kafka.clients import (
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
    consumer,
)
from orderflow.messaging.kafka.headers import headers_of
from orderflow.messaging.settings import KafkaSettings

GROUP = "orderflow.reader"
"""The client requires a group id; nothing ever joins this group or commits to it."""

REQUEST_TIMEOUT_S = 10.0
TICK_S = 0.25

Offsets = Mapping[int, int]
"""Offset by partition."""


class ConsumerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A record as it is on the topic. `headers` is empty if the client can't read them."""

    topic: str
    partition: int
    offset: int
    timestamp: datetime
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


def end_offsets(settings: KafkaSettings, topic: str) -> dict[int, int]:
    """
    The offset that each partition's next record will have; `read` from there yields only new ones.

    Raises ConfigurationError if there is no such topic, Unavailable if the cluster is away.
    """
    with _open(settings) as client:
        return _ends(client, topic)


def read(
    settings: KafkaSettings, topic: str, *, start: Offsets | None = None, follow: bool = True
) -> Iterator[ConsumerRecord | None]:
    """
    The topic's committed records from `start` on (None: all), by offset within each partition.

    With `follow` it never ends, and yields None after each quarter of a second without a record, so
    that the caller can check the time. Without, it ends where the topic ended when it began. Raises
    ConfigurationError if there is no such topic, Unavailable if the cluster can't be reached.
    """
    with _open(settings) as client:
        ends = _ends(client, topic)
        positions = {partition: (start or {}).get(partition, 0) for partition in ends}
        client.assign(
            [TopicPartition(topic, partition, offset) for partition, offset in positions.items()]
        )

        unread = {partition for partition, end in ends.items() if positions[partition] < end}
        while follow or unread:
            message = client.poll(TICK_S)
            if message is None:
                if follow:
                    yield None
                continue

            error = message.error()
            if error is None:
                record = record_of(message)
                if follow or record.offset < ends[record.partition]:
                    yield record
                if record.offset + 1 >= ends[record.partition]:
                    unread.discard(record.partition)
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client's own name
                # The last offsets of a partition may be transaction markers: then no record reaches
                # the end.
                unread.discard(message.partition())
            elif error.fatal() or not is_passing(error):
                raise ConfigurationError(f"could not read {topic}: {error.str()}")


@contextmanager
def _open(settings: KafkaSettings) -> Iterator[Consumer]:
    client = consumer(settings, GROUP)
    try:
        yield client
    finally:
        client.close()


def _ends(client: Consumer, topic: str) -> dict[int, int]:
    try:
        metadata = client.list_topics(topic, timeout=REQUEST_TIMEOUT_S).topics[topic]
        if metadata.error is not None:
            raise ConfigurationError(f"can't read topic {topic}: {metadata.error.str()}")

        partitions = [TopicPartition(topic, partition) for partition in sorted(metadata.partitions)]
        return {
            p.partition: client.get_watermark_offsets(p, timeout=REQUEST_TIMEOUT_S)[1]
            for p in partitions
        }
    except KafkaException as error:
        raise Unavailable(
            f"could not look up topic {topic}: {error.args[0].str()}", resource="broker"
        ) from error


def is_passing(error: KafkaError) -> bool:
    """True if the client recovers from the error without help."""
    return bool(error.retriable()) or error.code() in (
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._RESOLVE,  # noqa: SLF001
    )


def record_of(message: Any) -> ConsumerRecord:
    """The client's message as a record, whatever its content."""
    try:
        headers = headers_of(message)
    except Poison:
        headers = []

    return ConsumerRecord(
        topic=message.topic(),
        partition=message.partition(),
        offset=message.offset(),
        timestamp=datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC),
        key=message.key(),
        value=message.value(),
        headers=headers,
    )
