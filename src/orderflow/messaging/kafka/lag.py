"""
How far consumer groups are behind, in records: exact under transactions and with waiting records.

A group's lag on a partition is what a read_committed reader could read and the group has not
finished: the offsets from the group's committed one to the last stable offset (the end that open
transactions leave), plus those below that the commit's metadata lists as unfinished. Offsets of
transaction markers count until the group has passed them; at rest it has. A group of Kafka Connect
never passes those after its last record: for such a group it is read whether there is a record.

A committed offset above the end of the log says nothing about this log: it was cut or begun anew,
or somebody moved the group. All of the partition counts as unfinished then, because the group will
read all of it again, and the lag says by how far the offset is `beyond` the end.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing

import msgspec
from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from orderflow.messaging.errors import ConfigurationError, Unavailable
from orderflow.messaging.kafka.clients import Consumer, client_config, consumer
from orderflow.messaging.kafka.finished_offsets import Window, decode
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.kafka.record_times import RecordTimes, Spot
from orderflow.messaging.settings import KafkaSettings

EARLIEST = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]

MOVED_AFTER_S = 0.05
_MOVING = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)


class Lag(msgspec.Struct, frozen=True, kw_only=True):
    """
    One group on one partition. `waiting` of its `records` were begun and wait in place. `beyond`:
    by how many offsets the committed one is above the end of the log; 0 if all is well.

    `committed`: None if the group never committed here. `left`: what is not finished, as a window.
    """

    group: str
    topic: str
    partition: int
    records: int
    waiting: int = 0
    beyond: int = 0
    committed: int | None = None
    left: Window = Window(0)

    @property
    def place(self) -> Place:
        return self.topic, self.partition


def lags(
    settings: KafkaSettings,
    groups: Mapping[str, Sequence[str]],
    *,
    timeout_s: float = 5.0,
    stop_before_markers: Collection[str] = (),
) -> list[Lag]:
    """
    The lag of each group on each partition of its topics; topics that do not exist are left out.

    A group that never committed has everything before it. `stop_before_markers`: groups that never
    pass the markers at the end of a log. Raises Unavailable when the cluster does not answer within
    `timeout_s` for each of three questions.
    """
    admin = AdminClient(client_config(settings))
    topics = {topic for names in groups.values() for topic in names}
    try:
        partitions = places(admin, topics, timeout_s=timeout_s)
        # The commits before the ends: what is finished in between makes a lag too large for a
        # moment, never negative.
        committed = {
            group: _committed(settings, group, partitions, timeout_s=timeout_s) for group in groups
        }
        firsts = offsets_at(admin, partitions, EARLIEST, timeout_s=timeout_s)
        ends = offsets_at(admin, partitions, LATEST, timeout_s=timeout_s)
        beyond = {
            group: offsets_beyond(admin, windows, ends, timeout_s=timeout_s)
            for group, windows in committed.items()
        }
    except KafkaException as error:
        raise Unavailable(
            f"could not ask for lags: {error.args[0].str()}", resource="broker"
        ) from error

    behind = [
        lag_of(
            group,
            place,
            committed[group].get(place),
            first=firsts[place],
            end=ends[place],
            beyond=beyond[group].get(place, 0),
        )
        for group, names in groups.items()
        for place in sorted(partitions)
        if place[0] in names
    ]
    return _without_markers(settings, behind, stop_before_markers, within_s=timeout_s)


def without_records(lag: Lag) -> Lag:
    """The lag where what is left holds no record, only markers: none."""
    return msgspec.structs.replace(lag, records=0, waiting=0)


def _without_markers(
    settings: KafkaSettings, behind: list[Lag], groups: Collection[str], *, within_s: float
) -> list[Lag]:
    """The same lags; those of `groups` are none where there is nothing but markers to read."""
    spots = {Spot(lag.place, lag.left) for lag in behind if lag.records and lag.group in groups}
    if not spots:
        return behind
    with closing(RecordTimes(settings)) as times:
        answers = times.of(spots, within_s=within_s)

    empty = {spot for spot, written_s in answers.items() if written_s is None}
    return [
        without_records(lag) if lag.group in groups and Spot(lag.place, lag.left) in empty else lag
        for lag in behind
    ]


def unfinished(window: Window, *, end: int) -> int:
    """The number of offsets below `end` that are not finished."""
    return max(0, end - window.end) + sum(offset < end for offset in window.unfinished)


def retained(window: Window | None, *, first: int) -> Window:
    """`window` without what retention deleted below `first`; None: the group committed nothing."""
    known = window or Window(first)
    return Window(
        max(known.end, first), tuple(offset for offset in known.unfinished if offset >= first)
    )


def offsets_beyond(
    admin: AdminClient,
    committed: Mapping[Place, Window],
    ends: Mapping[Place, int],
    *,
    timeout_s: float,
) -> dict[Place, int]:
    """
    By how many offsets a committed one is above the end of its log, for each partition where it is.

    `ends` may be older than `committed`, or leave out open transactions: where a commit is above
    them, the log's end of this moment decides.
    """
    above = [place for place, window in committed.items() if window.base > ends[place]]
    log_ends = offsets_at(
        admin, above, LATEST, timeout_s=timeout_s, isolation=IsolationLevel.READ_UNCOMMITTED
    )
    return {
        place: committed[place].base - end
        for place, end in log_ends.items()
        if committed[place].base > end
    }


def lag_of(
    group: str, place: Place, window: Window | None, *, first: int, end: int, beyond: int
) -> Lag:
    """The lag on a partition of `first` to `end`; `window`: what the group committed, if it did."""
    left = retained(None if beyond else window, first=first)
    topic, partition = place
    return Lag(
        group=group,
        topic=topic,
        partition=partition,
        records=unfinished(left, end=end),
        waiting=len(left.unfinished),
        beyond=beyond,
        committed=None if window is None else window.base,
        left=left,
    )


def places(admin: AdminClient, topics: Iterable[str], *, timeout_s: float) -> set[Place]:
    """The partitions of those `topics` that exist."""
    known = admin.list_topics(timeout=timeout_s).topics
    return {
        (topic, partition)
        for topic in topics
        if topic in known
        for partition in known[topic].partitions
    }


def observer(settings: KafkaSettings, group: str) -> Consumer:
    """A client that can read what `group` committed and never joins the group."""
    # Not an administrative client: while the coordinator is not ready that one ends the process
    # (librdkafka issue 5040). Read uncommitted: an open transaction over the offsets would hold the
    # answer back.
    return consumer(settings, group, **{"isolation.level": "read_uncommitted"})


def committed_windows(
    client: Consumer, partitions: Iterable[Place], *, timeout_s: float
) -> dict[Place, Window]:
    """
    What an observer's group committed, for the partitions on which it did.

    A coordinator that moves, or has just started, is asked again until `timeout_s` is over.
    """
    asked_for = [TopicPartition(topic, partition) for topic, partition in partitions]
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            offsets = client.committed(asked_for, timeout=max(0.0, deadline - time.monotonic()))
            break
        except KafkaException as error:
            if error.args[0].code() not in _MOVING or time.monotonic() > deadline:
                raise
            client.poll(MOVED_AFTER_S)

    return {
        (offset.topic, offset.partition): _window(offset.offset, offset.metadata)
        for offset in offsets
        if offset.error is None and offset.offset >= 0
    }


def offsets_at(
    admin: AdminClient,
    partitions: Iterable[Place],
    which: OffsetSpec,
    *,
    timeout_s: float,
    isolation: IsolationLevel = IsolationLevel.READ_COMMITTED,
) -> dict[Place, int]:
    """
    The first or the end offset of each partition.

    With read uncommitted the end is that of the log, open transactions included.
    """
    requests = {TopicPartition(topic, partition): which for topic, partition in partitions}
    if not requests:
        return {}

    futures = admin.list_offsets(requests, isolation_level=isolation, request_timeout=timeout_s)
    return {(at.topic, at.partition): future.result().offset for at, future in futures.items()}


def _committed(
    settings: KafkaSettings, group: str, partitions: Iterable[Place], *, timeout_s: float
) -> dict[Place, Window]:
    client = observer(settings, group)
    try:
        return committed_windows(client, partitions, timeout_s=timeout_s)
    finally:
        client.close()


def _window(offset: int, metadata: str | None) -> Window:
    try:
        return decode(metadata, offset=offset)
    except ConfigurationError:
        # Written by a newer version than this tool. The offset alone is true too: it only leaves
        # out what is finished above it.
        return Window(offset)
