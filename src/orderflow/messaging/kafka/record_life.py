"""
How long a record can come again, asked of the cluster: whoever remembers records forgets none
before.

A topic may be kept for longer than its declaration promises: that is an operator's to decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

from orderflow.messaging.kafka.admin import Admin
from orderflow.messaging.kafka.topics import Cleanup, TopicDescription
from orderflow.messaging.settings import KafkaSettings

MARGIN = timedelta(days=4)
"""Brokers look for what is too old at intervals, and a record's time is its writer's."""


class RecordLife:
    """What this cluster keeps of `topics`. Every call asks it anew, over a client of its own."""

    def __init__(self, settings: KafkaSettings, topics: Sequence[str]) -> None:
        self._settings = settings
        self._topics = topics

    def ask(self) -> timedelta | None:
        """
        The longest of the topics; None if one of them keeps records for ever.

        Raises Unavailable when the cluster does not answer, ConfigurationError when it refuses.
        """
        return longest(Admin(self._settings).find(self._topics).values())


def longest(topics: Iterable[TopicDescription]) -> timedelta | None:
    """How long the record of these topics that lives longest may live; None: for ever."""
    lives = [life_of(topic) for topic in topics]
    finite = [life for life in lives if life is not None]
    return None if len(finite) < len(lives) else max(finite, default=timedelta())


def life_of(topic: TopicDescription) -> timedelta | None:
    """How long a record of the topic may live; None: for ever."""
    retention_ms = int(topic.config["retention.ms"])
    if topic.config["cleanup.policy"] == Cleanup.COMPACT or retention_ms < 0:
        return None
    # A record goes with its whole segment.
    return timedelta(milliseconds=retention_ms + int(topic.config["segment.ms"])) + MARGIN
