"""
Picks the records about one thing out of many topics: since a moment, each topic to its present end.

For looking, like `reader`: no group, no commit. One connection reads all topics at once, and of a
topic whose key is known only the key's partition.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from datetime import datetime
from typing import Any

import msgspec
from confluent_kafka.admin import AdminClient

from orderflow.messaging.errors import ConfigurationError, Unavailable
from orderflow.messaging.kafka.clients import (
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
    client_config,
    consumer,
)
from orderflow.messaging.kafka.lag import LATEST, offsets_at
from orderflow.messaging.kafka.partitioner import partition_of
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.kafka.reader import GROUP, ConsumerRecord, is_passing, record_of
from orderflow.messaging.settings import KafkaSettings

REQUEST_TIMEOUT_S = 5.0
SILENT_MAX_S = 10.0
TICK_S = 0.25
FETCH_WAIT_MS = 10

Wanted = Mapping[str, bytes | None]
"""Topics; with a key only the partition that has its records."""
Watch = Callable[[int, int], None]
"""Called now and then with the records that were read and, roughly, those there are to read."""


class Extract(msgspec.Struct, frozen=True, kw_only=True):
    """
    The records that were picked, by topic, partition and offset.

    `absent`: topics that the cluster does not have. `unread`: partitions that are longer than what
    was to be read, each with the time of the last record that was.
    """

    records: tuple[ConsumerRecord, ...]
    absent: tuple[str, ...]
    unread: Mapping[Place, datetime]


def extract(
    settings: KafkaSettings,
    wanted: Wanted,
    pick: Callable[[Any], bool],
    *,
    since: datetime,
    records_max: int,
    watch: Watch = lambda _read, _all: None,
) -> Extract:
    """
    The committed records of the `wanted` topics since a moment that `pick` says yes to; it is given
    the client's message. Of each partition at most `records_max` are read.

    Raises Unavailable if the cluster can't be reached, or says nothing for 10 s; ConfigurationError
    if it refuses to be read.
    """
    # The end of a partition is known from an answer without records: for that nobody waits long.
    overrides = {"fetch.wait.max.ms": FETCH_WAIT_MS}
    with closing(consumer(settings, GROUP, **overrides)) as client:
        try:
            places, absent = _places(client, wanted)
            spans = _spans(client, AdminClient(client_config(settings)), places, since)
        except KafkaException as error:
            raise Unavailable(
                f"could not look up where to read: {error.args[0].str()}", resource="broker"
            ) from error

        records, unread = _read(client, spans, pick, records_max=records_max, watch=watch)
    records.sort(key=lambda record: (record.topic, record.partition, record.offset))
    return Extract(records=tuple(records), absent=absent, unread=unread)


def _places(client: Consumer, wanted: Wanted) -> tuple[list[Place], tuple[str, ...]]:
    known = client.list_topics(timeout=REQUEST_TIMEOUT_S).topics
    there = {name for name in wanted if name in known and known[name].error is None}

    places = [
        (name, partition)
        for name in sorted(there)
        for partition in _partitions(wanted[name], known[name].partitions)
    ]
    return places, tuple(name for name in wanted if name not in there)


def _partitions(key: bytes | None, partitions: Iterable[int]) -> Iterable[int]:
    present = sorted(partitions)
    return present if key is None else [partition_of(key, len(present))]


def _spans(
    client: Consumer, admin: AdminClient, places: Iterable[Place], since: datetime
) -> dict[Place, tuple[int, int]]:
    """Of each partition with records since then the first offset, and the end."""
    since_ms = max(0, int(since.timestamp() * 1000))
    asked_for = [TopicPartition(topic, number, since_ms) for topic, number in places]
    # The starts before the ends: what arrives in between is read, never the other way round.
    starts = {
        (at.topic, at.partition): at.offset
        for at in client.offsets_for_times(asked_for, timeout=REQUEST_TIMEOUT_S)
        # Below 0: nothing since then.
        if at.offset >= 0
    }

    ends = offsets_at(admin, starts, LATEST, timeout_s=REQUEST_TIMEOUT_S)
    return {place: (start, ends[place]) for place, start in starts.items() if start < ends[place]}


def _read(
    client: Consumer,
    spans: Mapping[Place, tuple[int, int]],
    pick: Callable[[Any], bool],
    *,
    records_max: int,
    watch: Watch,
) -> tuple[list[ConsumerRecord], dict[Place, datetime]]:
    # Assigned, not subscribed: nothing joins a group, and nothing is committed.
    client.assign([TopicPartition(*place, start) for place, (start, _end) in spans.items()])
    total = sum(min(end - start, records_max) for start, end in spans.values())
    left = dict.fromkeys(spans, records_max)
    records: list[ConsumerRecord] = []
    unread: dict[Place, datetime] = {}
    count, heard = 0, time.monotonic()

    while left:
        message = client.poll(TICK_S)
        if message is None:
            if time.monotonic() - heard > SILENT_MAX_S:
                raise Unavailable("the brokers stopped answering", resource="broker")
            continue

        heard, place = time.monotonic(), _place(message)
        error = message.error()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client's own name
                # Where the last offsets are transaction markers, no record reaches the end.
                left.pop(place, None)
            elif error.fatal() or not is_passing(error):
                raise ConfigurationError(f"could not read {place[0]}: {error.str()}")
            continue
        if place not in left:
            # Fetched before its partition was paused.
            continue

        count += 1
        watch(count, total)
        offset, end = int(message.offset() or 0), spans[place][1]
        if offset < end and pick(message):
            records.append(record_of(message))

        left[place] -= 1
        if offset + 1 >= end:
            left.pop(place)
        elif not left[place]:
            left.pop(place)
            unread[place] = record_of(message).timestamp
            # Else the client would go on fetching what nobody is to read.
            client.pause([TopicPartition(*place)])
    return records, unread


def _place(message: Any) -> Place:
    return message.topic(), message.partition()
