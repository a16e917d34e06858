"""The topics that belong to one group: for its dead letters, and for their replay."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from orderflow.messaging.kafka.topics import Topic

DLT_RETENTION = timedelta(days=30)
REPLAY_RETENTION = timedelta(days=7)
_DEAD_LETTERS, _REPLAY = ".dlt", ".replay"
GROUP_RECORD_BYTES_MAX = 2 * 1024 * 1024
"""A dead letter is the original record and the evidence: twice the size of any original."""


def group_topics(topics: Iterable[Topic], group: str) -> tuple[Topic, ...]:
    """The topics of its own that `group` needs to consume `topics`: for each a DLT and a replay."""
    return tuple(
        derived(topic, group) for topic in topics for derived in (dead_letter_topic, replay_topic)
    )


def dead_letter_topic(topic: Topic, group: str) -> Topic:
    """For records of `topic` that `group` could not handle: original bytes, key, and evidence."""
    return Topic(
        name=dead_letter_topic_name(topic.name, group),
        key=topic.key,
        retention=DLT_RETENTION,
        partitions=1,
        record_bytes_max=GROUP_RECORD_BYTES_MAX,
    )


def replay_topic(topic: Topic, group: str) -> Topic:
    """For dead letters of `topic` that are sent again, to `group` alone."""
    return Topic(
        name=replay_topic_name(topic.name, group),
        key=topic.key,
        retention=REPLAY_RETENTION,
        partitions=1,
        record_bytes_max=GROUP_RECORD_BYTES_MAX,
    )


def dead_letter_topic_name(topic: str, group: str) -> str:
    return f"{topic}.{group}{_DEAD_LETTERS}"


def replay_topic_name(topic: str, group: str) -> str:
    return f"{topic}.{group}{_REPLAY}"


def group_of(name: str, topics: Iterable[str]) -> str | None:
    """Whose topic this is: the group of the topics above, made for one of `topics`; else None."""
    for suffix in (_DEAD_LETTERS, _REPLAY):
        for topic in topics:
            if name.startswith(f"{topic}.") and name.endswith(suffix):
                return name[len(topic) + 1 : -len(suffix)] or None
    return None


def is_dead_letter_topic(name: str) -> bool:
    return name.endswith(_DEAD_LETTERS)


def is_replay_topic(name: str) -> bool:
    return name.endswith(_REPLAY)
