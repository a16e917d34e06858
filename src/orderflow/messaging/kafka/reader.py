"""
Reads a topic to look at it: no group, no commit, no trace on the cluster.

Not for processing: nothing here remembers how far it has read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from difflib import get_close_matches
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
NEAR_MAX = 3
"""Names that are offered for a topic that does not exist."""

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
    return {partition: end for partition, (_, end) in offset_ranges(settings, topic).items()}


def offset_ranges(settings: KafkaSettings, topic: str) -> dict[int, tuple[int, int]]:
    """
    The first offset that each partition still has, and the one that its next record will have.

    Raises ConfigurationError if there is no such topic, Unavailable if the cluster is away.
    """
    with _open(settings) as client, _asking(topic):
        return {
            partition: client.get_watermark_offsets(
                TopicPartition(topic, partition), timeout=REQUEST_TIMEOUT_S
            )
            for partition in _partitions(client, topic)
        }


def offsets_since(settings: KafkaSettings, topic: str, moment: datetime) -> dict[int, int]:
    """
    The offset of each partition's first record that is not older than `moment` (an aware time); its
    end if it has none.

    Raises ConfigurationError if there is no such topic, Unavailable if the cluster is away.
    """
    since_ms = max(0, int(moment.timestamp() * 1000))
    ends = end_offsets(settings, topic)
    with _open(settings) as client, _asking(topic):
        wanted = [TopicPartition(topic, partition, since_ms) for partition in ends]
        starts = client.offsets_for_times(wanted, timeout=REQUEST_TIMEOUT_S)
    return {at.partition: at.offset if at.offset >= 0 else ends[at.partition] for at in starts}


def read(
    settings: KafkaSettings,
    topic: str,
    *,
    start: Offsets | None = None,
    follow: bool = True,
    partitions: Collection[int] | None = None,
) -> Iterator[ConsumerRecord | None]:
    """
    The topic's committed records from `start` on (None: all), by offset within each partition; of
    these `partitions` only (None: all).

    With `follow` it never ends, and yields None after each quarter of a second without a record, so
    that the caller can check the time. Without, it ends where the topic ended when it began. Raises
    ConfigurationError if there is no such topic or partition, Unavailable if the cluster can't be
    reached.
    """
    with _open(settings) as client:
        ends = _ends(client, topic, partitions)
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


def refuse_unknown(topic: str, known: Collection[int], wanted: Collection[int]) -> None:
    """Raises ConfigurationError if the topic, with the `known` partitions, has not all `wanted`."""
    if unknown := [str(partition) for partition in wanted if partition not in known]:
        raise ConfigurationError(
            f"{topic} has no partition {', '.join(unknown)}: it has {min(known)} to {max(known)}"
        )


@contextmanager
def _open(settings: KafkaSettings) -> Iterator[Consumer]:
    client = consumer(settings, GROUP)
    try:
        yield client
    finally:
        client.close()


def _ends(client: Consumer, topic: str, chosen: Collection[int] | None) -> dict[int, int]:
    with _asking(topic):
        known = _partitions(client, topic)
        wanted = known if chosen is None else sorted(chosen)
        refuse_unknown(topic, known, wanted)
        return {
            partition: client.get_watermark_offsets(
                TopicPartition(topic, partition), timeout=REQUEST_TIMEOUT_S
            )[1]
            for partition in wanted
        }


def _partitions(client: Consumer, topic: str) -> list[int]:
    metadata = client.list_topics(topic, timeout=REQUEST_TIMEOUT_S).topics[topic]
    if metadata.error is None:
        return sorted(metadata.partitions)
    if metadata.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
        names = client.list_topics(timeout=REQUEST_TIMEOUT_S).topics
        raise ConfigurationError(f"there is no topic {topic!r}{_near(topic, names)}")
    raise ConfigurationError(f"can't read topic {topic}: {metadata.error.str()}")


def _near(topic: str, names: Collection[str]) -> str:
    near = get_close_matches(topic, sorted(names), n=NEAR_MAX)
    return f"; near it: {', '.join(near)}" if near else ""


@contextmanager
def _asking(topic: str) -> Iterator[None]:
    try:
        yield
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
