"""
One look at a cluster: how far each group is behind, in records and in seconds, and which
transactions are open for how long.

Seconds are the age of the lowest unfinished record: how long ago what the group does next was
written. A record that waits in place counts from its own time, with whatever is finished behind it.
A group that has nothing left to read is 0 seconds behind, also on a topic where nothing happens;
one that stands before an open transaction has nothing left to read either. The transaction's own
age shows that: of its first record, which is the one at the last stable offset.

Groups that nobody announced are in it too, as soon as they have committed on one of the topics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from confluent_kafka import ConsumerGroupState, IsolationLevel, KafkaException
from confluent_kafka.admin import AdminClient

from orderflow.messaging.errors import Unavailable
from orderflow.messaging.kafka.clients import Consumer, client_config
from orderflow.messaging.kafka.finished_offsets import Window
from orderflow.messaging.kafka.group_topics import group_of
from orderflow.messaging.kafka.lag import (
    EARLIEST,
    LATEST,
    Lag,
    committed_windows,
    lag_of,
    observer,
    offsets_at,
    offsets_beyond,
    without_records,
)
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.kafka.record_times import RecordTimes, Spot
from orderflow.messaging.settings import KafkaSettings
from orderflow.messaging.work.clock import CLOCK, Clock

ANSWER_WITHIN_S = 5.0
TIMES_WITHIN_S = 3.0
CONSOLE_PREFIX = "console-consumer-"
"""Kafka's console consumer makes a new group each time, and leaves it behind."""

OTHER_GROUPS_MAX = 50
"""Of groups that nobody announced: the first by name. Each has a connection of its own."""

_METADATA_REFRESH_MS = 2_000


class Log(msgspec.Struct, frozen=True, kw_only=True):
    """
    One partition: the first offset that is retained, the end (high watermark), and the end for
    readers of committed records (last stable offset).
    """

    first: int
    end: int
    stable_end: int
    under_replicated: bool


class GroupLag(msgspec.Struct, frozen=True, kw_only=True):
    """One group on one partition. `seconds`: None if the record's time could not be read."""

    lag: Lag
    seconds: float | None


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a cluster looked like `at` one moment.

    `open_transactions`: how old the oldest one is, in seconds, on each partition that has any; None
    if that could not be read. `missing`: topics that do not exist. `leaderless`: partitions that
    nobody serves at the moment; nothing is known of them. `groups_left_out`: how many groups beside
    the announced ones there are above the limit.
    """

    at: datetime
    brokers: int
    logs: Mapping[Place, Log]
    lags: Sequence[GroupLag]
    open_transactions: Mapping[Place, float | None]
    missing: Sequence[str] = ()
    leaderless: Sequence[Place] = ()
    groups_left_out: int = 0

    @property
    def unread(self) -> list[Place]:
        """Partitions with a lag or an open transaction whose age could not be read."""
        ages = [
            *((row.lag.place, row.seconds) for row in self.lags),
            *self.open_transactions.items(),
        ]
        return sorted({place for place, seconds in ages if seconds is None})


class Surveyor:
    """
    Looks at a cluster again and again over the same connections. Not thread-safe.

    `groups`: those that are announced, each with its topics. `topics`: all whose logs are looked
    at, with the dead-letter and replay topics that any group has for them; other groups than the
    announced ones are in it if they have committed on these.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        groups: Mapping[str, Sequence[str]],
        *,
        topics: Iterable[str],
        clock: Clock = CLOCK,
    ) -> None:
        self._settings = settings
        self._groups = groups
        self._topics = frozenset(topics) | {topic for names in groups.values() for topic in names}
        self._clock = clock
        # The default refresh of 5 min would hide a new partition, or the new controller, as long.
        self._admin = AdminClient(
            {**client_config(settings), "topic.metadata.refresh.interval.ms": _METADATA_REFRESH_MS}
        )
        self._observers: dict[str, Consumer] = {}
        self._committed = RecordTimes(settings)
        self._uncommitted = RecordTimes(settings, isolation="read_uncommitted")

    def survey(self) -> Survey:
        """
        Look once. Raises Unavailable when the cluster does not answer within 5 s for each question.
        """
        try:
            return self._survey()
        except KafkaException as error:
            raise Unavailable(
                f"could not ask for lags: {error.args[0].str()}", resource="broker"
            ) from error

    def close(self) -> None:
        """Close the connections to the cluster."""
        for group in [*self._observers]:
            self._observers.pop(group).close()
        self._committed.close()
        self._uncommitted.close()

    def _survey(self) -> Survey:
        metadata = self._admin.list_topics(timeout=ANSWER_WITHIN_S)
        known = {name: topic for name, topic in metadata.topics.items() if self._is_wanted(name)}
        partitions = {
            (name, number): partition
            for name, topic in known.items()
            for number, partition in topic.partitions.items()
        }
        # A partition without a leader has no answer: asking for it would fail all the others.
        served = [place for place, partition in partitions.items() if partition.leader >= 0]

        others, left_out = self._other_groups()
        # The commits before the ends: what is finished in between makes a lag too large for a
        # moment, never negative.
        committed = self._commits(served, others)
        logs = self._logs(served, partitions)
        lags, seconds = self._seconds_behind(self._lags(committed, logs))
        transactions = self._open_transactions(logs)

        return Survey(
            at=self._clock.now(),
            brokers=len(metadata.brokers),
            logs=logs,
            lags=[
                GroupLag(lag=lag, seconds=behind) for lag, behind in zip(lags, seconds, strict=True)
            ],
            open_transactions=transactions,
            missing=sorted(self._topics - set(known)),
            leaderless=sorted(set(partitions) - set(served)),
            groups_left_out=left_out,
        )

    def _is_wanted(self, topic: str) -> bool:
        return topic in self._topics or group_of(topic, self._topics) is not None

    def _other_groups(self) -> tuple[list[str], int]:
        listed: Any = self._admin.list_consumer_groups(request_timeout=ANSWER_WITHIN_S).result()
        others = sorted(
            group.group_id
            for group in listed.valid
            if group.group_id not in self._groups and not _is_left_over(group)
        )
        return others[:OTHER_GROUPS_MAX], max(0, len(others) - OTHER_GROUPS_MAX)

    def _commits(
        self, served: Sequence[Place], others: Sequence[str]
    ) -> dict[str, dict[Place, Window]]:
        """What each group committed; other groups only if they did, with `served` to look at."""
        for gone in set(self._observers) - set(self._groups) - set(others):
            self._observers.pop(gone).close()

        commits = {
            group: self._windows(group, [place for place in served if place[0] in topics])
            for group, topics in self._groups.items()
        }
        for group in others:
            if windows := self._windows(group, served):
                commits[group] = windows
        return commits

    def _windows(self, group: str, places: Sequence[Place]) -> dict[Place, Window]:
        if not places:
            return {}
        client = self._observers.get(group)
        if client is None:
            client = self._observers[group] = observer(self._settings, group)
        # Without a poll the client's connection events pile up in memory.
        client.poll(0)
        return committed_windows(client, places, timeout_s=ANSWER_WITHIN_S)

    def _logs(self, served: Sequence[Place], partitions: Mapping[Place, Any]) -> dict[Place, Log]:
        def ask(which: Any, isolation: IsolationLevel) -> dict[Place, int]:
            return offsets_at(
                self._admin, served, which, timeout_s=ANSWER_WITHIN_S, isolation=isolation
            )

        firsts = ask(EARLIEST, IsolationLevel.READ_COMMITTED)
        # The end before the stable end: what is committed in between is no open transaction.
        ends = ask(LATEST, IsolationLevel.READ_UNCOMMITTED)
        stable_ends = ask(LATEST, IsolationLevel.READ_COMMITTED)

        return {
            place: Log(
                first=firsts[place],
                end=ends[place],
                stable_end=stable_ends[place],
                under_replicated=len(partitions[place].isrs) < len(partitions[place].replicas),
            )
            for place in served
        }

    def _lags(
        self, committed: Mapping[str, Mapping[Place, Window]], logs: Mapping[Place, Log]
    ) -> list[Lag]:
        stable_ends = {place: log.stable_end for place, log in logs.items()}
        beyond = {
            group: offsets_beyond(self._admin, windows, stable_ends, timeout_s=ANSWER_WITHIN_S)
            for group, windows in committed.items()
        }

        return [
            lag_of(
                group,
                place,
                windows.get(place),
                first=logs[place].first,
                end=logs[place].stable_end,
                beyond=beyond[group].get(place, 0),
            )
            for group, windows in committed.items()
            for place in sorted(logs)
            if place[0] in self._subscribed(group, windows)
        ]

    def _subscribed(self, group: str, windows: Iterable[Place]) -> set[str]:
        """A group that nobody announced follows the topics on which it has committed."""
        return set(self._groups.get(group) or {topic for topic, _ in windows})

    def _seconds_behind(self, lags: Sequence[Lag]) -> tuple[list[Lag], list[float | None]]:
        """The lags, none where only markers are left; and how old the first record of each is."""
        spots = [Spot(lag.place, lag.left) for lag in lags]
        # A group that has finished all stands at the end of the log, where no record is to be read.
        behind = [spot for spot, lag in zip(spots, lags, strict=True) if lag.records]
        times = self._committed.of(behind, within_s=TIMES_WITHIN_S)

        age = self._age_in(times)
        pairs = list(zip(spots, lags, strict=True))
        return (
            [
                without_records(lag) if spot in times and times[spot] is None else lag
                for spot, lag in pairs
            ],
            [age(spot) if lag.records else 0.0 for spot, lag in pairs],
        )

    def _open_transactions(self, logs: Mapping[Place, Log]) -> dict[Place, float | None]:
        spots = [
            Spot(place, Window(log.stable_end))
            for place, log in logs.items()
            if log.stable_end < log.end
        ]
        age = self._age_in(self._uncommitted.of(spots, within_s=TIMES_WITHIN_S))
        return {spot.place: age(spot) for spot in spots}

    def _age_in(self, times: Mapping[Spot, float | None]) -> Callable[[Spot], float | None]:
        now = self._clock.now().timestamp()

        def age(spot: Spot) -> float | None:
            if spot not in times:
                return None
            written_s = times[spot]
            # Nothing to be read is no age; a writer's clock may be ahead of ours.
            return 0.0 if written_s is None else max(0.0, now - written_s)

        return age


def _is_left_over(group: Any) -> bool:
    is_empty: bool = group.state == ConsumerGroupState.EMPTY
    return is_empty and group.group_id.startswith(CONSOLE_PREFIX)
