"""
Whether a group has finished everything that was in its topics at one moment.

For callers that must wait until the group has caught up. What counts is the end of the log itself,
not what a read_committed reader can see: a record inside an open transaction may yet commit, so the
group must get past it too.

Guarantee: when `unfinished` is empty, the group has finished each record that was acknowledged
before `horizon` was called, or aborted, and its effects are committed. A group that waits in place
for one of them, or stands before an open transaction, has not finished; nor has one whose
committed offset is above the end of the log: what it finished was in another log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import msgspec
from confluent_kafka import IsolationLevel, KafkaException
from confluent_kafka.admin import AdminClient

from orderflow.messaging.errors import Unavailable
from orderflow.messaging.kafka.clients import client_config
from orderflow.messaging.kafka.finished_offsets import Window
from orderflow.messaging.kafka.lag import (
    EARLIEST,
    LATEST,
    committed_windows,
    observer,
    offsets_at,
    offsets_beyond,
    places,
    retained,
    unfinished,
)
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.settings import KafkaSettings

TIMEOUT_S = 2.0
_METADATA_REFRESH_MS = 2_000

T = TypeVar("T")


class Horizon(msgspec.Struct, frozen=True):
    """The first and the end offset of each partition at one moment."""

    firsts: Mapping[Place, int]
    ends: Mapping[Place, int]


class GroupProgress:
    """
    One group's progress through its `topics`. Not thread-safe.

    Both questions raise Unavailable when the cluster does not answer within a few times 2 s, or
    does not have one of the topics: what can't be seen can't be called finished.
    """

    def __init__(self, settings: KafkaSettings, *, group: str, topics: Sequence[str]) -> None:
        self._group = group
        self._topics = frozenset(topics)
        self._observer = observer(settings, group)
        # The default refresh of 5 min would hide a new partition, or the new controller, as long.
        self._admin = AdminClient(
            {**client_config(settings), "topic.metadata.refresh.interval.ms": _METADATA_REFRESH_MS}
        )

    def horizon(self) -> Horizon:
        """The present end of all partitions."""
        return self._unavailable_on_error(self._horizon)

    def unfinished(self, horizon: Horizon) -> dict[Place, int]:
        """How many offsets below the horizon are not finished, for each partition with any."""
        # Without a poll the client's connection events pile up in memory.
        self._observer.poll(0)

        committed = self._unavailable_on_error(lambda: self._committed(horizon))
        left = {
            place: unfinished(retained(committed.get(place), first=horizon.firsts[place]), end=end)
            for place, end in horizon.ends.items()
        }
        return {place: offsets for place, offsets in left.items() if offsets}

    def close(self) -> None:
        """Close the connections to the cluster."""
        self._observer.close()

    def _committed(self, horizon: Horizon) -> dict[Place, Window]:
        windows = committed_windows(self._observer, horizon.ends, timeout_s=TIMEOUT_S)
        beyond = offsets_beyond(self._admin, windows, horizon.ends, timeout_s=TIMEOUT_S)
        return {place: window for place, window in windows.items() if place not in beyond}

    def _horizon(self) -> Horizon:
        partitions = places(self._admin, self._topics, timeout_s=TIMEOUT_S)
        if missing := self._topics - {topic for topic, _ in partitions}:
            raise Unavailable(
                f"the cluster does not know {', '.join(sorted(missing))}", resource="broker"
            )

        firsts = offsets_at(self._admin, partitions, EARLIEST, timeout_s=TIMEOUT_S)
        ends = offsets_at(
            self._admin,
            partitions,
            LATEST,
            timeout_s=TIMEOUT_S,
            isolation=IsolationLevel.READ_UNCOMMITTED,
        )
        return Horizon(firsts, ends)

    def _unavailable_on_error(self, question: Callable[[], T]) -> T:
        try:
            return question()
        except KafkaException as error:
            raise Unavailable(
                f"could not ask how far {self._group} has come: {error.args[0].str()}",
                resource="broker",
            ) from error
