"""
How far behind everybody is, computed from two looks at a cluster: by group and topic, how fast the
lag shrinks, and which transactions are open for too long. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby

import msgspec

from orderflow.messaging.kafka.clients import TRANSACTION_TIMEOUT_MS
from orderflow.messaging.kafka.survey import GroupLag, Survey

HANGING_S = TRANSACTION_TIMEOUT_MS / 1000 + 10.0
"""A broker ends a transaction of a dead producer after its time-out, up to 10 s late."""


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """
    How far, and how fast. `seconds`: None if an age could not be read. `drain_per_second`: by how
    many records the lag shrinks in a second; below 0 it grows; None: after one look nobody knows.
    """

    records: int
    seconds: float | None
    drain_per_second: float | None

    @property
    def seconds_to_zero(self) -> float | None:
        """At this pace; None: never, or not known."""
        if not self.records:
            return 0.0
        pace = self.drain_per_second
        return self.records / pace if pace is not None and pace > 0 else None


class TopicLag(msgspec.Struct, frozen=True, kw_only=True):
    topic: str
    pace: Pace
    partitions: Sequence[GroupLag]

    @property
    def is_replay(self) -> bool:
        return self.topic.endswith(".replay")


class GroupReport(msgspec.Struct, frozen=True, kw_only=True):
    group: str
    pace: Pace
    topics: Sequence[TopicLag]


class OpenTransaction(msgspec.Struct, frozen=True, kw_only=True):
    """`hanging`: older than any producer of ours may leave one; nobody will end it."""

    topic: str
    partition: int
    seconds: float | None

    @property
    def hanging(self) -> bool:
        return self.seconds is not None and self.seconds > HANGING_S


class Report(msgspec.Struct, frozen=True, kw_only=True):
    at: datetime
    brokers: int
    groups: Sequence[GroupReport]
    transactions: Sequence[OpenTransaction]
    troubles: Sequence[str]

    def of_group(self, group: str) -> Report:
        """This group alone; transactions, which may hold anybody back, stay."""
        return msgspec.structs.replace(
            self, groups=[row for row in self.groups if row.group == group]
        )


def report(survey: Survey, *, before: Survey) -> Report:
    """What `survey` shows, with the rates since `before`; the same one twice gives no rates."""
    elapsed_s = (survey.at - before.at).total_seconds()
    earlier = {(row.lag.group, row.lag.place): row.lag.records for row in before.lags}

    def pace(rows: Sequence[GroupLag]) -> Pace:
        records = sum(row.lag.records for row in rows)
        known = [earlier.get((row.lag.group, row.lag.place)) for row in rows]
        drained = sum(records for records in known if records is not None) - records
        ages = [row.seconds for row in rows]
        return Pace(
            records=records,
            seconds=None if None in ages else max((age for age in ages if age), default=0.0),
            drain_per_second=drained / elapsed_s if elapsed_s > 0 and None not in known else None,
        )

    return Report(
        at=survey.at,
        brokers=survey.brokers,
        groups=[
            GroupReport(
                group=group,
                pace=pace(of_group),
                topics=[
                    TopicLag(topic=topic, pace=pace(rows), partitions=rows)
                    for topic, rows in _by_topic(of_group)
                ],
            )
            for group, of_group in _by_group(survey.lags)
        ],
        transactions=[
            OpenTransaction(topic=topic, partition=partition, seconds=seconds)
            for (topic, partition), seconds in sorted(survey.open_transactions.items())
        ],
        troubles=[*_troubles(survey)],
    )


def _by_group(rows: Iterable[GroupLag]) -> list[tuple[str, list[GroupLag]]]:
    return [(group, [*of]) for group, of in groupby(rows, key=lambda row: row.lag.group)]


def _by_topic(rows: Iterable[GroupLag]) -> list[tuple[str, list[GroupLag]]]:
    return [(topic, [*of]) for topic, of in groupby(rows, key=lambda row: row.lag.topic)]


def _troubles(survey: Survey) -> Iterable[str]:
    if survey.missing:
        yield f"topics that do not exist: {', '.join(survey.missing)}"
    if survey.leaderless:
        yield f"partitions without a leader: {_places(survey.leaderless)}"

    for lag in (row.lag for row in survey.lags if row.lag.beyond):
        yield (
            f"{lag.group}: committed {lag.beyond:,} beyond the end of "
            f"{_places([lag.place])}: it will read all of it again"
        )

    if survey.unread:
        yield f"ages that could not be read: {_places(survey.unread)}"
    if survey.groups_left_out:
        yield f"{survey.groups_left_out} more groups are not shown"


def _places(places: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{topic}-{partition}" for topic, partition in places)
