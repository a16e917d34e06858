"""
Whether a group has had everything that is in its topics at one moment: for whoever must not act before it has.

What counts is the end of the log itself, not what readers may see: a record inside an open transaction may yet commit,
so the group has to get past it too. Guarantee: when `unfinished` is empty, each record that was acknowledged before
`horizon` was called, or aborted, is finished by the group, its effect committed. A group that waits in place for one of
them, or stands before an open transaction, has not finished.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import msgspec
from confluent_kafka import IsolationLevel, KafkaException
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from orderflow.messaging.errors import Unavailable
from orderflow.messaging.kafka.clients import client_config
from orderflow.messaging.kafka.lag import (
    Place,
    alive,
    observer,
    offsets_at,
    places,
    unfinished,
    windows,
)
from orderflow.messaging.settings import KafkaSettings

TIMEOUT_S = 2.0
_METADATA_REFRESH_MS = 2_000

T = TypeVar("T")


class Horizon(msgspec.Struct, frozen=True):
    """Where each partition began and ended at one moment."""

    firsts: Mapping[Place, int]
    ends: Mapping[Place, int]


class GroupProgress:
    """
    One group's progress through its `topics`. Both questions raise Unavailable when the cluster does not answer within
    a few times 2 s, or does not know one of the topics: a topic that nobody sees can't be called finished.
    """

    def __init__(self, settings: KafkaSettings, *, group: str, topics: Sequence[str]) -> None:
        self._group = group
        self._topics = frozenset(topics)
        self._observer = observer(settings, group)
        self._admin = AdminClient(
            {**client_config(settings), "topic.metadata.refresh.interval.ms": _METADATA_REFRESH_MS}
        )

    def horizon(self) -> Horizon:
        """Where all partitions end now."""
        return self._asked(self._horizon)

    def unfinished(self, horizon: Horizon) -> dict[Place, int]:
        """By partition, how many offsets below the horizon the group has not finished; where there are any."""
        self._observer.poll(0)  # What the client has to say of its connections would pile up.
        committed = self._asked(lambda: windows(self._observer, horizon.ends, TIMEOUT_S))
        left = {
            place: unfinished(alive(committed.get(place), first=horizon.firsts[place]), end=end)
            for place, end in horizon.ends.items()
        }
        return {place: offsets for place, offsets in left.items() if offsets}

    def close(self) -> None:
        self._observer.close()

    def _horizon(self) -> Horizon:
        found = places(self._admin, self._topics, TIMEOUT_S)
        if missing := self._topics - {topic for topic, _ in found}:
            raise Unavailable(
                f"the cluster does not know {', '.join(sorted(missing))}", resource="broker"
            )
        firsts = offsets_at(self._admin, found, OffsetSpec.earliest(), TIMEOUT_S)  # type: ignore[no-untyped-call]
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        ends = offsets_at(
            self._admin, found, latest, TIMEOUT_S, isolation=IsolationLevel.READ_UNCOMMITTED
        )
        return Horizon(firsts, ends)

    def _asked(self, question: Callable[[], T]) -> T:
        try:
            return question()
        except KafkaException as error:
            raise Unavailable(
                f"could not ask how far {self._group} has come: {error.args[0].str()}",
                resource="broker",
            ) from error
