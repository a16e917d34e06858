"""How far relays and groups have come, and for whom an account waits. `waits_of` is pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from orderflow.books.accounts import TopicEvent
from orderflow.books.sides.side import LogReader
from orderflow.contracts.roster import subscribed
from orderflow.messaging.errors import Unavailable
from orderflow.messaging.kafka.clients import Consumer, KafkaException
from orderflow.messaging.kafka.finished_offsets import Window
from orderflow.messaging.kafka.lag import committed_windows, observer
from orderflow.messaging.kafka.logs import Logs
from orderflow.messaging.kafka.partitioner import partition_of
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.relay.position import POSITIONS_PARTITION, POSITIONS_TOPIC
from orderflow.messaging.settings import KafkaSettings

ANSWER_WITHIN_S = 5.0


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """Where everything ended at one moment: write-ahead logs by service (LSN), and topics."""

    logs: Mapping[str, int]
    ends: Mapping[Place, int]


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """
    How far relays have published, by service (LSN), and groups have finished, by place. Who has
    never committed has nothing behind it.
    """

    relays: Mapping[str, int]
    groups: Mapping[str, Mapping[Place, Window]]


def waits_of(
    mark: Mark,
    progress: Progress,
    *,
    relays: Collection[str],
    key: str | None,
    events: Sequence[TopicEvent] = (),
) -> str:
    """
    For whom an account waits until all below `mark` has had its effect; "" for nobody.

    `relays`: those whose events the account lacks some of; a service's rows and its outbox commit
    together, so nothing of the account is with the others. `key` of the records of an order: only
    its partitions count, and of what a group has left open in between only its own `events`. None
    (a customer): everything counts.
    """
    for service in sorted(relays):
        end = mark.logs[service]
        if (behind := end - progress.relays.get(service, 0)) > 0:
            return f"the relay of {service}, {behind:,} bytes behind"

    own = {((event.topic, event.partition), event.offset) for event in events}
    partitions = _partitions(mark.ends)
    for group, windows in sorted(progress.groups.items()):
        left = 0
        for place, end in mark.ends.items():
            if place[0] in _TOPICS_OF[group] and _concerns(place, key, partitions):
                left += _left(windows.get(place, Window(0)), place, end, own if key else None)
        if left:
            return f"{group}, {left:,} to go"
    return ""


def _concerns(place: Place, key: str | None, partitions: Mapping[str, int]) -> bool:
    """Whether records of `key` are on that partition; replays are on the only one."""
    topic, partition = place
    return key is None or partition == partition_of(key.encode(), partitions[topic])


def _left(window: Window, place: Place, end: int, own: set[tuple[Place, int]] | None) -> int:
    """How much of a partition up to `end` is not finished, as far as it is the account's own."""
    waiting = sum(
        offset < end and (own is None or (place, offset) in own or place[0].endswith(".replay"))
        for offset in window.unfinished
    )
    return max(0, end - window.end) + waiting


def _partitions(places: Iterable[Place]) -> dict[str, int]:
    partitions: dict[str, int] = {}
    for topic, partition in places:
        partitions[topic] = max(partitions.get(topic, 0), partition + 1)
    return partitions


class Positions:
    """Asks the cluster and the databases. Not thread-safe; `close` at the end."""

    def __init__(
        self,
        kafka: KafkaSettings,
        groups: Sequence[str],
        logs: Mapping[str, LogReader],
    ) -> None:
        self._kafka = kafka
        self._groups = groups
        self._logs = logs
        self._cluster = Logs(kafka)
        self._observers: dict[str, Consumer] = {}

    def mark(self) -> Mark:
        """Where everything ends now; open transactions are below it, too."""
        # The logs first: what a relay publishes in between is in the topics' ends as well.
        ends_of_logs = {service: log.end() for service, log in self._logs.items()}
        topics = {topic for group in self._groups for topic in _TOPICS_OF[group]}
        return Mark(logs=ends_of_logs, ends=self._cluster.ends(self._places(topics)))

    def progress(self) -> Progress:
        topics = {group: self._places(_TOPICS_OF[group]) for group in self._groups}
        relays = {
            service: self._windows(f"relay.{service}", [(POSITIONS_TOPIC, POSITIONS_PARTITION)])
            for service in self._logs
        }

        return Progress(
            relays={
                service: windows[place].base
                for service, windows in relays.items()
                for place in windows
            },
            groups={group: self._windows(group, places) for group, places in topics.items()},
        )

    def close(self) -> None:
        for client in self._observers.values():
            client.close()
        self._observers.clear()

    def _places(self, topics: Iterable[str]) -> list[Place]:
        partitions = self._cluster.partitions(topics)
        return [
            (topic, number) for topic in sorted(partitions) for number in range(partitions[topic])
        ]

    def _windows(self, group: str, places: Sequence[Place]) -> dict[Place, Window]:
        client = self._observers.get(group)
        if client is None:
            client = self._observers[group] = observer(self._kafka, group)
        try:
            # Without a poll the client's connection events pile up in memory.
            client.poll(0)
            return committed_windows(client, places, timeout_s=ANSWER_WITHIN_S)
        except KafkaException as error:
            raise Unavailable(
                f"could not ask how far {group} is: {error.args[0].str()}", resource="broker"
            ) from error


class _TopicsOfGroups(dict[str, frozenset[str]]):
    def __missing__(self, group: str) -> frozenset[str]:
        self[group] = frozenset(subscribed(group))
        return self[group]


_TOPICS_OF = _TopicsOfGroups()
"""What each group reads, replays included."""
