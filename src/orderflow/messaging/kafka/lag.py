"""
How far consumer groups are behind, in records, right under transactions and with records that wait in place.

A group's lag on a partition is what a read_committed reader could have and this group has not finished: from the end
that open transactions leave (the last stable offset) down to what it committed, without those above it that the
commit's metadata calls finished. Offsets of transaction markers count until the group has passed them; at rest it has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import msgspec
from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from orderflow.messaging.errors import ConfigurationError, Unavailable
from orderflow.messaging.kafka.clients import client_config
from orderflow.messaging.offsets import Window, decode
from orderflow.messaging.settings import KafkaSettings

Place = tuple[str, int]


class Lag(msgspec.Struct, frozen=True, kw_only=True):
    """One group on one partition. `waiting` of its `records` were begun and wait in place, each for its own reason."""

    group: str
    topic: str
    partition: int
    records: int
    waiting: int = 0


def lags(settings: KafkaSettings, groups: Mapping[str, Sequence[str]], *, timeout_s: float = 5.0) -> list[Lag]:
    """
    The lag of each group on each partition of its topics; a topic that does not exist yet is left out.

    Groups that never committed have everything before them. Raises Unavailable when the cluster does not answer within
    `timeout_s` for each of three questions.
    """
    admin = AdminClient(client_config(settings))
    try:
        places = _places(admin, {topic for topics in groups.values() for topic in topics}, timeout_s)
        # In this order: what is finished meanwhile makes a lag too large for a moment, never negative.
        committed = {group: _committed(admin, group, timeout_s) for group in groups}
        firsts = _offsets(admin, places, OffsetSpec.earliest(), timeout_s)  # type: ignore[no-untyped-call]
        ends = _offsets(admin, places, OffsetSpec.latest(), timeout_s)  # type: ignore[no-untyped-call]
    except KafkaException as error:
        raise Unavailable(f"could not ask for lags: {error.args[0].str()}", resource="broker") from error
    return [
        _lag(group, place, committed[group].get(place), first=firsts[place], end=ends[place])
        for group, topics in groups.items()
        for place in sorted(places)
        if place[0] in topics
    ]


def unfinished(window: Window, *, end: int) -> int:
    """How many offsets below `end` are not finished."""
    return max(0, end - window.end) + sum(offset < end for offset in window.unfinished)


def _lag(group: str, place: Place, window: Window | None, *, first: int, end: int) -> Lag:
    known = window or Window(first)
    # What retention deleted is no lag.
    alive = Window(max(known.end, first), tuple(offset for offset in known.unfinished if offset >= first))
    topic, partition = place
    return Lag(
        group=group,
        topic=topic,
        partition=partition,
        records=unfinished(alive, end=end),
        waiting=len(alive.unfinished),
    )


def _places(admin: AdminClient, topics: Iterable[str], timeout_s: float) -> set[Place]:
    found = admin.list_topics(timeout=timeout_s).topics
    return {(topic, partition) for topic in topics if topic in found for partition in found[topic].partitions}


def _committed(admin: AdminClient, group: str, timeout_s: float) -> dict[Place, Window]:
    asked = [ConsumerGroupTopicPartitions(group)]
    answers: Future[Any] = admin.list_consumer_group_offsets(asked, request_timeout=timeout_s)[group]
    return {
        (one.topic, one.partition): _window(one.offset, one.metadata)
        for one in answers.result().topic_partitions
        if one.error is None and one.offset >= 0
    }


def _window(offset: int, metadata: str | None) -> Window:
    try:
        return decode(metadata, offset=offset)
    except ConfigurationError:
        # Written by a newer version than this tool: the offset alone is true too, and only says less.
        return Window(offset)


def _offsets(admin: AdminClient, places: Iterable[Place], which: OffsetSpec, timeout_s: float) -> dict[Place, int]:
    asked = {TopicPartition(topic, partition): which for topic, partition in places}
    if not asked:
        return {}
    answers = admin.list_offsets(asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=timeout_s)
    return {(one.topic, one.partition): answer.result().offset for one, answer in answers.items()}
