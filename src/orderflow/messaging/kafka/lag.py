"""
How far consumer groups are behind, in records, right under transactions and with records that wait in place.

A group's lag on a partition is what a read_committed reader could have and this group has not finished: from the end
that open transactions leave (the last stable offset) down to what it committed, without those above it that the
commit's metadata calls finished. Offsets of transaction markers count until the group has passed them; at rest it has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from orderflow.messaging.errors import ConfigurationError, Unavailable
from orderflow.messaging.kafka.clients import Consumer, client_config, consumer
from orderflow.messaging.kafka.finished_offsets import Window, decode
from orderflow.messaging.settings import KafkaSettings

Place = tuple[str, int]


class Lag(msgspec.Struct, frozen=True, kw_only=True):
    """One group on one partition. `waiting` of its `records` were begun and wait in place, each for its own reason."""

    group: str
    topic: str
    partition: int
    records: int
    waiting: int = 0


def lags(
    settings: KafkaSettings, groups: Mapping[str, Sequence[str]], *, timeout_s: float = 5.0
) -> list[Lag]:
    """
    The lag of each group on each partition of its topics; a topic that does not exist yet is left out.

    Groups that never committed have everything before them. Raises Unavailable when the cluster does not answer within
    `timeout_s` for each of three questions.
    """
    admin = AdminClient(client_config(settings))
    try:
        found = places(admin, {topic for topics in groups.values() for topic in topics}, timeout_s)
        # In this order: what is finished meanwhile makes a lag too large for a moment, never negative.
        committed = {group: _committed(settings, group, found, timeout_s) for group in groups}
        firsts = offsets_at(admin, found, OffsetSpec.earliest(), timeout_s)  # type: ignore[no-untyped-call]
        ends = offsets_at(admin, found, OffsetSpec.latest(), timeout_s)  # type: ignore[no-untyped-call]
    except KafkaException as error:
        raise Unavailable(
            f"could not ask for lags: {error.args[0].str()}", resource="broker"
        ) from error
    return [
        _lag(group, place, committed[group].get(place), first=firsts[place], end=ends[place])
        for group, topics in groups.items()
        for place in sorted(found)
        if place[0] in topics
    ]


def unfinished(window: Window, *, end: int) -> int:
    """How many offsets below `end` are not finished."""
    return max(0, end - window.end) + sum(offset < end for offset in window.unfinished)


def alive(window: Window | None, *, first: int) -> Window:
    """What a group that committed `window`, or nothing, has still before it: what retention deleted is no lag."""
    known = window or Window(first)
    return Window(
        max(known.end, first), tuple(offset for offset in known.unfinished if offset >= first)
    )


def _lag(group: str, place: Place, window: Window | None, *, first: int, end: int) -> Lag:
    left = alive(window, first=first)
    topic, partition = place
    return Lag(
        group=group,
        topic=topic,
        partition=partition,
        records=unfinished(left, end=end),
        waiting=len(left.unfinished),
    )


def places(admin: AdminClient, topics: Iterable[str], timeout_s: float) -> set[Place]:
    """The partitions of those of the topics that exist."""
    found = admin.list_topics(timeout=timeout_s).topics
    return {
        (topic, partition)
        for topic in topics
        if topic in found
        for partition in found[topic].partitions
    }


def observer(settings: KafkaSettings, group: str) -> Consumer:
    """
    A client that may ask what `group` committed, and never joins it.

    Not an administrative client: asked the same while the coordinator is not ready, it ends the process (librdkafka
    issue 5040). Read uncommitted, so that an open transaction over the offsets does not hold the answer back.
    """
    return consumer(settings, group, **{"isolation.level": "read_uncommitted"})


def windows(client: Consumer, asked_for: Iterable[Place], timeout_s: float) -> dict[Place, Window]:
    """What an observer's group committed, where it did."""
    asked = [TopicPartition(topic, partition) for topic, partition in asked_for]
    return {
        (one.topic, one.partition): _window(one.offset, one.metadata)
        for one in client.committed(asked, timeout=timeout_s)
        if one.error is None and one.offset >= 0
    }


def _committed(
    settings: KafkaSettings, group: str, found: Iterable[Place], timeout_s: float
) -> dict[Place, Window]:
    client = observer(settings, group)
    try:
        return windows(client, found, timeout_s)
    finally:
        client.close()


def _window(offset: int, metadata: str | None) -> Window:
    try:
        return decode(metadata, offset=offset)
    except ConfigurationError:
        # Written by a newer version than this tool: the offset alone is true too, and only says less.
        return Window(offset)


def offsets_at(
    admin: AdminClient,
    asked_for: Iterable[Place],
    which: OffsetSpec,
    timeout_s: float,
    *,
    isolation: IsolationLevel = IsolationLevel.READ_COMMITTED,
) -> dict[Place, int]:
    """The first or last offset of each partition; what open transactions hold counts if it is read uncommitted."""
    asked = {TopicPartition(topic, partition): which for topic, partition in asked_for}
    if not asked:
        return {}
    answers = admin.list_offsets(asked, isolation_level=isolation, request_timeout=timeout_s)
    return {(one.topic, one.partition): answer.result().offset for one, answer in answers.items()}
